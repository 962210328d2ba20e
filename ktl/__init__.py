"""ktl: train tiny image classifiers on edge devices from a few labelled images, with a cloud's image generator.

The public API: what programs call, and what packages of methods, objectives, alignments, generators, models and data
sets build on (docs/extending). Each name is imported when it is first used, so that `import ktl` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers; `as` says that they are public
    from ktl.alignment import ALIGNMENTS as ALIGNMENTS
    from ktl.alignment.base import AlignedLatents as AlignedLatents
    from ktl.alignment.base import Alignment as Alignment
    from ktl.cloud.embedded import EmbeddedCloud as EmbeddedCloud
    from ktl.cloud.knowledge import KnowledgeCloud as KnowledgeCloud
    from ktl.data import DATASETS as DATASETS
    from ktl.data import load_dataset as load_dataset
    from ktl.data.dataset import Dataset as Dataset
    from ktl.data.dataset import ImageArray as ImageArray
    from ktl.data.dataset import Split as Split
    from ktl.data.fewshot import FewShotTask as FewShotTask
    from ktl.data.fewshot import draw_task as draw_task
    from ktl.data.in_memory import from_arrays as from_arrays
    from ktl.data.settings import DataConfig as DataConfig
    from ktl.data.settings import PartitionConfig as PartitionConfig
    from ktl.edge.compare import Comparison as Comparison
    from ktl.edge.compare import train_beside_local as train_beside_local
    from ktl.edge.inference.predictor import Prediction as Prediction
    from ktl.edge.inference.predictor import Predictor as Predictor
    from ktl.edge.network.http import HttpCloud as HttpCloud
    from ktl.edge.network.transport import Access as Access
    from ktl.edge.run import RunResult as RunResult
    from ktl.edge.run import train_edge as train_edge
    from ktl.edge.settings import RunConfig as RunConfig
    from ktl.encoders import ENCODERS as ENCODERS
    from ktl.encoders import load_encoder as load_encoder
    from ktl.encoders.base import Encoder as Encoder
    from ktl.errors import CheckpointError as CheckpointError
    from ktl.errors import CloudError as CloudError
    from ktl.errors import CloudUnreachable as CloudUnreachable
    from ktl.errors import DataError as DataError
    from ktl.errors import KtlError as KtlError
    from ktl.errors import UsageError as UsageError
    from ktl.errors import WireError as WireError
    from ktl.federation.run import FederationResult as FederationResult
    from ktl.federation.run import federate as federate
    from ktl.federation.settings import FederationConfig as FederationConfig
    from ktl.generators import GENERATORS as GENERATORS
    from ktl.generators import load_generator as load_generator
    from ktl.generators.base import BaseGenerator as BaseGenerator
    from ktl.generators.base import ImageGenerator as ImageGenerator
    from ktl.generators.base import sample_latents as sample_latents
    from ktl.learning.learner import EdgeLearner as EdgeLearner
    from ktl.learning.settings import TrainingConfig as TrainingConfig
    from ktl.loop.connection import CloudConnection as CloudConnection
    from ktl.loop.rounds import Observer as Observer
    from ktl.loop.settings import CloudConfig as CloudConfig
    from ktl.methods import METHODS as METHODS
    from ktl.methods.base import Method as Method
    from ktl.methods.base import Problem as Problem
    from ktl.methods.base import average_means as average_means
    from ktl.methods.base import class_means as class_means
    from ktl.methods.base import features_of as features_of
    from ktl.methods.base import set_head as set_head
    from ktl.methods.base import weighted_average as weighted_average
    from ktl.methods.message import Message as Message
    from ktl.methods.message import weights_message as weights_message
    from ktl.models import MODELS as MODELS
    from ktl.models.classifiers import EtfClassifier as EtfClassifier
    from ktl.models.classifiers import LinearClassifier as LinearClassifier
    from ktl.models.edge_model import EdgeModel as EdgeModel
    from ktl.objectives import TRANSFERS as TRANSFERS
    from ktl.objectives.base import ClassifierLoss as ClassifierLoss
    from ktl.objectives.base import Objective as Objective
    from ktl.objectives.base import Step as Step
    from ktl.objectives.pair_objective import PairObjective as PairObjective
    from ktl.objectives.settings import TransferSettings as TransferSettings
    from ktl.pairs import ImageVectorPairs as ImageVectorPairs
    from ktl.prototypes import Prototypes as Prototypes
    from ktl.prototypes import class_sums as class_sums
    from ktl.registry import Choice as Choice
    from ktl.registry import Registry as Registry
    from ktl.registry import chosen as chosen
    from ktl.seeds import initialising as initialising
    from ktl.seeds import stream as stream
    from ktl.settings import Meta as Meta
    from ktl.settings import NoSettings as NoSettings
    from ktl.settings import Settings as Settings
    from ktl.spaces import SPACES as SPACES
    from ktl.spaces.base import SharedSpace as SharedSpace

__version__ = "0.2.0"

_NAMES = {
    "ktl.alignment": "ALIGNMENTS",
    "ktl.alignment.base": "AlignedLatents Alignment",
    "ktl.cloud.embedded": "EmbeddedCloud",
    "ktl.cloud.knowledge": "KnowledgeCloud",
    "ktl.data": "DATASETS load_dataset",
    "ktl.data.dataset": "Dataset ImageArray Split",
    "ktl.data.fewshot": "FewShotTask draw_task",
    "ktl.data.in_memory": "from_arrays",
    "ktl.data.settings": "DataConfig PartitionConfig",
    "ktl.edge.compare": "Comparison train_beside_local",
    "ktl.edge.inference.predictor": "Prediction Predictor",
    "ktl.edge.network.http": "HttpCloud",
    "ktl.edge.network.transport": "Access",
    "ktl.edge.run": "RunResult train_edge",
    "ktl.edge.settings": "RunConfig",
    "ktl.encoders": "ENCODERS load_encoder",
    "ktl.encoders.base": "Encoder",
    "ktl.errors": "CheckpointError CloudError CloudUnreachable DataError KtlError UsageError WireError",
    "ktl.federation.run": "FederationResult federate",
    "ktl.federation.settings": "FederationConfig",
    "ktl.generators": "GENERATORS load_generator",
    "ktl.generators.base": "BaseGenerator ImageGenerator sample_latents",
    "ktl.learning.learner": "EdgeLearner",
    "ktl.learning.settings": "TrainingConfig",
    "ktl.loop.connection": "CloudConnection",
    "ktl.loop.rounds": "Observer",
    "ktl.loop.settings": "CloudConfig",
    "ktl.methods": "METHODS",
    "ktl.methods.base": "Method Problem average_means class_means features_of set_head weighted_average",
    "ktl.methods.message": "Message weights_message",
    "ktl.models": "MODELS",
    "ktl.models.classifiers": "EtfClassifier LinearClassifier",
    "ktl.models.edge_model": "EdgeModel",
    "ktl.objectives": "TRANSFERS",
    "ktl.objectives.base": "ClassifierLoss Objective Step",
    "ktl.objectives.pair_objective": "PairObjective",
    "ktl.objectives.settings": "TransferSettings",
    "ktl.pairs": "ImageVectorPairs",
    "ktl.prototypes": "Prototypes class_sums",
    "ktl.registry": "Choice Registry chosen",
    "ktl.seeds": "initialising stream",
    "ktl.settings": "Meta NoSettings Settings",
    "ktl.spaces": "SPACES",
    "ktl.spaces.base": "SharedSpace",
}  # by the module that has them
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ktl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
