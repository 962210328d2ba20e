"""Low-pass filters and the nonlinearity between them, as alias-free generators need.

Written from Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021, arXiv 2106.12423), appendix C:
Kaiser-windowed filters after Kaiser (1974), the radial one with a jinc for the sinc.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def kaiser_beta(taps: int, width: float, sampling_rate: float) -> float:
    """Shape of the Kaiser window whose filter of `taps` coefficients has a transition band of `width`."""
    attenuation = 2.285 * (taps - 1) * math.pi * width / (sampling_rate / 2) + 7.95  # decibels
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        excess = attenuation - 21
        return float(0.5842 * excess**0.4 + 0.07886 * excess)
    return 0.0


def lowpass_filter(taps: int, cutoff: float, width: float, sampling_rate: float, *, radial: bool = False) -> Tensor:
    """A low-pass filter of unit gain: (taps,), applied along each axis, or the radially symmetric (taps, taps).

    `cutoff`, the transition band's full `width` and `sampling_rate` are in the same unit of frequency.
    """
    window = np.kaiser(taps, kaiser_beta(taps, width, sampling_rate))
    x = (np.arange(taps) - (taps - 1) / 2) / sampling_rate
    if radial:
        r = np.maximum(np.hypot(*np.meshgrid(x, x)), 1e-12)  # the jinc's formula divides by r
        bessel = torch.special.bessel_j1(torch.from_numpy(2 * math.pi * cutoff * r)).numpy()
        kernel = bessel / (math.pi * r) * np.outer(window, window)
    else:
        kernel = np.sinc(2 * cutoff * x) * window
    return torch.from_numpy(kernel / kernel.sum()).float()


def upsample(x: Tensor, kernel: Tensor | None, factor: int, padding: tuple[int, int], gain: float = 1.0) -> Tensor:
    """x (n, c, h, w) low-passed by `kernel` (taps,)  ->  (n, c, h', w'), h' = factor * h + sum(padding) - taps + 1.

    `padding` zeros go before and after each axis of the grid that has factor - 1 zeros behind each pixel; negative
    ones crop. Without a kernel nothing is filtered. `gain` multiplies the result.
    """
    before, after = padding
    if kernel is None:
        return F.pad(x, [before, after, before, after]) * gain
    channels, taps = x.shape[1], len(kernel)
    # a transposed convolution is the full one: taps - 1 more on each side, and no zeros behind the last pixel
    before, after = before - (taps - 1), after + (factor - 1) - (taps - 1)
    crop = max(0, min(-before, -after))  # what the convolution can crop by itself
    column = (kernel * (factor * math.sqrt(gain))).to(x.dtype).expand(channels, 1, taps)[..., None]
    x = F.conv_transpose2d(x, column, stride=(factor, 1), padding=(crop, 0), groups=channels)
    x = F.conv_transpose2d(x, column.transpose(2, 3), stride=(1, factor), padding=(0, crop), groups=channels)
    before, after = before + crop, after + crop
    return F.pad(x, [before, after, before, after]) if before or after else x


def downsample(x: Tensor, kernel: Tensor | None, factor: int) -> Tensor:
    """Every `factor`-th pixel of x (n, c, h, w) low-passed by `kernel` (taps,) or (taps, taps) without padding."""
    if kernel is None:
        return x[..., ::factor, ::factor]
    channels = x.shape[1]
    if kernel.ndim == 2:
        weight = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
        return F.conv2d(x, weight, stride=factor, groups=channels)
    column = kernel.to(x.dtype).expand(channels, 1, len(kernel))[..., None]
    x = F.conv2d(x, column, stride=(factor, 1), groups=channels)
    return F.conv2d(x, column.transpose(2, 3), stride=(1, factor), groups=channels)
