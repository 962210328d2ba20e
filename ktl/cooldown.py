"""A learning rate that falls to 0 at the end of a training."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Cooldown = Annotated[
    float,
    Meta(ge=0, le=1, description="Share of the images, the last ones, over which the learning rate falls to 0."),
]


def cooled(rate: float, shown: float, cooldown: float) -> float:
    """The `rate` when a share `shown` of all images has been shown, 0 to 1; it falls linearly over the last `cooldown`.

    With a cooldown of 0 it stays as it is.
    """
    return rate * min(1.0, (1.0 - shown) / cooldown) if cooldown else rate
