"""Every setting and its default, one frozen dataclass a concern. Nothing here imports torch: `--help` reads it too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ktl.errors import CheckpointError, UsageError

Config = TypeVar("Config")


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how many of them are labelled."""

    source: str = "fashion-mnist"
    shots: int = 2  # labelled images a class
    ways: int | None = None  # classes, drawn by seed; all of them if None
    image_size: int | None = None  # pixels; the data's own if None


@dataclass(frozen=True)
class TrainingConfig:
    """How an edge learns from its shots. The defaults are the tuned recipe; `RECIPES` has the published one."""

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "one-cycle"
    batch: int = 32
    steps: int | None = None  # over all rounds; if None, `epochs` but at least `least_steps`
    least_steps: int = 600  # over all rounds
    epochs: int | None = 40  # over all rounds; one in each round if None
    augment: bool = True
    scale: float = 4.0  # ArcFace s
    margin: float = 0.0  # ArcFace m, radians
    smoothing: float = 0.1
    gradient_norm: float = 100.0


@dataclass(frozen=True)
class TransferConfig:
    """How an edge learns from image-vector pairs. The defaults are `image-vector`'s; `TRANSFERS` has the others."""

    task: str = "image-vector"
    warmup_steps: int | None = None  # on the pairs alone, before the shots; by the number of classes if None
    warmup_batch: int | None = None  # pairs a step of it; by classes and colour if None
    joint_batch: int = 64  # pairs beside each batch of shots; 0: none
    weight: float = 1.0  # mu, of the auxiliary loss beside the shots' loss
    temperature: float = 0.2
    learning_rate: float = 1e-3  # in the warm-up
    body_rate: float = 1.0  # learning rate of a warmed-up extractor, relative to the head's, on the shots
    anew_each_round: bool = False  # the task's own weights start anew and only a round's own pairs are used


@dataclass(frozen=True)
class CloudConfig:
    """What an edge asks of the cloud."""

    generator: str = "builtin"
    alignment: str = "robust"
    pairs_per_class: int | None = None  # a round; by classes and colour if None
    download_budget: int = 1_430_000  # bytes, over all rounds: the published scheme's for 100 classes, as raw floats
    image_format: str = "webp"
    url: str | None = None  # of a cloud elsewhere, whose generator it is then; in this process if None


@dataclass(frozen=True)
class RunConfig:
    """One edge's run, whole: the same config gives the same numbers on the same machine."""

    data: DataConfig = field(default_factory=DataConfig)
    model: str = "cnn4"
    head: str = "etf"  # or "linear", trained by cross-entropy: what most federated baselines share
    rounds: int = 1
    training: TrainingConfig = field(default_factory=TrainingConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    local_only: bool = False
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"  # of the extractor's arithmetic in training; see ktl/learning/precision.py
    threads: int = 2

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"--rounds is {self.rounds}: at least 1 is needed")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed is {self.seed}: give 0 to {2**31 - 1}")
        if self.cloud.download_budget < LEAST_DOWNLOAD * self.rounds:
            least = LEAST_DOWNLOAD * self.rounds
            raise UsageError(f"--download-budget is {self.cloud.download_budget}: give at least {least:,} bytes")


@dataclass(frozen=True)
class PartitionConfig:
    """How a data set is shared out to the clients of a federation."""

    kind: str = "dirichlet"  # or "pathological", "iid", "shots"
    clients: int = 20
    beta: float = 0.1  # of the Dirichlet distribution: less is more uneven
    classes_per_client: int = 2  # of a pathological partition
    shots: int = 2  # training images a class and client, of "shots"


@dataclass(frozen=True)
class FederationConfig:
    """N edges and one cloud; what an edge does is as in `RunConfig`."""

    method: str = "fedktl"
    source: str = "fashion-mnist"
    image_size: int | None = None
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    models: str = "cnn4"  # a group or a list: client i takes the model i mod its length
    rounds: int = 10
    join_ratio: float = 1.0  # of the clients that take part in a round, drawn by seed
    drop_ratio: float = 0.0  # of those, drawn by seed, that fail before they train
    deadline: float | None = None  # seconds that a client may train in a round before it is left out
    patience: int | None = None  # rounds without a better mean accuracy before the run stops
    training: TrainingConfig = field(default_factory=TrainingConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    download_budget: int = (
        143_000  # bytes a round and client, in place of the cloud's: a tenth of the published scheme's
    )
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if not 0.0 < self.join_ratio <= 1.0:
            raise UsageError(f"--join-ratio is {self.join_ratio}: give a share above 0, up to 1")
        if not 0.0 <= self.drop_ratio < 1.0:
            raise UsageError(f"--drop-ratio is {self.drop_ratio}: give a share from 0 to below 1")
        if self.rounds < 1:
            raise UsageError(f"--rounds is {self.rounds}: at least 1 is needed")
        if self.deadline is not None and self.deadline <= 0:
            raise UsageError(f"--deadline is {self.deadline}: give seconds above 0")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"--patience is {self.patience}: give at least 1 round")
        if self.download_budget < LEAST_DOWNLOAD:
            raise UsageError(f"--download-budget is {self.download_budget}: give at least {LEAST_DOWNLOAD:,} bytes")

    def edge(self, model: str, head: str, local_only: bool) -> RunConfig:
        """What one client runs."""
        data = DataConfig(self.source, image_size=self.image_size)
        return RunConfig(
            data=data,
            model=model,
            head=head,
            rounds=self.rounds,
            training=self.training,
            transfer=self.transfer,
            cloud=replace(self.cloud, download_budget=self.download_budget * self.rounds),
            local_only=local_only,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            threads=1,
        )


LEAST_DOWNLOAD = 20_000  # bytes a round: a session's opening and a few pairs

RECIPES = {
    "tuned": TrainingConfig(),
    "published": TrainingConfig(
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=0.0,
        schedule="constant",
        batch=10,
        least_steps=0,
        epochs=None,
        augment=False,
        scale=64.0,
        margin=0.5,
        smoothing=0.0,
    ),
}

TRANSFERS = {
    "image-vector": TransferConfig(),
    "contrastive": TransferConfig(task="contrastive"),
    "image-vector+contrastive": TransferConfig(task="image-vector+contrastive"),
    "mse": TransferConfig(task="mse", warmup_steps=0, joint_batch=10, weight=50.0, anew_each_round=True),
}

# what `ktl federate` and its benchmarks take
FEDERATED_TRANSFER = replace(TRANSFERS["image-vector"], warmup_steps=200)


def flat_settings(config: Any) -> dict[str, Any]:
    """A config without its nesting: {"training.optimizer": "adamw", ...}."""
    flat: dict[str, Any] = {}
    for name, value in asdict(config).items():
        inner = {f"{name}.{key}": setting for key, setting in value.items()} if isinstance(value, dict) else None
        flat |= {name: value} if inner is None else inner
    return flat


def save_config(config: Any, path: Path) -> None:
    """Writes a config as JSON, whole or not at all. Raises CheckpointError when it cannot be written."""
    from ktl.files import write_atomically

    write_atomically(path, (json.dumps(asdict(config), indent=2) + "\n").encode())


def load_config(path: Path, kind: type[Config]) -> Config:
    """Reads what `save_config` wrote. Raises CheckpointError for a missing, damaged or unknown setting."""
    try:
        return _build(kind, json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no run at {path.parent}: {path.name} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged or from another ktl ({error}); start the run anew") from error


def _build(kind: type[Config], values: dict[str, Any]) -> Config:
    nested: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        default = entry.default_factory() if callable(entry.default_factory) else None
        if is_dataclass(default) and entry.name in values:
            nested[entry.name] = _build(type(default), values[entry.name])
    return kind(**(values | nested))
