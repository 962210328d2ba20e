"""ktl: train tiny image classifiers on edge devices from a few labelled images, with a cloud's image generator.

The public API; everything is imported when it is first used, so that `import ktl` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ktl.cloud.embedded import EmbeddedCloud
    from ktl.cloud.knowledge import KnowledgeCloud
    from ktl.data import load_dataset
    from ktl.data.fewshot import draw_task
    from ktl.data.settings import DataConfig, PartitionConfig
    from ktl.edge.compare import train_beside_local
    from ktl.edge.inference.predictor import Predictor
    from ktl.edge.run import train_edge
    from ktl.edge.settings import RunConfig
    from ktl.errors import KtlError
    from ktl.federation.run import federate
    from ktl.federation.settings import FederationConfig
    from ktl.generators import load_generator
    from ktl.learning.learner import EdgeLearner
    from ktl.learning.settings import TrainingConfig
    from ktl.loop.settings import CloudConfig

_HOMES = {
    "CloudConfig": "ktl.loop.settings",
    "DataConfig": "ktl.data.settings",
    "EdgeLearner": "ktl.learning.learner",
    "EmbeddedCloud": "ktl.cloud.embedded",
    "FederationConfig": "ktl.federation.settings",
    "KnowledgeCloud": "ktl.cloud.knowledge",
    "KtlError": "ktl.errors",
    "PartitionConfig": "ktl.data.settings",
    "Predictor": "ktl.edge.inference.predictor",
    "RunConfig": "ktl.edge.settings",
    "TrainingConfig": "ktl.learning.settings",
    "draw_task": "ktl.data.fewshot",
    "federate": "ktl.federation.run",
    "load_dataset": "ktl.data",
    "load_generator": "ktl.generators",
    "train_beside_local": "ktl.edge.compare",
    "train_edge": "ktl.edge.run",
}

__all__ = [
    "CloudConfig",
    "DataConfig",
    "EdgeLearner",
    "EmbeddedCloud",
    "FederationConfig",
    "KnowledgeCloud",
    "KtlError",
    "PartitionConfig",
    "Predictor",
    "RunConfig",
    "TrainingConfig",
    "draw_task",
    "federate",
    "load_dataset",
    "load_generator",
    "train_beside_local",
    "train_edge",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ktl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
