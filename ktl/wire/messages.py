"""The JSON messages that open a session: what an edge asks for and what a cloud answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from reprlib import repr as shown  # a stranger's value in an error text stays short
from typing import Any, TypeVar

from ktl.errors import WireError
from ktl.wire.tensors import VERSION, check_version

MOST_CLASSES = 1000
MOST_LATENT_DIM = 65_536
MOST_IMAGE_SIZE = 1024  # pixels
MOST_PAIRS_PER_CLASS = 1000
MOST_PAIR_BYTES = 256 * 2**20
MOST_JSON_BYTES = 16 * 2**10

Message = TypeVar("Message", "SessionRequest", "SessionReply")


@dataclass(frozen=True)
class SessionRequest:
    """What an edge asks of a cloud. `seed` makes the session's ETF, alignment and latents reproducible."""

    num_classes: int
    image_size: int
    channels: int  # 1 or 3
    pairs_per_class: int  # at most, a round
    download_bytes: int  # that a round's pairs may take at most
    alignment: str
    image_format: str  # "webp" or "png"
    seed: int

    def validate(self) -> None:
        """Raises WireError, naming the first value that is out of bounds."""
        _within("num_classes", self.num_classes, 2, MOST_CLASSES)
        _within("image_size", self.image_size, 4, MOST_IMAGE_SIZE)
        _within("pairs_per_class", self.pairs_per_class, 1, MOST_PAIRS_PER_CLASS)
        _within("download_bytes", self.download_bytes, 1, MOST_PAIR_BYTES)
        _within("seed", self.seed, 0, 2**63 - 1)
        _one_of("channels", self.channels, (1, 3))
        _one_of("image_format", self.image_format, ("webp", "png"))


@dataclass(frozen=True)
class SessionReply:
    """What a cloud answers: the shared ETF's seed, and which generator will draw the pairs."""

    etf_seed: int
    latent_dim: int
    generator: str
    licence: str
    fingerprint: str

    def validate(self) -> None:
        """Raises WireError, naming the first value that is out of bounds."""
        _within("etf_seed", self.etf_seed, 0, 2**63 - 1)
        _within("latent_dim", self.latent_dim, 1, MOST_LATENT_DIM)


def encode_message(message: SessionRequest | SessionReply) -> bytes:
    """A session message as versioned JSON."""
    return json.dumps({"version": VERSION} | asdict(message), separators=(",", ":")).encode()


def decode_message(payload: bytes, kind: type[Message]) -> Message:
    """Reads what `encode_message` wrote. Raises WireError for anything else."""
    if len(payload) > MOST_JSON_BYTES:
        raise WireError(f"a session message of {len(payload)} bytes: at most {MOST_JSON_BYTES} are read")
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a damaged session message ({error}); send it again") from error
    if not isinstance(values, dict):
        raise WireError(f"a session message is {shown(values)}: expected a table; send it again")
    check_version(values.pop("version", None))
    expected = {field.name: field.type for field in fields(kind)}
    if set(values) != set(expected):
        odd = sorted(set(values) ^ set(expected))
        raise WireError(f"{shown(odd)} missing or unknown in a session message: expected {', '.join(expected)}")
    for name, value in values.items():
        if type(value).__name__ != expected[name]:  # annotations are strings here; bool is no int
            raise WireError(f"{name} is {shown(value)}: expected {expected[name]}")
        if isinstance(value, str) and not value.isprintable():  # it goes to terminals and logs
            raise WireError(f"{name} is {shown(value)}: expected printable text")
    message = kind(**values)
    message.validate()
    return message


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise WireError(f"{name} is {shown(value)}: must be between {low} and {high}")


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise WireError(f"{name} is {shown(value)}: choose one of {', '.join(map(str, choices))}")
