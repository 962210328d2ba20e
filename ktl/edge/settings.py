"""One edge's run, whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from ktl.data.settings import DataConfig
from ktl.learning.settings import EdgeConfig, WarmStart
from ktl.loop.settings import CloudConfig, check_budget


@dataclass(frozen=True)
class RunConfig(EdgeConfig):
    """What an edge trains on and with; `transfer` None trains without a cloud.

    The same config gives the same numbers on the same machine.
    """

    warm_start: WarmStart = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.cloud.download_budget, self.rounds)
