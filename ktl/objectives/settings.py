"""What every objective on pairs can be told. Nothing here imports torch: the command line reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class TransferSettings(Settings):
    """When and how strongly an edge learns from pairs; objectives add what is their own."""

    warmup_steps: (
        Annotated[int, Meta(ge=0, le=10**7, description="Steps on the pairs alone, before the shots.")] | None
    ) = None  # by the number of classes if None
    warmup_batch: Annotated[int, Meta(ge=1, le=10**6, description="Pairs per warm-up step.")] | None = (
        None  # by classes and colour if None
    )
    joint_batch: (
        Annotated[int, Meta(ge=0, le=10**6, description="Pairs beside each batch of shots; 0: none.")] | None
    ) = None  # 64, or 16 after a cloud's warm start, if None
    weight: Annotated[
        float, Meta(ge=0, description="Weight of the pairs' loss beside the shots' (the paper's mu).")
    ] = 1.0
    learning_rate: Annotated[float, Meta(ge=0, description="In the warm-up.")] = 1e-3
    body_rate: (
        Annotated[float, Meta(ge=0, description="Learning rate of the extractor on the shots, relative to the head's.")]
        | None
    ) = None  # if None 1, less from pre-trained weights, and what a warm start says
    warm_started_steps: Annotated[
        int, Meta(ge=0, le=10**7, description="Warm-up steps where the extractor is a cloud's warm start.")
    ] = 0
    anew_each_round: Annotated[
        bool, Meta(description="Start the objective's weights anew and drop earlier pairs in each round.")
    ] = False
