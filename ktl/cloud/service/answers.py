"""What the service says in JSON; docs/protocol.md explains each field."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

State = Literal["collecting", "queued", "drawing", "done", "failed"]


class Seconds(BaseModel):
    """How long the cloud worked on a round."""

    alignment: float
    generation: float


class RoundState(BaseModel):
    """Where a round is."""

    round: int
    state: State
    edges_in: list[str]
    edges_missing: int = Field(description="Still needed for the quorum; 0 once the round is closed.")
    edges_late: list[str] = Field(description="In the round before, but not in this one, which is closed.")
    quorum: int
    closes_at: datetime | None
    pairs: int = Field(description="Drawn so far while the state is `drawing`.")
    bytes: int
    error: str | None
    seconds: Seconds | None


class SessionState(BaseModel):
    """A session and its latest round."""

    id: str
    owner: str
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
    scope: Literal["edge", "admin"]


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


class SessionOpening(BaseModel):
    """The body that opens a session; checked by `ktl.wire`, this is for the OpenAPI document."""

    version: Literal[1]
    num_classes: int = Field(ge=2, le=1000)
    image_size: int = Field(ge=4, le=1024)
    channels: Literal[1, 3]
    pairs_per_class: int = Field(ge=1, le=1000)
    download_bytes: int = Field(ge=1)
    alignment: str
    image_format: Literal["webp", "png"]
    seed: int = Field(ge=0, le=2**63 - 1)
    alignment_settings: dict[str, bool | int | float | str | None] = Field({}, description="Those not by default.")


class SessionOpened(BaseModel):
    """The answer; for the OpenAPI document."""

    version: Literal[1]
    etf_seed: int
    latent_dim: int
    generator: str
    licence: str
    fingerprint: str


class ProblemDetail(BaseModel):
    """Every error; for the OpenAPI document."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
