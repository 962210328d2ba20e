"""The main job's question: does the cloud's help raise accuracy over the same training without it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ktl.data.fewshot import FewShotTask
from ktl.edge.run import RunResult, draw, train_edge
from ktl.edge.settings import RunConfig
from ktl.errors import Interrupted
from ktl.loop.connection import CloudConnection
from ktl.loop.rounds import Observer


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same data with the same seed and recipe, one with a cloud's pairs and one without."""

    ktl: RunResult
    local: RunResult

    @property
    def gain(self) -> float:
        """Test accuracy that the cloud's help added, -1..1."""
        return self.ktl.evaluation.accuracy - self.local.evaluation.accuracy


def train_beside_local(
    config: RunConfig,
    out: Path,
    connection: CloudConnection,
    *,
    task: FewShotTask | None = None,
    resume: bool = False,
    observer: Observer = Observer(),
    local_observer: Observer = Observer(),
) -> Comparison:
    """`train_edge` into `out`, then the same without a cloud into `out/local-only`. Raises as `train_edge` does."""
    task = draw(config) if task is None else task
    ktl = train_edge(config, out, connection, task=task, resume=resume, observer=observer)
    return Comparison(ktl, train_alone(config, out, task=task, resume=resume, observer=local_observer))


def train_alone(
    config: RunConfig,
    out: Path,
    *,
    task: FewShotTask | None = None,
    resume: bool = False,
    observer: Observer = Observer(),
) -> RunResult:
    """The training of `config` without a cloud, into `out/local-only`. Raises as `train_edge` does."""
    training = replace(config.training, epochs=config.training.epochs or config.rounds)  # as many in its one round
    alone = replace(config, transfer=None, rounds=1, training=training)
    try:
        return train_edge(alone, out / "local-only", task=task, resume=resume, observer=observer)
    except Interrupted as error:
        raise Interrupted(f"stopped in the run without a cloud; go on with: ktl edge train --resume {out}") from error
