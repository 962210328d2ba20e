"""Maximum mean discrepancy between two samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BANDWIDTHS = (10.0, 15.0, 20.0, 50.0)


def mmd(x: Tensor, y: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> Tensor:
    """Biased estimate of MMD^2 between x (n, d) and y (m, d), summed over RBF kernels exp(-|a - b|^2 / (2 bandwidth)).

    Gretton et al., "A Kernel Two-Sample Test" (JMLR 2012), eq. 5; bandwidths of FedKTL's released code. Scalar >= 0.
    """
    return _kernel_mean(x, x, bandwidths) + _kernel_mean(y, y, bandwidths) - 2.0 * _kernel_mean(x, y, bandwidths)


def _kernel_mean(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    # by dot products, not torch.cdist: the gradient of a distance is undefined where two points coincide
    squared = x.square().sum(1)[:, None] + y.square().sum(1)[None, :] - 2.0 * x @ y.T
    squared = squared.clamp_min(0.0)
    return torch.stack([torch.exp(-squared / (2.0 * a)).mean() for a in bandwidths]).sum()
