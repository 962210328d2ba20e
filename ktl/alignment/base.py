"""What an alignment strategy is, ktl's own or another package's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ktl import settings
from ktl.class_statistics import ClassStatistics
from ktl.generators.base import ImageGenerator
from ktl.prototypes import Prototypes
from ktl.registry import subclass
from ktl.spaces.base import SharedSpace


@dataclass(frozen=True)
class AlignedLatents:
    """Latents of the m classes that have a prototype.

    classes (m,) int64; centroids (m, H); latents (m, per_class, H), the first of each class being its centroid.
    """

    classes: Tensor
    centroids: Tensor
    latents: Tensor


class Alignment(ABC):
    """A strategy, created for one session with its seed; it may keep state from round to round.

    Prototypes have `prototype_dim` dimensions and classes 0..num_classes - 1. A subclass that has something to set
    names the settings in a class `Settings` of its own; `self.settings` is an instance of it. They come from the edge
    that opens a session, a stranger to the cloud: bound every one of them above and below. The same prototypes,
    settings and seed must give the same latents, or a session cannot be taken up again. Several sessions are aligned at
    the same time, in threads: draw from `ktl.stream`, and change no state that is not the session's own.
    """

    Settings: ClassVar[type[settings.Settings]] = settings.NoSettings
    reads_prototypes: ClassVar[bool] = True  # else edges say only which classes they have, with empty vectors
    copies_of_prototypes: ClassVar[int] = (
        4  # that it makes at the same time, at most; a cloud's memory is planned by it
    )

    def __init__(
        self, num_classes: int, prototype_dim: int, seed: int, settings: settings.Settings | None = None
    ) -> None:
        self.num_classes = num_classes
        self.prototype_dim = prototype_dim
        self.seed = seed
        self.settings: Any = self.Settings() if settings is None else settings
        self.check_wanted: Callable[[], None] = _always_wanted

    def learn(self, statistics: ClassStatistics, space: SharedSpace) -> None:  # noqa: B027 - most need none
        """Takes in the class statistics of all edges so far, in the space of the pairs' vectors."""

    @abstractmethod
    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        """`per_class` >= 1 latents of each class that has a prototype, from the edges that took part in this round.

        Whatever takes more than a second calls `self.check_wanted()` between its steps, which raises when the server
        stops, the session was deleted or the round took too long; the alignment is not used after that.
        """


def _always_wanted() -> None:
    pass


checked = subclass(Alignment, "alignment")
