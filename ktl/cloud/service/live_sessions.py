"""The state of sessions' alignments, kept in memory between rounds. The uploads are enough to make it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.round_bounds import round_bounds
from ktl.cloud.service.batching import ServedGenerator
from ktl.cloud.service.store import Store
from ktl.errors import KtlError
from ktl.prototypes import Prototypes
from ktl.spaces.base import SharedSpace
from ktl.warm_start.warm_starts import WarmStarts
from ktl.wire import SessionReply, SessionRequest, decode_message, decode_prototypes

MAX_LIVE_SESSIONS = 64


class LiveSessions:
    """The sessions that this server drew last; one that is missing, or behind, catches up on its earlier rounds."""

    def __init__(self, store: Store, generator: ServedGenerator, space: SharedSpace, warm_starts: WarmStarts) -> None:
        self.store = store
        self.warm_starts = warm_starts
        self.generator = generator
        self.space = space
        self._live: OrderedDict[str, tuple[KnowledgeCloud, int]] = OrderedDict()  # and the rounds that are in it
        self._lock = threading.Lock()

    def take(
        self, session: str, number: int, check_wanted: Callable[[], None]
    ) -> tuple[KnowledgeCloud, list[Prototypes]]:
        """The session's cloud as it was after the round before, and what edges sent for this one.

        It is gone from here until it is kept again: a round that is broken off leaves it in no known state.
        `check_wanted` is called while it works, and ends that by raising. Raises KtlError for another generator.
        """
        with self._lock:
            cloud, done = self._live.pop(session, (None, 0))
        if cloud is None or done >= number:
            cloud, done = self._new(session), 0
        cloud.alignment.check_wanted = check_wanted
        classes = cloud.request.num_classes
        for earlier in range(done + 1, number):  # one after the other: all of them may not fit into the memory
            check_wanted()
            cloud.skip(self._uploads(session, earlier, classes))
        return cloud, self._uploads(session, number, classes)

    def memory_of(self, session: str, number: int) -> int:
        """Bytes of memory that a round may take while it is drawn."""
        request = decode_message(self.store.request(session), SessionRequest)
        cloud = KnowledgeCloud(self.generator, request, self.space, self.warm_starts)
        return round_bounds(cloud, len(self.store.round(session, number).edges_in)).memory

    def keep(self, session: str, number: int, cloud: KnowledgeCloud) -> None:
        """After round `number`."""
        with self._lock:
            self._live[session] = (cloud, number)
            if len(self._live) > MAX_LIVE_SESSIONS:
                self._live.popitem(last=False)

    def forget(self, session: str) -> None:
        """The session was deleted."""
        with self._lock:
            self._live.pop(session, None)

    def _uploads(self, session: str, number: int, classes: int) -> list[Prototypes]:
        [payloads] = self.store.jobs.uploads(session, number, number)
        return [decode_prototypes(payload, classes) for payload in payloads]

    def _new(self, session: str) -> KnowledgeCloud:
        opened, replied = self.store.opening(session)
        request, promised = decode_message(opened, SessionRequest), decode_message(replied, SessionReply)
        cloud = KnowledgeCloud(self.generator, request, self.space, self.warm_starts)
        if (now := cloud.reply()) != promised:
            raise KtlError(
                f"this session was opened with generator {promised.fingerprint} and vectors in {promised.space!r}, "
                f"and the server now has {now.fingerprint} and {now.space!r}; open a new session, or start the "
                "server as it was"
            )
        return cloud
