"""One edge's run, whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from ktl.data.settings import DataConfig
from ktl.errors import UsageError
from ktl.learning.settings import AUTO, EdgeConfig, WarmStart
from ktl.loop.settings import CloudConfig, check_budget
from ktl.noise_settings import NoiseSettings


@dataclass(frozen=True)
class RunConfig(EdgeConfig):
    """What an edge trains on and with; `transfer` None trains without a cloud.

    What is left open (`model`, `warm_start`, a folder's `image_size`) is settled by the data when a run begins
    (`ktl.edge.task.settled`). The same config gives the same numbers on the same machine.
    """

    model: str = AUTO
    warm_start: WarmStart = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    noise: NoiseSettings = field(default_factory=NoiseSettings)  # in a session of several edges

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self.cloud.download_budget, self.rounds)
        if self.noise.epsilon is not None and self.cloud.session is None:
            raise UsageError(
                f"epsilon is {self.noise.epsilon:g}: noise is for the class statistics that devices of a session pool, "
                "name one by --session"
            )

    @property
    def shared(self) -> bool:
        """Whether it learns in a session in which other edges take part."""
        return self.transfer is not None and self.cloud.session is not None
