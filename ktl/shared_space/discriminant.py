"""What pooled class statistics say about a point of the shared space: a linear discriminant that knows its own doubt.

The two-covariance model of Ioffe, "Probabilistic Linear Discriminant Analysis" (ECCV 2006): points of a class are
N(its mean, S), means are N(mu, e S). Here e is one number, so the posterior of a mean after k images is the observed
one, drawn towards mu by g = e / (e + 1/k): few images say little, many all that they can.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ktl.class_statistics import ClassStatistics

SHRINKAGE = 0.1


@torch.no_grad()
def discriminant(statistics: ClassStatistics, num_classes: int, shrinkage: float = SHRINKAGE) -> nn.Linear:
    """The linear map from points (n, D) to scores (n, num_classes), which are log-probabilities but for a constant.

    The points need not be unit vectors. shrinkage: of the mean variance, what is added to that of every direction.

    score_c(r) = g_c z^T z_c - g_c^2 |z_c|^2 / 2, where z are points and class means after mu was taken away and S made
    the identity. A class without an image has score 0, as the mean of all classes has.
    """
    sums, counts = statistics.sums.double(), statistics.counts.double()
    means = sums / counts[:, None]
    mu = means.mean(dim=0)
    whitening = whitening_of(statistics, shrinkage)
    centred = (means - mu) @ whitening
    spread = _spread(centred, counts)
    centres = (spread / (spread + 1 / counts))[:, None] * centred
    weight = centres @ whitening.T
    bias = -(centres * centres).sum(dim=1) / 2 - weight @ mu
    scores = nn.Linear(means.shape[1], num_classes)
    nn.init.zeros_(scores.weight)
    nn.init.zeros_(scores.bias)
    scores.weight[statistics.classes] = weight.float()
    scores.bias[statistics.classes] = bias.float()
    return scores


def whitening_of(statistics: ClassStatistics, shrinkage: float = SHRINKAGE) -> Tensor:
    """(D, D) float64, a product with which makes S the identity.

    S is the scatter within classes, helped out by that of all images where there are few of them.
    """
    sums, counts, moment = statistics.sums.double(), statistics.counts.double(), statistics.moment.double()
    dimension, images = len(moment), counts.sum()
    within = moment - sums.T @ (sums / counts[:, None])
    total = (moment - torch.outer(sums.sum(dim=0), sums.sum(dim=0)) / images) / (images - 1).clamp_min(1)
    scatter = (within + dimension * total) / (images - len(counts) + dimension)
    variances, directions = torch.linalg.eigh(scatter)
    variances = variances.clamp_min(0.0)  # sums that travelled are rounded
    whitening: Tensor = directions * (variances + shrinkage * variances.mean().clamp_min(1e-6)).rsqrt()
    return whitening


def _spread(centred: Tensor, counts: Tensor) -> Tensor:
    """e: the mean over directions of the classes' variance beyond what images within classes make of it, where S is 1.

    Directions in which there is none count as 0, not below, so few classes of few images still say something.
    """
    between = centred.T @ centred / max(1, len(counts) - 1)
    variances: Tensor = torch.linalg.eigvalsh(between) - (1 / counts).mean()
    return variances.clamp_min(0.0).mean()
