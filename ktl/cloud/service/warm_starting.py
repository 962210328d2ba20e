"""Makes the warm starts that sessions ask for, one after the other, beside the rounds."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass, field

from ktl.cloud.service.events import Event, Events
from ktl.cloud.service.refusals import Refused, busy
from ktl.errors import Interrupted, KtlError
from ktl.warm_start.settings import Architecture
from ktl.warm_start.warm_starts import WarmStarts

MAX_WAITING = 16  # architectures that are being made or wait; a token could name one for each image size

log = logging.getLogger("ktl.cloud")


@dataclass
class Making:
    """A warm start on its way: who waits for it, and how far it is."""

    sessions: set[str] = field(default_factory=set)
    step: int = 0
    steps: int = 0  # 0 before it is begun


class WarmStarting:
    """A thread that trains what is asked for. What it has made is in `warm_starts`; a restarted server goes on with it
    when a session asks again.
    """

    def __init__(self, warm_starts: WarmStarts, events: Events) -> None:
        self.warm_starts = warm_starts
        self.events = events
        self._making: dict[Architecture, Making] = {}
        self._failed: dict[Architecture, str] = {}
        self._state = threading.Lock()
        self._stop = threading.Event()
        self._asked: queue.Queue[Architecture | None] = queue.Queue()
        self._thread = threading.Thread(target=self._make_asked, name="warm-start", daemon=True)

    def start(self) -> None:
        """Begins to make what is asked for."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after its step; the training is saved."""
        self._stop.set()
        self._asked.put(None)
        self._thread.join()

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def look(self, wanted: Architecture, session: str) -> bytes | Making:
        """The payload, or how far it is: asking has it made. Raises Refused (warm-start-failed, busy)."""
        with self._state:
            if wanted in self._failed:  # told once: whoever asks again has it tried again
                raise Refused("warm-start-failed", self._failed.pop(wanted))
            if wanted not in self._making:
                if (kept := self.warm_starts.kept(wanted)) is not None:
                    return kept
                if len(self._making) >= MAX_WAITING:
                    raise busy(f"{MAX_WAITING} warm starts wait to be made; try again", retry_after=60)
                self._making[wanted] = Making()
                self._asked.put(wanted)
            self._making[wanted].sessions.add(session)
            return self._making[wanted]

    def _make_asked(self) -> None:
        while (wanted := self._asked.get()) is not None and not self._stop.is_set():
            making = self._making[wanted]
            try:
                self._make(wanted, making)
            except Interrupted:
                return
            except Exception as error:  # a fault of the generator or the disk: said to whoever waits
                log.exception("a warm start could not be made", extra={"model": wanted.model})
                known = isinstance(error, KtlError)
                reason = str(error) if known else "the server could not make this warm start; its log says why"
                self._failed[wanted] = " ".join(reason.split())
            finally:
                with self._state:
                    del self._making[wanted]
            for session in making.sessions:
                self.events.tell(Event("ended", session))

    def _make(self, wanted: Architecture, making: Making) -> None:
        def on_step(step: int, steps: int, loss: float) -> None:
            making.step, making.steps = step, steps

        about = {"model": wanted.model, "channels": wanted.channels, "image_size": wanted.image_size}
        log.info("warm start begun", extra=about)
        payload = self.warm_starts.make(wanted, on_step, self._stop.is_set)
        log.info("warm start made", extra=about | {"bytes": len(payload)})
