"""The rounds that this server has on a lease: renewed while a thread is at them, and given up when they are lost."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ktl.cloud.service.database import AWAY
from ktl.cloud.service.jobs import LEASE_SECONDS, Claim, Jobs
from ktl.cloud.service.turns import Turns
from ktl.errors import KtlError

RENEW_EVERY = LEASE_SECONDS / 4
TRY_AGAIN = 1.0  # seconds, while the database is away

Result = TypeVar("Result")

log = logging.getLogger("ktl.cloud")


class Stopping(Exception):
    """The server stops; the round goes back into the queue."""


class Lost(Exception):
    """Nobody waits for this thread's round: the session was deleted, or another server has taken it over."""


class Hold:
    """A claimed round in the hands of a thread: how many pairs are drawn, and whether to go on."""

    def __init__(self, claim: Claim, turns: Turns, stopping: threading.Event, most_seconds: float) -> None:
        self.claim = claim
        self._turns = turns
        self._checked = 0.0
        self.pairs = 0
        self.lost = threading.Event()
        self.waits_for_database = False
        self._stopping = stopping
        self._most_seconds = most_seconds
        self._until = float("inf")

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Held while it is drawn: it has its memory, and from now on it may take so long."""
        self._checked = time.monotonic()
        self._until = self._checked + self._most_seconds
        with self._turns.drawing(self.claim.owner):
            yield

    def is_over(self) -> bool:
        """Whether nobody wants the round from this thread any more."""
        return self._stopping.is_set() or self.lost.is_set()

    def check(self) -> None:
        """Raises Stopping, Lost, or KtlError when the round has taken too long. Called often while it is drawn.

        Lets others have their turn, too.
        """
        self._check_held()
        self._stopping.wait(self._turns.pause(self.claim.owner, time.monotonic() - self._checked))
        self._checked = time.monotonic()
        if self._checked > self._until:
            raise KtlError(
                f"the round took more than the {self._most_seconds:,.0f} s that this server gives one: ask for fewer "
                "classes, pairs or epochs"
            )

    def insist(self, write: Callable[[], Result]) -> Result:
        """What `write` returns, tried until the database takes it: a result is not drawn twice for a full disk.

        Raises Stopping or Lost if that comes first.
        """
        try:
            while True:
                try:
                    return write()
                except AWAY as error:
                    if not self.waits_for_database:
                        reason = str(error).splitlines()[0]
                        log.warning("a round waits for the database", extra=self.told() | {"reason": reason})
                    self.waits_for_database = True
                    self._stopping.wait(TRY_AGAIN)
                    self._check_held()
        finally:
            self.waits_for_database = False

    def told(self) -> dict[str, str | int]:
        """The round as a log line has it."""
        return {"session": self.claim.session, "round": self.claim.round}

    def _check_held(self) -> None:
        if self._stopping.is_set():
            raise Stopping
        if self.lost.is_set():
            raise Lost


class Leases:
    """Takes rounds for the threads of this server, and keeps them alive."""

    def __init__(self, jobs: Jobs, served: Collection[str], *, most_of_one_owner: int, most_seconds: float) -> None:
        """`served`: as `Turns` has it."""
        self.jobs = jobs
        self.server = secrets.token_hex(4)  # the name of this server's claims, anew with every start
        self.stopping = threading.Event()
        self._most_of_one_owner = most_of_one_owner
        self._most_seconds = most_seconds
        self._holds: dict[str, Hold] = {}  # by the claim's holder
        self._taking = threading.Lock()
        self._turns = Turns(served)

    def take(self) -> Hold | None:
        """The next round for a thread to draw, if any. An owner who has many leaves room for others."""
        with self._taking:
            counts = Counter(hold.claim.owner for hold in list(self._holds.values()))
            full = [owner for owner, count in counts.items() if count >= self._most_of_one_owner]
            claim = self.jobs.claim(self.server, besides=full)
            if claim is None:
                return None
            hold = self._holds[claim.holder] = Hold(claim, self._turns, self.stopping, self._most_seconds)
        return hold

    def release(self, hold: Hold) -> None:
        """The thread is done with it, whether it could say so to the database or not: then the lease runs out."""
        del self._holds[hold.claim.holder]

    def renew(self) -> None:
        """Prolongs all leases; threads whose round was lost are told. Called every RENEW_EVERY seconds."""
        self._turns.forget_half()
        holds = dict(self._holds)
        if not holds:
            return
        held = self.jobs.renew({holder: hold.pairs for holder, hold in holds.items()})
        for holder in holds.keys() - held:
            holds[holder].lost.set()

    def lose(self, session: str) -> None:
        """The session was deleted."""
        for hold in list(self._holds.values()):
            if hold.claim.session == session:
                hold.lost.set()

    def drawn(self, session: str, number: int) -> int:
        """Pairs so far of a round that is being drawn here."""
        holds = list(self._holds.values())
        return max(
            (each.pairs for each in holds if (each.claim.session, each.claim.round) == (session, number)), default=0
        )

    def waits_for_database(self) -> bool:
        """Whether there are results that the database does not take."""
        return any(hold.waits_for_database for hold in list(self._holds.values()))
