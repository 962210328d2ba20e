"""How a payload is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ktl.errors import WireError


def refusal(decode: Callable[[bytes], object], payload: bytes) -> str:
    """The one line, not too long, by which `decode` refuses `payload`."""
    with pytest.raises(WireError) as refused:
        decode(payload)
    text = str(refused.value)
    assert "\n" not in text
    assert 10 < len(text) < 400
    return text
