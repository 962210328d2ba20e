"""Class statistics of many edges added up: the same bytes from an embedded cloud and from a service."""

from __future__ import annotations

from dataclasses import dataclass

from ktl.class_statistics import ClassStatistics, Indexed, pooled_apart
from ktl.wire import decode_statistics, encode_pooled


def pool_payloads(payloads: Indexed[bytes], num_classes: int, dimension: int) -> bytes:
    """The sums of encoded class statistics, at least one, by architecture, added as they come. Raises WireError.

    One is decoded at a time: all of them may not fit into the memory.
    """
    return encode_pooled(pooled_apart(_Decoded(payloads, num_classes, dimension)))


@dataclass(frozen=True)
class _Decoded:
    payloads: Indexed[bytes]
    num_classes: int
    dimension: int

    def __len__(self) -> int:
        return len(self.payloads)

    def __getitem__(self, index: int) -> ClassStatistics:
        return decode_statistics(self.payloads[index], self.num_classes, self.dimension)
