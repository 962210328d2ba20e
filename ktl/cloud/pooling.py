"""Class statistics of many edges added up: the same bytes from an embedded cloud and from a service."""

from __future__ import annotations

from collections.abc import Iterable

from ktl.class_statistics import pooled
from ktl.wire import decode_statistics, encode_statistics


def pool_payloads(payloads: Iterable[bytes], num_classes: int, dimension: int) -> bytes:
    """The sum of encoded class statistics, at least one, added in the order given. Raises WireError."""
    return encode_statistics(pooled([decode_statistics(each, num_classes, dimension) for each in payloads]))
