"""The main job's question: does the cloud's help raise accuracy over the same training without it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ktl.data.fewshot import FewShotTask
from ktl.edge.record import is_finished, read_record
from ktl.edge.run import RunResult, read_result, train_edge
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw
from ktl.errors import Interrupted
from ktl.intervals import newcombe_interval
from ktl.learning.outlook import stretches
from ktl.learning.pace import Timekeeper
from ktl.loop.connection import CloudConnection
from ktl.loop.rounds import Observer

LOCAL = "local-only"  # the folder of the same training without a cloud, in a run's


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same data with the same seed and recipe, one with a cloud's pairs and one without."""

    ktl: RunResult
    local: RunResult

    @property
    def gain(self) -> float:
        """Test accuracy that the cloud's help added, -1..1."""
        return self.ktl.evaluation.accuracy - self.local.evaluation.accuracy

    @property
    def gain_interval(self) -> tuple[float, float]:
        """Bounds of the gain, 95%, paired by test image. Raises CheckpointError where a run's record is damaged."""
        return paired_gain(self.ktl.out, self.local.out)[1]


def paired_gain(run: Path, other: Path) -> tuple[float, tuple[float, float]]:
    """How much more accurate one finished run is than another on the same test images, -1..1, and its 95% bounds.

    Raises CheckpointError for a run that has not ended or is damaged.
    """
    right, other_right = read_record(run).right, read_record(other).right
    return (sum(right) - sum(other_right)) / len(right), newcombe_interval(right, other_right)


def train_beside_local(
    config: RunConfig,
    out: Path,
    connection: CloudConnection,
    *,
    task: FewShotTask | None = None,
    resume: bool = False,
    observer: Observer = Observer(),
    local_observer: Observer = Observer(),
    timekeeper: Timekeeper[RunConfig] | None = None,
) -> Comparison:
    """`train_edge` into `out`, then the same without a cloud into `out/local-only`. Raises as `train_edge` does."""
    if task is None and not (is_finished(out) and is_finished(out / LOCAL)):
        task = draw(config, out)
    if task is not None:
        local_observer.on_plan(stretches(without_cloud(config), task))  # it is time to come, too
    ktl = train_edge(config, out, connection, task=task, resume=resume, observer=observer, timekeeper=timekeeper)
    config = config if timekeeper is None else timekeeper.config  # both do as many steps on the shots
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
    try:
        return train_edge(without_cloud(config), out / LOCAL, task=task, resume=resume, observer=observer)
    except Interrupted as error:
        raise Interrupted(f"stopped in the run without a cloud; go on with: ktl edge train --resume {out}") from error


def read_ended(config: RunConfig, out: Path) -> tuple[RunResult, Comparison | None] | None:
    """What the trainings of `config` in `out` came to, if all have ended. Raises CheckpointError for damaged ones."""
    if not is_finished(out) or (config.transfer is not None and not is_finished(out / LOCAL)):
        return None
    result = read_result(out)
    return result, None if config.transfer is None else Comparison(result, read_result(out / LOCAL))


def without_cloud(config: RunConfig) -> RunConfig:
    """The same training on the shots alone, in one round with as many epochs."""
    training = replace(config.training, epochs=config.training.epochs or config.rounds)
    return replace(config, transfer=None, rounds=1, training=training, warm_start="edge")
