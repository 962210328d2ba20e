"""How an edge learns: its recipe, and what else decides the numbers of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ktl.errors import UsageError
from ktl.models import MODELS, begins_pretrained, torchvision_name
from ktl.models.settings import ClassifierSettings
from ktl.objectives import TRANSFERS
from ktl.registry import Choice
from ktl.settings import Meta, Settings

AUTO = "auto"  # in place of a model's name: whichever suits the images' size
DEVICES = ("cpu", "cuda", "mps")
WarmStart = Annotated[
    Literal["auto", "edge", "cloud"],
    Meta(
        description="Who trains the extractor on generated images before the shots. cloud: is told the model's name. "
        "auto: the cloud, where a trained extractor ships with ktl."
    ),
]


# Learning rate on few shots, relative to the head's, of an extractor that knows what makes photographs alike already:
# at the full one they spoil it (docs/results/warm-start.md)
PRETRAINED_RATE = 0.1


@dataclass(frozen=True)
class TrainingConfig(ClassifierSettings):
    """How an edge learns from its shots. The defaults are the tuned recipe; `RECIPES` has the published one."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Meta(ge=0, description="At the schedule's peak.")] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0, description="Of every weight.")] = 0.01
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    batch: Annotated[int, Meta(ge=1, description="Shots per step.")] = 32
    steps: Annotated[int, Meta(ge=1, le=10**9, description="Training steps on the shots, over all rounds.")] | None = (
        None  # if None, `epochs` but at least `min_steps`
    )
    min_steps: Annotated[int, Meta(ge=0, le=10**9, description="Fewest steps, over all rounds.")] = 600
    epochs: Annotated[int, Meta(ge=1, le=10**9, description="Over all rounds; one per round if none.")] | None = 40
    augment: Annotated[bool, Meta(description="Learn from random views of the images.")] = True
    gradient_norm: Annotated[float, Meta(gt=0, description="To which gradients are clipped.")] = 100.0


RECIPES = {
    "tuned": TrainingConfig(),
    "published": TrainingConfig(
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=0.0,
        schedule="constant",
        batch=10,
        min_steps=0,
        epochs=None,
        augment=False,
        scale=64.0,
        margin=0.5,
        smoothing=0.0,
    ),
}


@dataclass(frozen=True)
class EdgeConfig(Settings):
    """What one edge's training is made of, beside its images: the same config gives the same numbers on a machine."""

    model: str = "cnn4"
    weights: (
        Annotated[str, Meta(description="Pre-trained: 'default' is torchvision's own, or a FILE (.pth, .safetensors).")]
        | None
    ) = None
    rounds: Annotated[int, Meta(ge=1, le=100_000, description="How often prototypes go up and pairs come down.")] = 1
    training: TrainingConfig = field(default_factory=TrainingConfig)
    transfer: Choice | str | None = "image-vector"  # None: no pairs, the shots alone
    warm_start: WarmStart = "edge"  # likewise of runs with a cloud
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="Seed of every random choice.")] = 0
    device: str = "cpu"
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"], Meta(description="Precision of the extractor in training.")
    ] = "auto"
    threads: Annotated[int, Meta(ge=1, le=1024, description="CPU threads.")] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transfer is not None:
            object.__setattr__(self, "transfer", TRANSFERS.resolve(self.transfer))
        if self.model != AUTO:
            MODELS.check(self.model)
        if self.weights is not None:
            torchvision_name(self.model)  # raises for an architecture that they are not for
        check_device(self.device)
        if self.warm_start == "cloud" and self.model not in [*MODELS.builtin(), AUTO]:
            raise UsageError(
                f"model {self.model!r} is this edge's own, and a cloud has warm starts of ktl's "
                f"({', '.join(MODELS.builtin())}): leave --warm-start out"
            )

    @property
    def pretrained(self) -> bool:
        """Whether the extractor begins with trained weights: `weights`, or what a module class of one's own loads.

        Raises UsageError for a model that cannot be imported.
        """
        return self.weights is not None or (self.model != AUTO and begins_pretrained(self.model))


def check_device(name: str) -> None:
    """Raises UsageError for a device that torch does not have by this name."""
    if name.partition(":")[0] not in DEVICES:
        raise UsageError(f"device is {name!r}: give one of {', '.join(DEVICES)}")
