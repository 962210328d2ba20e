"""Payloads damaged at random, as an attacker or a broken network would send them."""

from __future__ import annotations

import random
import struct

NUMBERS = (0, 1, 7, 8, 2**16, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1)


def damaged(payload: bytes, rng: random.Random) -> bytes:
    """The payload with one to four faults: bits flipped, parts cut out, doubled, swapped, numbers put in, lies told."""
    data = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(8)
        if kind == 0 and data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:start] = data[start:end]
        elif kind == 3:
            data[start:end] = rng.randbytes(end - start)
        elif kind == 4:
            del data[start:]
        elif kind == 5 and len(data) >= 8:
            data[:8] = struct.pack("<Q", rng.choice(NUMBERS))  # the length of a safetensors header
        elif kind == 6:
            data[start:start] = str(rng.choice(NUMBERS)).encode()
        else:
            digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
            if digits:
                data[rng.choice(digits)] = rng.choice(b"0123456789-e.")
    return bytes(data)
