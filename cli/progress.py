"""What a run shows while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status

from ktl.formatting import in_bytes, in_duration, in_percent

from .console import errors

if TYPE_CHECKING:
    from ktl.data.fewshot import FewShotTask
    from ktl.edge.settings import RunConfig
    from ktl.files import Row
    from ktl.learning.outlook import Stretch
    from ktl.learning.pace import Timekeeper
    from ktl.learning.schedule import Span
    from ktl.loop.rounds import Observer

BAR_INTERVAL = 10  # steps between two redraws
MINUTE = 60.0  # seconds
HALF = 0.5  # of the planned steps


class Forecast:
    """Says how long something will take that takes long: once, and where no bar says so at most every minute again."""

    def __init__(self, *, repeats: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.repeats = repeats
        self._clock = clock
        self._said: float | None = None

    def say(self, seconds_left: float | None, where: str) -> None:
        """What is left, in the middle of what `where` says."""
        now = self._clock()
        due = self._said is None or (self.repeats and now - self._said >= MINUTE)
        if due and seconds_left is not None and seconds_left >= MINUTE:
            self._said = now
            errors.print(f"{where}: about {in_duration(seconds_left)} to go")


def keep_time(config: RunConfig, task: FewShotTask, seconds: float) -> Timekeeper[RunConfig]:
    """The run's steps cut to what fits; says what is left of them."""
    from ktl.learning.pace import Timekeeper

    timekeeper = Timekeeper(config, task, seconds)
    if timekeeper.share < 1.0:
        say_cut(timekeeper)
    return timekeeper


def say_cut(timekeeper: Timekeeper[RunConfig]) -> None:
    """How many steps the time leaves, and what all of them would take where it is less than half of them."""
    on_pairs, on_shots = timekeeper.steps.get("warm-up", 0), timekeeper.steps["shots"]
    line = f"in {timekeeper.seconds:g} seconds: {on_pairs} steps on the pairs, {on_shots} on the shots"
    if timekeeper.share < HALF:
        whole = in_duration(timekeeper.whole_seconds)
        line += f"; that is only {in_percent(timekeeper.share)} of the plan, which takes about {whole}"
    errors.print(line)


TENTHS = 10


class RunProgress:
    """A bar for each stage of each round on a terminal, a line for each elsewhere; to standard error."""

    def __init__(self, timekeeper: Timekeeper[RunConfig] | None = None, *, quiet: bool) -> None:
        from ktl.learning.outlook import Outlook

        self.quiet = quiet
        self._timekeeper = timekeeper
        self._said_share = 1.0 if timekeeper is None else timekeeper.share  # of the plan; a new half of it is told
        self._outlook = Outlook()
        self.live = errors.is_terminal and not quiet
        self._forecast = Forecast(repeats=not self.live)
        self._waits_for = ""
        self._line = Status("", console=errors)
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
        if self.live:  # before Rich 15 even bars that are disabled end with an empty line
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.stop()
        if self.live:
            self._bars.stop()

    def waiting(self, text: str) -> None:
        """What the run waits for, in a line; an empty one where it waits no longer."""
        if text == self._waits_for or self.quiet:
            return
        self._waits_for = text
        if not self.live:
            if text:
                errors.print(text)
        elif text:
            self._bars.stop()
            self._line.update(text)
            self._line.start()
        else:
            self._line.stop()
            self._bars.start()

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
                self._bars.update(bar, completed=step, total=span.steps, loss=loss)
            self._outlook.took_step(name, span, step)
            if step % BAR_INTERVAL == 0 and not self.quiet:
                self._forecast.say(self._outlook.seconds_left, f"{heading}, step {step}")

        def on_round(row: Row) -> None:
            self._bars.update(bar, visible=False)
            if not self.quiet:
                errors.print(f"{name} {row['round']}/{rounds}: {_describe(row)}")

        def on_plan(planned: Sequence[Stretch]) -> None:
            self._outlook.plan(name, planned)
            keeper = self._timekeeper
            if keeper is not None and keeper.share < HALF * self._said_share and not self.quiet:
                self._said_share = keeper.share
                say_cut(keeper)

        return Observer(on_step, on_round, stop.is_set, on_plan)


def _describe(row: Row) -> str:
    parts = [f"test accuracy {in_percent(row['test_accuracy'])}"]
    if row.get("missed"):
        parts.append(f"missed ({row['missed']})")
    else:
        parts.append(f"loss on shots {row['shot_loss']:.3f}")
    if row["pair_loss"] is not None:
        parts.append(f"on pairs {row['pair_loss']:.3f}")
        parts.append(f"{in_bytes(row['bytes_up'])} up, {in_bytes(row['bytes_down'])} down")
    if "edges" in row:
        parts.append(f"{len(row['edges'])} devices pooled, late: {', '.join(row['late']) or 'none'}")
    return ", ".join([*parts, f"{row['seconds']:.0f} s"])
