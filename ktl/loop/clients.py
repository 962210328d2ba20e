"""What the loop asks of a run's clients, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ktl.learning.schedule import Span
from ktl.methods.message import Message


@dataclass(frozen=True)
class Watch:
    """What may follow the steps of an edge's training, and end it: `on_step` gets round, span, step and loss."""

    on_step: Callable[[int, Span, int, float], None] = lambda round_index, span, step, loss: None
    should_stop: Callable[[], bool] = lambda: False


class Stopped(Exception):
    """Training ended within a round because its watch asked for it."""


@dataclass(frozen=True)
class Outcome:
    """What one client did in a round; `error` says why it is left out, and then nothing of it counts.

    right of tested: its test images that were classified right; losses: mean losses of the round by column;
    bytes_beside: what it sent beside its report.
    """

    report: Message = field(default_factory=Message)
    right: int = 0
    tested: int = 0
    losses: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None
    bytes_beside: int = 0


class Clients(Protocol):
    """All clients of a run, by number: in this process, in several, or on several machines.

    `watched`: whether `learn` follows its watch, and a run can be stopped and saved within a round.
    """

    watched: bool

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]:
        """What each client sends before it trains, or why it cannot."""

    def learn(self, clients: Sequence[int], round_index: int, message: Message, watch: Watch) -> dict[int, Outcome]:
        """One round of each client. `watch` follows the steps where there is one client, in this process."""

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        """Test images classified right, and in all, of each client as it is."""

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What the run's checkpoint keeps of the clients, tensors and JSON; the rest goes into files in `folder`."""

    def restore(
        self, folder: Path, tensors: dict[str, Tensor], progress: dict[str, Any], messages: Mapping[int, Message]
    ) -> None:
        """Goes on from what `save` returned, its files, and the messages of the rounds before."""

    def tidy(self, folder: Path) -> None:
        """Removes the clients' files that the run's checkpoint does not name: earlier ones, or a kill's remains."""

    def begun(self, round_index: int) -> bool:
        """Whether training of this round was stopped within it: then it was answered before."""
