"""What every classifier can be told. Nothing here imports torch: the command line reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class ClassifierSettings(Settings):
    """How the loss on labelled images is shaped."""

    scale: Annotated[float, Meta(gt=0, description="ArcFace's s: logits are this times the cosines.")] = 4.0
    margin: Annotated[float, Meta(ge=0, lt=3.15, description="ArcFace's m, radians.")] = 0.0
    smoothing: Annotated[float, Meta(ge=0, lt=1, description="Of the labels.")] = 0.1
