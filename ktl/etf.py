"""What every edge shares without sending it: a simplex equiangular tight frame, and the loss that pulls towards it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.errors import UsageError


def simplex_etf(classes: int, dimension: int, rng: torch.Generator) -> Tensor:
    """A simplex ETF (dimension, classes), float32: unit columns, every two at cosine -1 / (classes - 1).

    V = sqrt(C / (C - 1)) U (I - 11^T / C) with U a random orthonormal (dimension, classes) matrix: FedKTL eq. 3 (CVPR
    2024). The same `rng` state gives the same frame. Raises UsageError unless dimension >= classes >= 2.
    """
    if not 2 <= classes <= dimension:
        raise UsageError(f"an ETF of {classes} classes in {dimension} dimensions: needs 2 <= classes <= dimensions")
    gaussian = torch.randn(dimension, classes, dtype=torch.float64, generator=rng)
    orthonormal, triangle = torch.linalg.qr(gaussian)
    orthonormal = orthonormal * triangle.diagonal().sign()  # QR is unique only up to these signs
    centred = orthonormal - orthonormal.mean(dim=1, keepdim=True)
    return F.normalize(math.sqrt(classes / (classes - 1)) * centred, dim=0).float()


def arcface_loss(
    cosines: Tensor, labels: Tensor, *, margin: float = 0.5, scale: float = 64.0, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of `arcface_logits` of cosines (n, C); labels (n,) int64."""
    return F.cross_entropy(arcface_logits(cosines, labels, margin, scale), labels, label_smoothing=smoothing)


def arcface_logits(cosines: Tensor, labels: Tensor, margin: float, scale: float) -> Tensor:
    """Scaled cosines (n, C) after an angular margin (radians) on the true class; labels (n,) int64.

    Deng et al., "ArcFace" (CVPR 2019), eq. 3. Where angle + margin passes pi, the cosine is lowered linearly
    instead, so that the loss keeps falling with the angle. margin = 0 is the softmax loss of a cosine classifier.
    """
    true = cosines.gather(1, labels[:, None]).clamp(-1.0 + 1e-6, 1.0 - 1e-6)
    turned = torch.cos(torch.acos(true) + margin)
    past_pi = true <= math.cos(math.pi - margin)
    turned = torch.where(past_pi, true - margin * math.sin(margin), turned)
    return scale * cosines.scatter(1, labels[:, None], turned)
