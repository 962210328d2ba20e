"""The convolution of style-based generators, for a batch of styles at once, and what follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

_product_dtype: ContextVar[torch.dtype | None] = ContextVar("product dtype", default=None)


@contextmanager
def products_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Inside, `scaled_convolution` multiplies in `dtype` and sums in float32; None: in the dtype of its input.

    Only these products take long. Filters, nonlinearities and sums of images stay as exact as they were.
    """
    token = _product_dtype.set(dtype)
    try:
        yield
    finally:
        _product_dtype.reset(token)


def scaled_convolution(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    scale: Tensor | None = None,
    added: Tensor | None = None,
    *,
    padding: int = 0,
    transpose: bool = False,
) -> Tensor:
    """Convolution of x (n, c_in, h, w) with `weight` (c_out, c_in, k, k), `style` (n, c_in) and `scale` (n, c_out).

    The style multiplies the input and the scale the output, so that one ordinary convolution serves the whole batch.
    `transpose` doubles the resolution by a stride of 2 (2h + 1 for k = 3). `scaled` follows where there is a scale.
    """
    dtype = _product_dtype.get() or x.dtype
    styled = (x * style.to(x.dtype)[:, :, None, None]).to(dtype)
    kernel = weight.to(dtype)
    if transpose:
        out = F.conv_transpose2d(styled, kernel.transpose(0, 1), stride=2)
    else:
        out = F.conv2d(styled, kernel, padding=padding)
    out = out.to(x.dtype)
    return out if scale is None else scaled(out, scale, added)


def scaled(x: Tensor, scale: Tensor, added: Tensor | None = None) -> Tensor:
    """x (n, c, h, w) times `scale` (n, c), plus `added` of any shape that broadcasts; like `bounded` in place."""
    scale = scale.to(x.dtype)[:, :, None, None]
    if x.requires_grad:
        return x * scale if added is None else torch.addcmul(added.to(x.dtype), x, scale)
    x.mul_(scale)
    return x if added is None else x.add_(added)


def bounded(x: Tensor, bound: float) -> Tensor:
    """x within [-bound, bound], in place where no gradient needs it as it was."""
    return x.clamp(-bound, bound) if x.requires_grad else x.clamp_(-bound, bound)
