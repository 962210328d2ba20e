"""How similar generated images are to real ones, in the features of a fixed random network or in an encoder's.

By default nothing pre-trained is needed. Random convolutions see texture, colour and coarse layout, less so objects:
look at the pictures too. Figures are comparable between generators measured by ktl in the same features, not with
published FIDs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.errors import DataError
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.seeds import initialising, stream

MAX_IMAGES = 2_000
MIN_IMAGES = 64
NEIGHBOURS = 3


@dataclass(frozen=True)
class Quality:
    """Figures of generated images against real ones.

    distance: Frechet's, 0 is best. precision: the share of generated images that are near real ones. recall: the share
    of real images that are near generated ones. diversity: the mean pixel distance of two generated images, divided by
    that of two real ones.
    """

    distance: float
    precision: float
    recall: float
    diversity: float


@torch.no_grad()
def random_features(images: Tensor) -> Tensor:
    """uint8 (n, 3, s, s) -> (n, 192): means and deviations over the image of three random convolutions' responses."""
    with initialising(0, "random features"):
        layers = [nn.Conv2d(i, o, 3, stride, padding=1) for i, o, stride in ((3, 16, 1), (16, 32, 2), (32, 48, 2))]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
    parts = []
    for batch in images.split(200):
        x, pooled = batch.float() / 127.5 - 1.0, []
        for layer in layers:
            x = F.relu(layer(x))
            pooled += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
        parts.append(torch.cat(pooled, dim=1))
    return torch.cat(parts)


@torch.no_grad()
def measure_quality(
    generator: ImageGenerator,
    images: Tensor,
    seed: int = 0,
    features: Callable[[Tensor], Tensor] = random_features,
) -> Quality:
    """Compares up to 2,000 of `images`, uint8 (n, 3, s, s) at the generator's size, with as many generated ones.

    features: what takes such images to vectors (n, d), as an encoder's `embed`. Raises DataError for fewer than 64
    images or another size.
    """
    real = images[:MAX_IMAGES]
    if len(real) < MIN_IMAGES:
        raise DataError(f"{len(real)} images to compare with: at least {MIN_IMAGES} are needed")
    if real.shape[2] != generator.image_size:
        raise DataError(f"images of {real.shape[2]} pixels for a generator of {generator.image_size}: scale them first")
    generated = generator.images(sample_latents(generator, len(real), stream(seed, "quality")))
    a, b = features(real), features(generated)
    return Quality(
        distance=frechet_distance(a, b),
        precision=covered(b, by=a),
        recall=covered(a, by=b),
        diversity=_pixel_spread(generated) / _pixel_spread(real),
    )


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features (n, d): Heusel et al., NeurIPS 2017."""
    a, b = a.double(), b.double()
    s_a, s_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(s_a)
    root = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ s_b @ root).clamp_min(0.0).sqrt().sum()
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return float(shift + s_a.trace() + s_b.trace() - 2.0 * cross)


def covered(points: Tensor, *, by: Tensor) -> float:
    """The share of `points` nearer to some point of `by` than that one's third neighbour in `by`.

    Recall of real points by generated ones and precision the other way: Kynkaanniemi et al., NeurIPS 2019.
    """
    radius = torch.cdist(by, by).kthvalue(NEIGHBOURS + 1, dim=1).values  # the first neighbour is the point itself
    return float((torch.cdist(points, by) <= radius).any(dim=1).float().mean())


def _pixel_spread(images: Tensor) -> float:
    flat = images.flatten(1).float()
    half = len(flat) // 2
    return float((flat[:half] - flat[half : 2 * half]).norm(dim=1).mean())
