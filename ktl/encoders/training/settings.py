"""How a small encoder is trained. Nothing here imports torch: the command line's help reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ktl.cooldown import Cooldown
from ktl.settings import Settings


@dataclass(frozen=True)
class EncoderTrainingConfig(Settings):
    """How a small encoder is distilled from a large one. Raises UsageError for a value out of its bounds."""

    images: Annotated[int, Meta(ge=1, description="Images to show in all.")] = 500_000
    batch: Annotated[int, Meta(ge=2, description="Images per step.")] = 128
    generated: Annotated[int, Meta(ge=0, le=10**6, description="Generated images beside the unlabelled ones.")] = 20_000
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="AdamW's.")] = 2e-3
    cooldown: Cooldown = 0.25
    weight_decay: Annotated[float, Meta(ge=0, le=1, description="AdamW's.")] = 0.02
    average_half_life: Annotated[
        int, Meta(ge=1, description="Half-life of the moving average of the weights, in images.")
    ] = 20_000
    temperature: Annotated[float, Meta(gt=0, description="By which similarities are divided.")] = 0.1
    log_every: Annotated[int, Meta(ge=1, description="Steps per row of figures.")] = 50
    save_every: Annotated[int, Meta(ge=1, description="Steps per saving, which goes with a row of figures.")] = 250
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="Seed of every random choice.")] = 0
