"""Who is being served: so many requests at once in all, so many of each token, and apart from them those that wait."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from ktl.cloud.service.refusals import Refused, busy

MOST_AT_ONCE = 1024  # requests, but for those that wait for pairs or events
TOKEN_AT_ONCE = 64  # of them, of one token
LONGEST_AWAY = 20  # seconds until one comes again for whom there was no room
DOOR = 64  # of them, until it is known whose they are; the others wait outside, and many have gone before they get in


class Crowd:
    """Counts of one server. Used in its event loop only."""

    def __init__(self, waits_each: int) -> None:
        self.waits_each = waits_each
        self.at_once = 0
        self.door = asyncio.Semaphore(DOOR)
        self.served: Counter[str] = Counter()  # by token name; other threads look whose names are in it
        self.waiting: Counter[str] = Counter()


class Presence:
    """One request in the crowd. `leave` it however it ends."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self._name = ""
        self._waits = False
        self._in_door = False
        crowd.at_once += 1

    async def come_in(self) -> None:
        """Waits for its turn in the door."""
        await self.crowd.door.acquire()
        self._in_door = True

    def clear_door(self) -> None:
        """It is known whose it is, or its client may keep it waiting from here on: the next one's turn."""
        if self._in_door:
            self._in_door = False
            self.crowd.door.release()

    def no_room(self, crowded: bool) -> Refused | None:
        """Why it is one too many, if it is; `crowded`: its connection is one too many."""
        if crowded:
            return Refused(
                "busy", "as many clients are connected as may be", {"Retry-After": "5", "Connection": "close"}
            )
        if self.crowd.at_once > MOST_AT_ONCE:
            # not all in the same second: to refuse thousands takes the time in which they could be served
            wait = random.randint(1, LONGEST_AWAY)
            return busy(f"{MOST_AT_ONCE} requests are being served; try again", retry_after=wait)
        return None

    def known_as(self, name: str) -> None:
        """Counts it to a token's name. Raises Refused (rate-limited) if that one sends too many at once."""
        self.clear_door()
        if self.crowd.served[name] >= TOKEN_AT_ONCE:
            raise _too_many(f"{TOKEN_AT_ONCE} requests of this token are being served")
        self._name = name
        self.crowd.served[name] += 1

    def wait(self) -> None:
        """From now on it only waits. Raises Refused (rate-limited) if too many of its token do."""
        if self.crowd.waiting[self._name] >= self.crowd.waits_each:
            raise _too_many(f"{self.crowd.waits_each} requests of this token are waiting")
        self._count(-1)
        self._waits = True
        self._count(1)

    def go_on(self) -> None:
        """It is served again."""
        self._count(-1)
        self._waits = False
        self._count(1)

    def leave(self) -> None:
        """It has ended."""
        self.clear_door()
        self._count(-1)

    def _count(self, step: int) -> None:
        by_name = self.crowd.waiting if self._waits else self.crowd.served
        self.crowd.at_once += 0 if self._waits else step
        if self._name:
            by_name[self._name] += step
            if not by_name[self._name]:
                del by_name[self._name]


def _too_many(what: str) -> Refused:
    return Refused("rate-limited", f"{what}; try again", {"Retry-After": "1"})
