"""What a run shows while it trains."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ktl.formatting import in_bytes, in_percent

from .console import errors

if TYPE_CHECKING:
    from ktl.files import Row
    from ktl.learning.schedule import Span
    from ktl.loop.rounds import Observer

BAR_INTERVAL = 10  # steps between two redraws
TENTHS = 10


class RunProgress:
    """A bar for each stage of each round on a terminal, a line for each elsewhere; to standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.live = errors.is_terminal and not quiet
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
            disable=not self.live,
        )

    def __enter__(self) -> RunProgress:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, value, trace)

    def steps(self, name: str) -> Callable[[int, int, float], None]:
        """What some other training called `name` reports to: the steps done, and in all; the last loss."""
        bar = self._bars.add_task(name, total=None, visible=False, loss=0.0)

        def on_step(step: int, steps: int, loss: float) -> None:
            if self.live and (step % BAR_INTERVAL == 0 or step == steps):
                self._bars.update(bar, completed=step, total=steps, visible=step < steps, loss=loss)
            elif not self.quiet and step * TENTHS // steps > (step - 1) * TENTHS // steps:
                errors.print(f"{name}: {step} of {steps} steps, loss {loss:.3f}")

        return on_step

    def observer(self, name: str, rounds: int, stop: Event) -> Observer:
        """What the run called `name` reports to; it stops when `stop` is set."""
        from ktl.loop.rounds import Observer

        bar = self._bars.add_task(name, total=None, visible=False, loss=0.0)
        announced: list[tuple[int, str]] = []

        def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
            heading = f"{name} {round_index + 1}/{rounds} {span.name}"
            if (round_index, span.name) not in announced:
                announced.append((round_index, span.name))
                self._bars.reset(bar, total=span.steps, description=heading, visible=True, loss=loss)
                if not self.live and not self.quiet:
                    errors.print(f"{heading}: {span.steps - step + 1} steps")
            if self.live and step % BAR_INTERVAL == 0:
                self._bars.update(bar, completed=step, loss=loss)

        def on_round(row: Row) -> None:
            self._bars.update(bar, visible=False)
            if not self.quiet:
                errors.print(f"{name} {row['round']}/{rounds}: {_describe(row)}")

        return Observer(on_step, on_round, stop.is_set)


def _describe(row: Row) -> str:
    parts = [f"test accuracy {in_percent(row['test_accuracy'])}", f"loss on shots {row['shot_loss']:.3f}"]
    if row["pair_loss"] is not None:
        parts.append(f"on pairs {row['pair_loss']:.3f}")
        parts.append(f"{in_bytes(row['bytes_up'])} up, {in_bytes(row['bytes_down'])} down")
    return ", ".join([*parts, f"{row['seconds']:.0f} s"])
