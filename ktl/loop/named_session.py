"""A session that is created for several edges: what is asked for it, and how each of them sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ktl.errors import CloudError
from ktl.loop.exchange import session_request
from ktl.loop.settings import CloudConfig, SessionTerms
from ktl.wire import SessionReply, SessionRequest, decode_message


def request_for(terms: SessionTerms, classes: int) -> SessionRequest:
    """What a session of so many classes is opened with."""
    return session_request(
        CloudConfig(alignment=terms.alignment, pairs_per_class=terms.pairs_per_class),
        classes=classes,
        channels=1 if terms.grey else 3,
        image_size=terms.image_size,
        download_bytes=terms.download_budget,
        seed=terms.seed,
        warm_starts=[name.strip() for name in terms.warm_starts.split(",") if name.strip()],
    )


@dataclass(frozen=True)
class NamedSession:
    """What a session's edges know of it before the first round. rounds: None in one that has no end."""

    id: str
    name: str
    owner: str
    members: list[str]
    quorum: int
    rounds: int | None
    classes: str | None  # `ktl.class_agreement.class_digest` of their names
    request: SessionRequest
    reply: SessionReply

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> NamedSession:
        """Of a SESSION of docs/protocol.md. Raises CloudError for anything else, WireError for odd messages in it."""
        try:
            request, reply = (json.dumps(state[name]).encode() for name in ("request", "reply"))
            facts = {name: state[name] for name in ("id", "owner", "members", "quorum", "rounds", "classes")}
            name = state["name"] or state["id"]
        except (KeyError, TypeError) as error:
            raise CloudError(f"the cloud does not tell what its session is ({error}): update the cloud") from error
        messages = decode_message(request, SessionRequest), decode_message(reply, SessionReply)
        return cls(**facts, name=name, request=messages[0], reply=messages[1])
