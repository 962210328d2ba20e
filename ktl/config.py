"""Every setting and its default, one frozen dataclass a concern. Nothing here imports torch: `--help` reads it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratorTrainingConfig:
    """How a generator is trained on unlabelled images. Rates are Adam's; the generator's act on unit-scale weights."""

    images: int = 800_000  # real images shown in all
    batch: int = 64
    generator_rate: float = 0.004
    discriminator_rate: float = 5e-4
    gamma: float = 0.05  # weight of the gradient penalties R1 and R2
    penalty_interval: int = 4  # steps between two penalties
    average_half_life: int = 20_000  # images, of the moving average of the weights
    log_every: int = 100  # steps
    save_every: int = 1_000  # steps
    seed: int = 0
