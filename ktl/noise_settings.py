"""How much noise class statistics get before they leave an edge. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ktl.settings import Meta, Settings

DELTA = 1e-5


@dataclass(frozen=True)
class NoiseSettings(Settings):
    """The differential privacy of all of a run's rounds together, of an edge's images; `ktl.statistics_noise`."""

    epsilon: (
        Annotated[float, Meta(gt=0, description="Of noise on all rounds' statistics together; less is more noise.")]
        | None
    ) = None
    delta: Annotated[float, Meta(gt=0, lt=1, description="The chance at which epsilon may not hold.")] = DELTA
