"""The warm starts of one generator and space: ready ones, or each made once and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.errors import CheckpointError, Interrupted, UsageError, WireError
from ktl.files import write_atomically
from ktl.generators.base import ImageGenerator
from ktl.models import MODELS
from ktl.models.edge_model import extractor_weights
from ktl.settings import as_table
from ktl.spaces.base import SharedSpace
from ktl.warm_start.ready import cache_folder, ready_name, ready_payload
from ktl.warm_start.settings import IMAGES, Architecture, WarmStartConfig
from ktl.warm_start.training import WarmStartTraining
from ktl.wire import MAX_WARM_START_BYTES, WARM_START_FORMAT, decode_warm_start, encode_warm_start, warm_start_bytes

VERSION = 1  # of how they are made: another one makes them anew
SAVE_SECONDS = 30.0
LOOK_EVERY = 0.5  # seconds, whether another process has made what is asked for

OnStep = Callable[[int, int, float], None]  # steps done, and in all; the last loss


@dataclass(frozen=True)
class Offer:
    """What a session's reply says of a warm start: a digest of all that it is made with, and its bytes on the wire."""

    fingerprint: str
    size: int


class WarmStarts:
    """Trains what is asked for and keeps it as the bytes that go over the wire, so whoever asks gets the same ones."""

    def __init__(
        self,
        generator: ImageGenerator,
        space: SharedSpace,
        config: WarmStartConfig = WarmStartConfig(),
        *,
        most_bytes: int = MAX_WARM_START_BYTES,
        folder: Path | None = None,
    ) -> None:
        """`most_bytes`: of the largest that is offered; `folder`: the user's cache folder if none."""
        self.generator = generator
        self.space = space
        self.config = config if config.images else replace(config, images=IMAGES)
        self.takes_ready = config.images is None
        self.most_bytes = most_bytes
        self._folder = folder
        self._offers: dict[Architecture, Offer] = {}
        self._ready_ones: dict[Architecture, bytes | None] = {}  # read once: what was announced is what is sent

    @cached_property
    def folder(self) -> Path:
        """Where they are kept; made when first needed."""
        return self._folder or cache_folder()

    def offer(self, wanted: Architecture) -> Offer:
        """Raises UsageError for a name that is none of ktl's own, images that it cannot take, too large a network."""
        if wanted not in self._offers:
            size = self._size(wanted)
            ready = self._ready(wanted)
            fingerprint = self._fingerprint(wanted) if ready is None else hashlib.sha256(ready).hexdigest()
            self._offers[wanted] = Offer(fingerprint, size)
        return self._offers[wanted]

    def kept(self, wanted: Architecture) -> bytes | None:
        """A warm start's payload if it is ready or has been made. A damaged file of what was made is none."""
        if (ready := self._ready(wanted)) is not None:
            return ready
        try:
            payload = self.file(wanted).read_bytes()
            decode_warm_start(payload, _like(wanted))
        except (OSError, WireError):
            return None
        return payload

    def make(
        self,
        wanted: Architecture,
        on_step: OnStep = lambda step, steps, loss: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bytes:
        """The payload: as it is kept, or made now, which takes minutes, by one process at a time.

        Raises UsageError as `offer` does; Interrupted after `should_stop()`: the training goes on from there the next
        time; CheckpointError if the folder cannot be written.
        """
        self.offer(wanted)
        if (kept := self.kept(wanted)) is not None:
            return kept
        with _only_maker(self.file(wanted).with_suffix(".lock"), should_stop):
            return self.kept(wanted) or self._made(wanted, on_step, should_stop)

    def file(self, wanted: Architecture) -> Path:
        """Where a warm start is kept."""
        name = f"{wanted.model}-{wanted.channels}x{wanted.image_size}-{self._fingerprint(wanted)[:16]}"
        return self.folder / f"{name}.safetensors"

    def _ready(self, wanted: Architecture) -> bytes | None:
        if wanted not in self._ready_ones:
            ready = ready_payload(wanted, self.folder) if self.takes_ready else None
            if ready is not None:
                try:
                    decode_warm_start(ready, _like(wanted))
                except WireError as error:
                    raise UsageError(f"{ready_name(wanted)} in {self.folder} is no such warm start: {error}") from error
            self._ready_ones[wanted] = ready
        return self._ready_ones[wanted]

    def _made(self, wanted: Architecture, on_step: OnStep, should_stop: Callable[[], bool]) -> bytes:
        training = WarmStartTraining(wanted, self.generator, self.space, self.config, should_stop)
        checkpoint = self.file(wanted).with_suffix(".checkpoint")
        with suppress(CheckpointError, LookupError, RuntimeError, ValueError):  # there is none, or it is damaged
            training.restore(load_checkpoint(checkpoint)[0])
        saved = time.monotonic()

        def after_step(step: int, loss: float) -> None:
            nonlocal saved
            on_step(step, training.steps, loss)
            if time.monotonic() - saved > SAVE_SECONDS:
                save_checkpoint(checkpoint, training.state(), {})
                saved = time.monotonic()

        try:
            training.train(after_step)
        except Interrupted:
            save_checkpoint(checkpoint, training.state(), {})
            raise
        payload = encode_warm_start(training.model.extractor.state_dict())
        write_atomically(self.file(wanted), payload)
        checkpoint.unlink(missing_ok=True)
        return payload

    def _fingerprint(self, wanted: Architecture) -> str:
        space = self.space
        made_with = (
            VERSION,
            WARM_START_FORMAT,
            wanted,
            self.generator.fingerprint,
            (space.name, space.dimension, space.fingerprint),
            as_table(self.config),
        )
        return hashlib.sha256(repr(made_with).encode()).hexdigest()

    def _size(self, wanted: Architecture) -> int:
        names = MODELS.builtin()
        if wanted.model not in names:
            raise UsageError(
                f"no warm start of model {wanted.model!r}: choose one of {', '.join(names)}, or --warm-start edge"
            )
        like = _like(wanted)
        numbers = sum(weight.numel() for weight in like.values())  # a byte each, and more
        if numbers > self.most_bytes or (size := warm_start_bytes(like)) > self.most_bytes:
            raise UsageError(
                f"a warm start of {wanted.model} for images of {wanted.image_size} pixels would have more than "
                f"{self.most_bytes:,} bytes: choose a smaller network, or --warm-start edge"
            )
        return size


def _like(wanted: Architecture) -> dict[str, Tensor]:
    return extractor_weights(wanted.model, wanted.channels, wanted.image_size)


@contextmanager
def _only_maker(lock: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Held by the one process, and thread, that makes a warm start. Raises Interrupted, CheckpointError."""
    try:
        import fcntl
    except ImportError:  # on Windows two may make it at once: the bytes are the same
        yield
        return
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        raise CheckpointError(
            f"cannot write {lock}: {error.strerror}; name another folder by KTL_WARM_STARTS"
        ) from error
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if should_stop():
                    raise Interrupted("stopped while another process makes the same warm start") from None
                time.sleep(LOOK_EVERY)
        yield
