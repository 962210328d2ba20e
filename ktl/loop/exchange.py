"""The edges' end of a session with a cloud: what was exchanged lies in wire/, so no round is ever asked for twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ktl.errors import WireError
from ktl.files import write_atomically
from ktl.learning.schedule import default_pairs_per_class
from ktl.loop.connection import CloudConnection
from ktl.loop.settings import CloudConfig
from ktl.registry import chosen
from ktl.settings import as_table
from ktl.wire import (
    PAIRS_VERSION,
    SessionReply,
    SessionRequest,
    decode_message,
    decode_warm_start,
    encode_message,
)

REPLY_FILE = "session-reply.json"
PAIRS_FILE = re.compile(r"round-(\d+)-pairs\.safetensors")
POOLED_FILE = re.compile(r"round-(\d+)-pooled\.safetensors")
STATISTICS_FILE = re.compile(r"round-(\d+)-statistics-(\d+)\.safetensors")
UPLOAD_FILE = re.compile(r"round-(\d+)-prototypes-(\d+)\.safetensors")


class CloudExchange:
    """One session of a run's edges with a cloud; implements `ktl.methods.base.Exchange`."""

    def __init__(self, request: SessionRequest, folder: Path, connection: CloudConnection) -> None:
        """Opens the session, or takes it up again after the rounds whose payloads lie in `folder`."""
        self.folder = folder
        self.connection = connection
        sent = encode_message(request)
        answered, pooled = self.rounds(), self._answered(POOLED_FILE)
        statistics = [self._uploads(r, STATISTICS_FILE) if r in pooled else {} for r in answered]
        self.reply = connection.open(sent, [self._uploads(r) for r in answered], statistics)
        self.opening = (len(sent), len(self.reply))  # bytes up and down

    def warm_start(self, model: str, like: Mapping[str, Tensor]) -> bytes:
        """The extractor of an architecture that the session asked for: from wire/ if it has come already.

        `like`: a state of that architecture, whose names and shapes it must have. Raises WireError, and whatever the
        connection raises.
        """
        file = warm_start_file(self.folder, model)
        if not file.exists():
            payload = self.connection.warm_start(model)
            if len(payload) != (announced := self.about.warm_start_bytes.get(model, 0)):
                raise WireError(f"a warm start of {len(payload)} bytes where {announced} were announced; ask again")
            decode_warm_start(payload, like)  # only what can be used is kept
            self._make_folder()
            write_atomically(file, payload)
        return file.read_bytes()

    @property
    def about(self) -> SessionReply:
        """What the cloud said of itself and its generator."""
        return decode_message(self.reply, SessionReply)

    def answered(self, round_index: int, uploads: Mapping[int, bytes]) -> bytes:
        """A round's pairs: from wire/ if they have come already, else from the cloud for the prototypes in `uploads`.

        What lies in wire/ counts: edges killed during the exchange send the same bytes again.
        """
        pairs = self._pairs(round_index)
        if not pairs.exists():
            write_atomically(pairs, self.connection.exchange(self._kept(round_index, "prototypes", uploads)))
        return pairs.read_bytes()

    def pooled(self, round_index: int, uploads: Mapping[int, bytes]) -> bytes:
        """Class statistics of all clients so far, kept in wire/ likewise."""
        pooled = self._file(round_index, "pooled")
        if not pooled.exists():
            write_atomically(pooled, self.connection.pool(self._kept(round_index, "statistics", uploads)))
        return pooled.read_bytes()

    def last_pooled(self) -> tuple[dict[int, bytes], bytes] | None:
        """Class statistics by client and pooled ones of the last round that has any, as they lie in wire/."""
        if not (rounds := self._answered(POOLED_FILE)):
            return None
        return self._uploads(rounds[-1], STATISTICS_FILE), self._file(rounds[-1], "pooled").read_bytes()

    def kept(self, round_index: int) -> tuple[dict[int, bytes], bytes]:
        """Uploads by client and pairs of a round that is answered, as they lie in wire/."""
        return self._uploads(round_index), self._pairs(round_index).read_bytes()

    def rounds(self) -> list[int]:
        """Those that are answered, from 0."""
        return self._answered(PAIRS_FILE)

    def _answered(self, kind: re.Pattern[str]) -> list[int]:
        names = [kind.fullmatch(file.name) for file in self.folder.glob("*")]
        return sorted(int(name[1]) - 1 for name in names if name is not None)

    def _kept(self, round_index: int, kind: str, uploads: Mapping[int, bytes]) -> dict[int, bytes]:
        """The uploads as they lie in wire/, written there first if they do not yet."""
        self._make_folder()
        files = {client: self._file(round_index, f"{kind}-{client}") for client in uploads}
        for client, file in files.items():
            if not file.exists():
                write_atomically(file, uploads[client])
        return {client: file.read_bytes() for client, file in files.items()}

    def _make_folder(self) -> None:
        """With what was replied in it, by which all that follows is read."""
        self.folder.mkdir(exist_ok=True)
        write_atomically(self.folder / REPLY_FILE, self.reply)

    def _uploads(self, round_index: int, kind: re.Pattern[str] = UPLOAD_FILE) -> dict[int, bytes]:
        names = [(kind.fullmatch(file.name), file) for file in self.folder.glob("*")]
        own = {int(name[2]): file for name, file in names if name is not None and int(name[1]) == round_index + 1}
        return {client: own[client].read_bytes() for client in sorted(own)}

    def _pairs(self, round_index: int) -> Path:
        return self._file(round_index, "pairs")

    def _file(self, round_index: int, what: str) -> Path:
        return self.folder / f"round-{round_index + 1:03d}-{what}.safetensors"


def warm_start_file(folder: Path, model: str) -> Path:
    """Where an exchange in `folder` keeps the warm start of an architecture."""
    return folder / f"warm-start-{model}.safetensors"


def session_request(
    cloud: CloudConfig,
    *,
    classes: int,
    channels: int,
    image_size: int,
    download_bytes: int,
    seed: int,
    warm_starts: Sequence[str] = (),
) -> SessionRequest:
    """What is asked of a cloud: `download_bytes` is the most that one round's pairs may take, `warm_starts` the models
    whose trained extractors are wanted.
    """
    alignment = chosen(cloud.alignment)
    default, given = as_table(type(alignment.settings)()), as_table(alignment.settings)
    return SessionRequest(
        num_classes=classes,
        image_size=image_size,
        channels=channels,
        pairs_per_class=cloud.pairs_per_class or default_pairs_per_class(classes, channels, download_bytes),
        download_bytes=download_bytes,
        alignment=alignment.name,
        image_format=cloud.image_format,
        seed=seed,
        alignment_settings={name: value for name, value in given.items() if value != default[name]},
        memory=cloud.memory,
        pairs_version=PAIRS_VERSION,
        warm_starts=[*warm_starts],
    )
