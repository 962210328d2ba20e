"""An embedded cloud whose seconds can be told from the edge's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ktl import EmbeddedCloud


class TimedCloud(EmbeddedCloud):
    """Counts the processor's seconds of the cloud's part."""

    seconds = 0.0

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        return self._timed(lambda: EmbeddedCloud.open(self, request, answered, pooled))

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        return self._timed(lambda: EmbeddedCloud.exchange(self, uploads))

    def warm_start(self, model: str) -> bytes:
        return self._timed(lambda: EmbeddedCloud.warm_start(self, model))

    def _timed(self, work: Callable[[], bytes]) -> bytes:
        began = time.process_time()
        payload = work()
        self.seconds += time.process_time() - began
        return payload
