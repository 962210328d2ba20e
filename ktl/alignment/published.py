"""The paper's alignment, kept exactly for comparison: a feature transformer trained anew on each round's prototypes.

FedKTL (CVPR 2024), section 3.3, with the released code's hyper-parameters. With few classes its latents leave the
generator's distribution within a few rounds; docs/explanation/alignment.md has the measurement. Use `robust` for work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from ktl import settings
from ktl.alignment.base import AlignedLatents, Alignment
from ktl.alignment.mmd import mmd
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.prototypes import Prototypes
from ktl.seeds import initialising, stream

# lambda and learning rate by the generator's family; for those that were not published, StyleGAN-XL's
STYLEGAN_XL_WEIGHTS = (1.0, 0.01)
FAMILY_WEIGHTS = {"StyleGAN3": (0.1, 0.01), "diffusion": (0.01, 0.1)}


class FeatureTransformer(nn.Sequential):
    """F: prototypes (n, K) -> latents (n, H); Linear, BatchNorm, ReLU, Linear."""

    def __init__(self, prototype_dim: int, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(prototype_dim, prototype_dim),
            nn.BatchNorm1d(prototype_dim),
            nn.ReLU(),
            nn.Linear(prototype_dim, latent_dim),
        )


class PublishedAlignment(Alignment):
    """L = MMD(F(P), w) + lambda MSE(F(P), centroid[class]); F and the centroids live on through the rounds."""

    @dataclass(frozen=True)
    class Settings(settings.Settings):
        """How F is trained in each round; the defaults are the released code's."""

        epochs: Annotated[int, Meta(ge=1, le=1000, description="Passes over a round's prototypes.")] = 100
        batch: Annotated[int, Meta(ge=2, le=1000, description="Prototypes per step.")] = 100
        gradient_norm: Annotated[float, Meta(gt=0, le=1e6, description="Gradients are clipped to it.")] = 100.0
        clustering_weight: (
            Annotated[float, Meta(ge=0, le=1000, description="lambda; if none, by the generator's family.")] | None
        ) = None
        learning_rate: (
            Annotated[float, Meta(gt=0, le=10, description="Adam's; if none, by the generator's family.")] | None
        ) = None

    round = 0
    _transformer: FeatureTransformer | None = None

    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        """The class means of F(P) after training, and for per_class > 1 fresh latents' offsets around them."""
        rng = stream(self.seed, "published alignment", self.round)
        vectors = torch.cat([edge.vectors for edge in prototypes])
        labels = torch.cat([edge.classes for edge in prototypes])
        transformer = self._live_transformer(generator.latent_dim)
        self._train(transformer, vectors, labels, generator, rng)
        classes = labels.unique()
        centroids = _class_means(transformer, vectors, labels, self.num_classes)[classes]
        self.round += 1
        return AlignedLatents(classes, centroids, _around(centroids, per_class, generator, rng))

    def _live_transformer(self, latent_dim: int) -> FeatureTransformer:
        if self._transformer is None:
            with initialising(self.seed, "feature transformer"):
                self._transformer = FeatureTransformer(self.prototype_dim, latent_dim)
        return self._transformer

    def _weights(self, family: str) -> tuple[float, float]:
        """lambda and the learning rate for a generator of this family."""
        given = self.settings.clustering_weight, self.settings.learning_rate
        by_family = FAMILY_WEIGHTS.get(family, STYLEGAN_XL_WEIGHTS)
        weight, rate = (default if value is None else value for value, default in zip(given, by_family, strict=True))
        return weight, rate

    def _train(
        self,
        transformer: FeatureTransformer,
        vectors: Tensor,
        labels: Tensor,
        generator: ImageGenerator,
        rng: torch.Generator,
    ) -> None:
        centroids = nn.Parameter(_class_means(transformer, vectors, labels, self.num_classes))
        parameters = [*transformer.parameters(), centroids]
        clustering_weight, learning_rate = self._weights(generator.family)
        optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        transformer.train()
        for _ in range(self.settings.epochs):
            for index in torch.randperm(len(labels), generator=rng).split(self.settings.batch):
                self.check_wanted()
                if len(index) == 1:
                    continue  # batch normalisation is undefined on one prototype
                aligned = transformer(vectors[index])
                valid = sample_latents(generator, len(index), rng)
                loss = mmd(aligned, valid) + clustering_weight * F.mse_loss(aligned, centroids[labels[index]])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, self.settings.gradient_norm)
                optimizer.step()


@torch.no_grad()
def _class_means(transformer: FeatureTransformer, vectors: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Means (num_classes, H) of F(P) by class, in eval mode; zero for a class without a prototype."""
    aligned = transformer.eval()(vectors)
    sums = torch.zeros(num_classes, aligned.shape[1]).index_add_(0, labels, aligned)
    return sums / labels.bincount(minlength=num_classes).clamp_min(1)[:, None]


def _around(centroids: Tensor, per_class: int, generator: ImageGenerator, rng: torch.Generator) -> Tensor:
    """(m, per_class, H): each centroid, then the centroid plus half of a fresh latent's offset from the mean latent."""
    m, latent_dim = centroids.shape
    fresh = sample_latents(generator, m * max(per_class - 1, 1), rng)
    fresh.sub_(fresh.mean(dim=0)).mul_(0.5)  # in place: there may be many
    latents = torch.empty(m, per_class, latent_dim)
    latents[:, 0] = centroids
    torch.add(centroids[:, None], fresh.reshape(m, -1, latent_dim)[:, : per_class - 1], out=latents[:, 1:])
    return latents
