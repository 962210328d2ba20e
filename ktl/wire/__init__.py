"""The payloads that travel between edge and cloud, checked before they are decoded.

Every decoder takes bytes from a stranger and either returns something valid or raises WireError with one line that
names what was wrong.
"""

from ktl.wire.opening import (
    MOST_CLASSES,
    MOST_IMAGE_SIZE,
    MOST_JSON_BYTES,
    MOST_LATENT_DIM,
    MOST_PAIR_BYTES,
    MOST_PAIRS_PER_CLASS,
    SessionReply,
    SessionRequest,
    decode_message,
    encode_message,
)
from ktl.wire.pairs import PAIRS_HEADER_BYTES, count_pairs, decode_pairs, encode_pairs
from ktl.wire.prototypes import MOST_PROTOTYPE_BYTES, decode_prototypes, encode_prototypes
from ktl.wire.tensors import MOST_HEADER_BYTES, VERSION

__all__ = [
    "MOST_CLASSES",
    "MOST_HEADER_BYTES",
    "MOST_IMAGE_SIZE",
    "MOST_JSON_BYTES",
    "MOST_LATENT_DIM",
    "MOST_PAIRS_PER_CLASS",
    "MOST_PAIR_BYTES",
    "MOST_PROTOTYPE_BYTES",
    "PAIRS_HEADER_BYTES",
    "VERSION",
    "SessionReply",
    "SessionRequest",
    "count_pairs",
    "decode_message",
    "decode_pairs",
    "decode_prototypes",
    "encode_message",
    "encode_pairs",
    "encode_prototypes",
]
