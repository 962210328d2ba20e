"""Class statistics of many edges added up: the same bytes from an embedded cloud and from a service."""

from __future__ import annotations

from collections.abc import Iterable

from ktl.class_statistics import pooled_apart
from ktl.wire import decode_statistics, encode_pooled


def pool_payloads(payloads: Iterable[bytes], num_classes: int, dimension: int) -> bytes:
    """The sums of encoded class statistics, at least one, by architecture, added as they come. Raises WireError."""
    return encode_pooled(pooled_apart([decode_statistics(each, num_classes, dimension) for each in payloads]))
