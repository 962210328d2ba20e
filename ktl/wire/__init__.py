"""The payloads that travel between edge and cloud, checked before they are decoded.

Every decoder takes bytes from a stranger and either returns something valid or raises WireError with one line that
names what was wrong.
"""

from ktl.protocol import VERSION
from ktl.wire.frame import encode_frame
from ktl.wire.opening import (
    MAX_CLASSES,
    MAX_IMAGE_SIZE,
    MAX_JSON_BYTES,
    MAX_LATENT_DIM,
    MAX_PAIR_BYTES,
    MAX_PAIRS_PER_CLASS,
    SessionReply,
    SessionRequest,
    decode_message,
    encode_message,
)
from ktl.wire.pairs import (
    PAIRS_HEADER_BYTES,
    PAIRS_VERSION,
    count_pairs,
    decode_pairs,
    encode_pairs,
    most_pair_bytes,
    most_pairs,
)
from ktl.wire.prototypes import MAX_PROTOTYPE_BYTES, decode_prototypes, encode_prototypes
from ktl.wire.statistics import (
    MAX_STATISTICS_BYTES,
    decode_pooled,
    decode_statistics,
    encode_pooled,
    encode_statistics,
    statistics_bytes,
)
from ktl.wire.tensors import MAX_HEADER_BYTES
from ktl.wire.warm_start import (
    MAX_WARM_START_BYTES,
    WARM_START_FORMAT,
    WarmStart,
    decode_warm_start,
    encode_warm_start,
    warm_start_bytes,
)

__all__ = [
    "MAX_CLASSES",
    "MAX_HEADER_BYTES",
    "MAX_IMAGE_SIZE",
    "MAX_JSON_BYTES",
    "MAX_LATENT_DIM",
    "MAX_PAIRS_PER_CLASS",
    "MAX_PAIR_BYTES",
    "MAX_PROTOTYPE_BYTES",
    "MAX_STATISTICS_BYTES",
    "MAX_WARM_START_BYTES",
    "PAIRS_HEADER_BYTES",
    "PAIRS_VERSION",
    "VERSION",
    "WARM_START_FORMAT",
    "SessionReply",
    "SessionRequest",
    "WarmStart",
    "count_pairs",
    "decode_message",
    "decode_pairs",
    "decode_pooled",
    "decode_prototypes",
    "decode_statistics",
    "decode_warm_start",
    "encode_frame",
    "encode_message",
    "encode_pairs",
    "encode_pooled",
    "encode_prototypes",
    "encode_statistics",
    "encode_warm_start",
    "most_pair_bytes",
    "most_pairs",
    "statistics_bytes",
    "warm_start_bytes",
]
