"""The service's answers in JSON; docs/reference/protocol.md explains each field."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from ktl.cloud.service.models import Scope
from ktl.protocol import VERSION
from ktl.wire import SessionReply, SessionRequest

State = Literal["collecting", "queued", "drawing", "done", "failed"]


class Seconds(BaseModel):
    """How long the cloud worked on a round."""

    alignment: float
    generation: float


class PoolingState(BaseModel):
    """Whose class statistics of a round are in."""

    round: int
    edges_in: list[str]
    edges_missing: int = Field(description="Until as many are in as sent prototypes; 0 once they are pooled.")
    edges_late: list[str] = Field(description="They sent prototypes, but no statistics before the deadline.")
    closes_at: datetime | None


class RoundState(BaseModel):
    """Where a round is."""

    round: int
    state: State
    edges_in: list[str]
    edges_missing: int = Field(description="Still needed for the quorum; 0 once the round is closed.")
    edges_late: list[str] = Field(description="Members, or in the round before; not in this one, which is closed.")
    quorum: int
    closes_at: datetime | None
    pairs: int = Field(description="Drawn so far while the state is `drawing`.")
    bytes: int
    error: str | None
    seconds: Seconds | None
    pooling: PoolingState | None = Field(description="Once class statistics of the round have come.")

    @property
    def late(self) -> list[str]:
        """Late with their prototypes or their class statistics."""
        return sorted({*self.edges_late, *(self.pooling.edges_late if self.pooling else [])})


class WarmStartState(BaseModel):
    """How far a warm start is that is being made."""

    model: str
    step: int
    steps: int = Field(description="In all; 0 before it is begun.")


class SessionState(BaseModel):
    """A session and its latest round."""

    id: str
    owner: str
    name: str | None
    rounds: int | None = Field(description="How many it has; null where it has no end.")
    classes: str | None = Field(description="SALT.DIGEST of the classes' names, in order.")
    members: list[str]
    quorum: int
    deadline: float | None
    opened_at: datetime
    active_at: datetime
    request: dict[str, Any]
    reply: dict[str, Any]
    round: RoundState | None


class SessionPage(BaseModel):
    """Sessions, newest first; `next` is the `after` of the next page."""

    sessions: list[SessionState]
    next: str | None


class TokenInfo(BaseModel):
    """Whom the service takes the caller for."""

    name: str
    scope: Scope


class TokenState(TokenInfo):
    """What is known of a token; its secret is not."""

    id: str
    created_at: datetime
    used_at: datetime | None = Field(description="To the minute.")
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenPage(BaseModel):
    """Tokens in the order of their ids; `next` is the `after` of the next page."""

    tokens: list[TokenState]
    next: str | None


class NewTokens(BaseModel):
    """Secrets by name, told this once."""

    tokens: dict[str, str]


class Act(BaseModel):
    """Something that an admin did; `actor` is the name of the admin's token."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str


class AuditPage(BaseModel):
    """Acts, newest first; `next` is the `before` of the next page."""

    acts: list[Act]
    next: int | None


class GeneratorInfo(BaseModel):
    """What draws the images."""

    name: str
    family: str
    latent_dim: int
    image_size: int
    licence: str
    fingerprint: str


class Limits(BaseModel):
    """What this server grants at most."""

    image_size: int
    download_bytes: int
    quorum: int
    wait_seconds: float


class ServiceInfo(BaseModel):
    """Who the service is."""

    service: Literal["ktl"] = "ktl"
    release: str
    protocols: list[int]
    token: TokenInfo
    generator: GeneratorInfo
    limits: Limits


class ProblemDetail(BaseModel):
    """Every error; for the OpenAPI document."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


def message_schema(kind: type[SessionRequest] | type[SessionReply]) -> dict[str, Any]:
    """The JSON schema of a message of `ktl.wire`, from the annotations by which it is checked."""
    _, components = msgspec.json.schema_components([kind])
    schema: dict[str, Any] = components[kind.__name__]
    return schema | {
        "properties": {"version": {"const": VERSION}} | schema["properties"],
        "required": ["version", *schema["required"]],
        "additionalProperties": False,
    }
