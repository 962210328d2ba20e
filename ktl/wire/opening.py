"""The two JSON messages that open a session: what an edge asks for, and what a cloud answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from reprlib import repr as shortened  # a stranger's value in an error text stays short
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from ktl.errors import WireError
from ktl.field_annotations import description, expected
from ktl.protocol import MAX_ROUNDS, VERSION
from ktl.wire.tensors import check_version

MAX_CLASSES = 1000
MAX_LATENT_DIM = 65_536
MAX_IMAGE_SIZE = 1024  # pixels
MAX_PAIRS_PER_CLASS = 1000
MAX_PAIR_BYTES = 256 * 2**20
MAX_JSON_BYTES = 16 * 2**10

if TYPE_CHECKING:  # a program passes what it measured; the choice is checked where the message is decoded
    Channels = int
    ImageFormat = str
    PairsVersion = int
else:
    Channels = Literal[1, 3]
    ImageFormat = Literal["webp", "png"]
    PairsVersion = Literal[1, 2]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Setting = bool | int | float | str | None
SettingsTable = Annotated[dict[str, Setting], Meta(description="a table of numbers, texts, true, false or null")]
ModelNames = Annotated[list[str], Meta(max_length=16, description="a list of at most 16 names of architectures")]
Opening = TypeVar("Opening", "SessionRequest", "SessionReply")


@dataclass(frozen=True)
class SessionRequest:
    """What an edge asks of a cloud. `seed` makes the session's ETF, alignment and latents reproducible.

    Constructing one checks nothing: `decode_message` does.
    """

    num_classes: Annotated[int, Meta(ge=2, le=MAX_CLASSES)]
    image_size: Annotated[int, Meta(ge=4, le=MAX_IMAGE_SIZE)]  # pixels
    channels: Channels
    pairs_per_class: Annotated[int, Meta(ge=1, le=MAX_PAIRS_PER_CLASS)]  # at most, per round
    download_bytes: Annotated[int, Meta(ge=1, le=MAX_PAIR_BYTES)]  # that a round's pairs may take at most
    alignment: str
    image_format: ImageFormat
    seed: Seed
    alignment_settings: SettingsTable = field(default_factory=dict)  # those that are not the alignment's defaults
    memory: Annotated[int, Meta(ge=1, le=MAX_ROUNDS)] = MAX_ROUNDS  # for which an edge's class statistics count
    pairs_version: PairsVersion = 1  # of the pairs' payload: the newest that the edge reads
    warm_starts: ModelNames = field(default_factory=list)  # ktl's own architectures whose extractors are asked for


@dataclass(frozen=True)
class SessionReply:
    """What a cloud answers: the shared ETF's seed, which generator will draw the pairs, and what their vectors are.

    `space` and its fingerprint name the space of the vectors, `latent` the generator's own. `metric`: vectors of alike
    images point to alike directions, so edges take them as they are. Of each warm start that was asked for, by its
    architecture, `warm_starts` has a digest of all that it is made with, and `warm_start_bytes` its size on the wire.
    """

    etf_seed: Seed
    latent_dim: Annotated[int, Meta(ge=1, le=MAX_LATENT_DIM)]  # numbers in a pair's vector
    generator: str
    licence: str
    fingerprint: str
    space: str = "latent"
    space_fingerprint: str = ""
    metric: bool = False
    warm_starts: dict[str, str] = field(default_factory=dict)
    warm_start_bytes: dict[str, Annotated[int, Meta(ge=1)]] = field(default_factory=dict)
    warm_start_format: str = ""  # how their numbers are written


HINTS: dict[type[Any], dict[str, Any]] = {
    kind: get_type_hints(kind, include_extras=True) for kind in (SessionRequest, SessionReply)
}


def encode_message(message: SessionRequest | SessionReply) -> bytes:
    """A session message as versioned JSON. Fields that have their defaults are left out."""
    values = {
        entry.name: value for entry in fields(message) if (value := getattr(message, entry.name)) != _default(entry)
    }
    return json.dumps({"version": VERSION} | values, separators=(",", ":")).encode()


def decode_message(payload: bytes, kind: type[Opening]) -> Opening:
    """Reads what `encode_message` wrote. Raises WireError, in one short line, for anything else.

    Size first, then JSON, version, names, and each value by the annotation of its field.
    """
    values = _table(payload)
    check_version(values.pop("version", None))
    hints = HINTS[kind]
    required = {entry.name for entry in fields(kind) if _default(entry) is MISSING}
    if odd := sorted((required - values.keys()) | (values.keys() - hints.keys())):
        raise WireError(f"{shortened(odd)} missing or unknown in a session message: expected {', '.join(hints)}")
    return kind(**{name: _checked(name, value, hints[name]) for name, value in values.items()})


def _default(entry: Field[Any]) -> Any:
    """Of a message's field, or MISSING."""
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _table(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_JSON_BYTES:
        raise WireError(f"a session message of {len(payload)} bytes: at most {MAX_JSON_BYTES} are read")
    try:
        values = msgspec.json.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"a damaged session message ({error}); send it again") from error
    if not isinstance(values, dict):
        raise WireError(f"a session message is {shortened(values)}: expected a table; send it again")
    return values


def _checked(name: str, value: Any, hint: Any) -> Any:
    try:
        checked = msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        words = description(hint) or expected(hint)
        raise WireError(f"{name} is {shortened(value)}: expected {words}") from error
    if not all(text.isprintable() for text in _texts(checked)):  # they go to terminals and logs
        raise WireError(f"{name} is {shortened(value)}: expected printable text")
    return checked


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (key, *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
