"""Asking a cloud who it is, before anything is sent."""

from __future__ import annotations

from typing import Any

from ktl.edge.network.transport import Transport
from ktl.errors import CloudError
from ktl.protocol import VERSION


def ping(transport: Transport) -> dict[str, Any]:
    """What a cloud says of itself and of the token. Raises CloudError if it is none that this ktl can talk to."""
    about = transport.table("/v1")
    try:
        protocols = list(about["protocols"])
        if VERSION not in protocols:
            raise CloudError(
                f"{transport.access.url} speaks protocols {protocols}, this ktl {VERSION}: update the older of the two"
            )
        str(about["token"]["name"]), float(about["limits"]["wait_seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise CloudError(f"{transport.access.url} answered, but not as a ktl cloud does: check the address") from error
    return about
