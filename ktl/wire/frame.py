"""The simplex ETF on the wire, for edges that cannot make it from its seed as ktl does."""

from __future__ import annotations

from torch import Tensor

from ktl.wire.tensors import save_arrays


def encode_frame(etf: Tensor) -> bytes:
    """An ETF (dimension, classes) float32, of `ktl.etf.simplex_etf`: a row for each class."""
    return save_arrays({"vectors": etf.T.contiguous().numpy()}, "etf")
