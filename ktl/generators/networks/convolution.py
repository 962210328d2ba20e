"""The convolutions of style-based generators, for a batch of styles at once, and what follows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_product_dtype: ContextVar[torch.dtype | None] = ContextVar("product dtype", default=None)


@contextmanager
def products_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Inside, the convolutions below multiply in `dtype` and sums in float32; None: in the dtype of its input.

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
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int = 0,
    transpose: bool = False,
) -> Tensor:
    """Convolution of x (n, c_in, h, w) with `weight` (c_out, c_in, k, k), `style` (n, c_in) and `scale` (n, c_out).

    The style multiplies the input and the scale the output, so that one ordinary convolution serves the whole batch; a
    single image of more pixels than the kernel has weights for each input multiplies these instead. `bias` (c_out,) is
    added last. `transpose` doubles the resolution by a stride of 2 (2h + 1 for k = 3).
    """
    dtype = _product_dtype.get() or x.dtype
    style, scale = style.to(x.dtype), scale.to(x.dtype)
    if len(x) == 1 and x[0, 0].numel() > weight[:, 0].numel():
        kernel = weight * style[:, :, None, None] * scale[0, :, None, None, None]
        return _convolution(x.to(dtype), kernel.to(dtype), bias, padding, transpose).to(x.dtype)
    styled = (x * style[:, :, None, None]).to(dtype)
    out = _convolution(styled, weight.to(dtype), None, padding, transpose).to(x.dtype)
    out = out * scale[:, :, None, None] if out.requires_grad else out.mul_(scale[:, :, None, None])
    return out if bias is None else added(out, bias[:, None, None])


def plain_convolution(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """What `layer` makes of x (n, c_in, h, w), multiplied like `scaled_convolution`."""
    dtype = _product_dtype.get() or x.dtype
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return F.conv2d(x.to(dtype), layer.weight.to(dtype), bias, padding=layer.padding).to(x.dtype)


def _convolution(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int, transpose: bool) -> Tensor:
    bias = None if bias is None else bias.to(x.dtype)
    if transpose:
        return F.conv_transpose2d(x, kernel.transpose(0, 1), bias, stride=2)
    return F.conv2d(x, kernel, bias, padding=padding)


def added(x: Tensor, other: Tensor) -> Tensor:
    """x + other, which broadcasts to x's shape; in place if no gradient needs the old x."""
    return x + other.to(x.dtype) if x.requires_grad else x.add_(other)


def bounded(x: Tensor, bound: float) -> Tensor:
    """x clamped to [-bound, bound]; in place if no gradient needs the old x."""
    return x.clamp(-bound, bound) if x.requires_grad else x.clamp_(-bound, bound)
