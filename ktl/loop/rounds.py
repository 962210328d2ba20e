"""The one loop over one edge or many: ask, answer, learn, report, collect, close; as a folder that can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from ktl.checkpoint import prefixed, under
from ktl.errors import Interrupted
from ktl.files import Row
from ktl.learning.outlook import Stretch
from ktl.learning.schedule import Span
from ktl.loop.clients import Clients, Outcome, Stopped, Watch
from ktl.loop.folder import RunFolder
from ktl.methods.base import Method
from ktl.methods.message import Message

LOSS_EVERY = 10  # steps, of the losses that a report draws


@dataclass(frozen=True)
class Observer:
    """What a caller may watch: every training step of a single edge, every finished round; and how it says stop.

    `on_plan` hears what a single edge's training will consist of, at its start or before, and again where that changes.
    """

    on_step: Callable[[int, Span, int, float], None] = lambda round_index, span, step, loss: None
    on_round: Callable[[Row], None] = lambda row: None
    should_stop: Callable[[], bool] = lambda: False
    on_plan: Callable[[Sequence[Stretch]], None] = lambda planned: None


@dataclass(frozen=True)
class Round:
    """What came of one round: who was sent the message, what they did, and why others were left out."""

    index: int
    sent: Mapping[int, Message]
    message: Message
    outcomes: Mapping[int, Outcome]  # of those that finished it
    left_out: Mapping[int, str]
    closing: Message | None = None  # what the cloud sent to those that finished, if anything

    @property
    def reports(self) -> dict[int, Message]:
        """What the clients that finished sent after they trained."""
        return {client: outcome.report for client, outcome in self.outcomes.items()}


@dataclass
class Scores:
    """right, tested of each client when it was last tested."""

    by_client: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy, 0..1, of each client that has test images."""
        return {client: right / tested for client, (right, tested) in sorted(self.by_client.items()) if tested}

    @property
    def mean(self) -> float:
        """Of all clients together, weighted by test images."""
        return sum(right for right, _ in self.by_client.values()) / max(self.tested, 1)

    @property
    def tested(self) -> int:
        """Test images of all clients together."""
        return sum(tested for _, tested in self.by_client.values())


class Loop:
    """A method's rounds over some clients, saved into a folder.

    describe: a round and the scores after it -> its row of the metrics, but for seconds;
    participants: a round's index -> the clients that take part, and why others do not;
    enough: whether the rows so far are all that is wanted, besides their number.
    """

    def __init__(
        self,
        folder: RunFolder,
        method: Method,
        clients: Clients,
        rounds: int,
        *,
        describe: Callable[[Round, Scores], Row],
        participants: Callable[[int], tuple[Sequence[int], Mapping[int, str]]],
        every_client: Sequence[int],
        enough: Callable[[list[Row]], bool] = lambda rows: False,
        save_every: float,
        observer: Observer,
    ) -> None:
        """`save_every`: seconds between two checkpoints; `every_client`: those whose accuracy each round needs."""
        self.folder = folder
        self.method = method
        self.clients = clients
        self.rounds = rounds
        self.describe = describe
        self.participants = participants
        self.every_client = every_client
        self.enough = enough
        self.save_every = save_every
        self.observer = observer
        self.rows: list[Row] = []
        self.trace: list[list[Any]] = []  # [round, span, step, loss] of every LOSS_EVERY-th step of a single edge
        self.scores = Scores()
        self.seconds = 0.0  # of the current round, over all its starts
        self._clock = self._saved = time.monotonic()

    def run(self) -> list[Row]:
        """Goes on from the last checkpoint, if there is one, to the last round; returns a row for each of all rounds.

        Raises Interrupted after `should_stop`, CheckpointError for a checkpoint of another run.
        """
        self._restore()
        self._clock = self._saved = time.monotonic()
        while len(self.rows) < self.rounds and not self.enough(self.rows):
            if not self.clients.watched and self.observer.should_stop():
                self._stop(f"after round {len(self.rows)}")
            try:
                finished = self._round(len(self.rows))
            except Stopped:
                self._stop(f"in round {len(self.rows) + 1}")
            row = self.describe(finished, self.scores)
            self._take_time()
            self.rows.append(row | {"seconds": round(self.seconds, 3)})
            self.seconds = 0.0
            if self.clients.watched or time.monotonic() - self._saved > self.save_every:
                self.save()
            self.observer.on_round(self.rows[-1])
        if not self.clients.watched:
            self.save()
        return self.rows

    def _round(self, index: int) -> Round:
        joined, absent = self.participants(index)
        left_out = dict(absent)
        if self.clients.begun(index):
            sent, message = self.method.answered().get(index) or (dict.fromkeys(joined, Message()), Message())
        else:
            asked = self.clients.ask(joined, index)
            left_out |= {client: answer for client, answer in asked.items() if isinstance(answer, str)}
            sent = {client: answer for client, answer in asked.items() if isinstance(answer, Message)}
            message = self.method.answer(index, sent)
        outcomes = self.clients.learn(list(sent), index, message, self._watch())
        left_out |= {client: outcome.error for client, outcome in outcomes.items() if outcome.error is not None}
        done = {client: outcome for client, outcome in outcomes.items() if outcome.error is None}
        finished = Round(index, sent, message, done, left_out)
        if any(finished.reports.values()):
            self.method.collect(index, finished.reports)
        if self.method.closes_rounds:
            closing = self.method.close(index, message, finished.reports)
            self.scores.by_client |= self.clients.test(list(done), closing)
            finished = replace(finished, closing=closing)
        else:
            self.scores.by_client |= {client: (outcome.right, outcome.tested) for client, outcome in done.items()}
        if untested := [client for client in self.every_client if client not in self.scores.by_client]:
            self.scores.by_client |= self.clients.test(untested, message)
        return finished

    def _watch(self) -> Watch:
        def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
            self.observer.on_step(round_index, span, step, loss)
            if step % LOSS_EVERY == 0:
                self.trace.append([round_index + 1, span.name, step, round(loss, 5)])
            if time.monotonic() - self._saved > self.save_every:
                self.save()

        return Watch(on_step, self.observer.should_stop)

    def _stop(self, where: str) -> NoReturn:
        self.save()
        raise Interrupted(f"stopped {where}; go on with: {self.folder.resume_by}")

    def _take_time(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    def save(self) -> None:
        """Clients write their own files first; the run's checkpoint, which names them, makes them count."""
        self._take_time()
        tensors, progress = self.clients.save(self._client_folder)
        self.folder.save(
            tensors | prefixed("cloud", self.method.state()),
            {
                "clients": progress,
                "scores": {str(client): score for client, score in self.scores.by_client.items()},
                "trace": self.trace,
                "seconds": self.seconds,
            },
            self.rows,
        )
        self.clients.tidy(self._client_folder)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        if not self.folder.checkpoint.exists():
            self.clients.tidy(self._client_folder)
            return
        tensors, progress = self.folder.load()
        try:
            self.rows, self.trace, self.seconds = progress["rows"], progress["trace"], progress["seconds"]
            self.scores.by_client = {int(c): (right, tested) for c, (right, tested) in progress["scores"].items()}
            self.method.restore(under("cloud", tensors))
            messages = {index: message for index, (_, message) in self.method.answered().items()}
            self.clients.restore(self._client_folder, tensors, progress["clients"], messages)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, OSError) as error:
            raise self.folder.misfit(error) from error
        self.folder.write_metrics(self.rows)

    @property
    def _client_folder(self) -> Path:
        return self.folder.path / "clients"
