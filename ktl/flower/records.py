"""What Flower's messages between the server and a node hold: one table as bytes, checked where it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import msgspec
from flwr.app import ConfigRecord, RecordDict
from msgspec import Meta

from ktl.errors import WireError
from ktl.federation.node_folder import ClassDigest, Count

NAME, BODY = "ktl", "body"
# kinds of messages
HELLO, PREPARE, ASK = "query.hello", "query.prepare", "query.ask"
LEARN, TEST = "train.learn", "evaluate.test"

RunName = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]  # it names a folder on the node
Table = TypeVar("Table")


@dataclass(frozen=True)
class Hello:
    """Asks a node who it is: `settings` are those of the run, as JSON; `salt` is for the digest of its classes."""

    settings: str
    salt: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True)
class Introduction:
    """Who a node is: its client's number, a digest of its classes' names, and its training images of each class."""

    client: Count
    classes: ClassDigest
    counts: Annotated[list[Count], Meta(min_length=2, max_length=1000)]
    channels: Count
    image_size: Count  # pixels


@dataclass(frozen=True)
class Order:
    """What a client is to do: at which version of its own, in which round (from 0), with which message."""

    run: RunName
    client: Count
    version: Count
    round: Count
    message: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What a client did; `error` says why it could not. `message` is what it asks or reports."""

    error: str | None = None
    message: bytes = b""
    right: Count = 0
    tested: Count = 0
    losses: dict[str, float | None] = field(default_factory=dict)


def packed(table: object) -> RecordDict:
    """One of the tables above as the content of a message."""
    return RecordDict({NAME: ConfigRecord({BODY: msgspec.msgpack.encode(table)})})


def unpacked(content: RecordDict, kind: type[Table]) -> Table:
    """Reads what `packed` made. Raises WireError, in one line, for anything else."""
    record = content.config_records.get(NAME)
    body = None if record is None else record.get(BODY)
    if not isinstance(body, bytes):
        raise WireError(f"the message holds {sorted(content)[:5]}: expected {NAME} with {BODY}; is it from ktl?")
    return decoded(body, kind)


def decoded(body: bytes, kind: type[Table]) -> Table:
    """A table from its bytes. Raises WireError, in one line, for anything else."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"a damaged {kind.__name__.lower()} ({error}); is the same ktl at both ends?") from error
