from __future__ import annotations

from safetensors.numpy import load

from ktl.etf import simplex_etf
from ktl.seeds import stream
from ktl.wire import encode_frame
from ktl.wire.tensors import read_header


def test_an_etf_has_a_row_for_each_class_and_says_its_version() -> None:
    frame = simplex_etf(3, 5, stream(0, "etf"))
    payload = encode_frame(frame)
    assert read_header(payload, "etf")["__metadata__"] == {"ktl": "etf/1"}
    assert load(payload)["vectors"].tolist() == frame.T.tolist()
