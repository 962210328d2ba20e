"""Latents around what edges have said of each class in the space of the pairs' vectors.

An edge's class statistics are sums over its own images of the vector that it would expect with each: their mean is
where the class lies in the generator's terms. Nothing is pushed there: of fresh latents those are kept whose vectors
point most nearly that way, so each one is as valid as any fresh latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ktl import settings
from ktl.alignment.base import AlignedLatents, Alignment
from ktl.class_statistics import ClassStatistics
from ktl.generators.base import ImageGenerator, members_of, sample_latents, sampled_parts
from ktl.prototypes import Prototypes, class_sums
from ktl.seeds import stream
from ktl.spaces.base import SharedSpace

REFERENCE = 2048  # fresh latents by which vectors are centred and scaled, as edges do by those of their pairs


class PooledAlignment(Alignment):
    """Fresh latents for a class of which nothing is known yet, as for all of them in a session's first round."""

    @dataclass(frozen=True)
    class Settings(settings.Settings):
        """How near to a class's mean its latents are."""

        candidates: Annotated[int, Meta(ge=1, le=256, description="Fresh latents of which the nearest is kept.")] = 8

    reads_prototypes: ClassVar[bool] = False
    copies_of_prototypes = 1
    round = 0
    _known: tuple[ClassStatistics, SharedSpace] | None = None

    def learn(self, statistics: ClassStatistics, space: SharedSpace) -> None:
        """They count from the next round on."""
        self._known = statistics, space

    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        """For each class that an edge has, the fresh latents nearest to its pooled mean, nearest first.

        Of a pool they are the nearest of all, so that two classes may share an image.
        """
        _, counts = class_sums(prototypes, self.num_classes)
        classes = counts.nonzero().squeeze(1)
        nearness, members = self._nearness(generator), members_of(generator)
        latents = torch.empty(len(classes), per_class, generator.latent_dim)
        for row, label in enumerate(classes.tolist()):
            self.check_wanted()
            rng = stream(self.seed, "pooled alignment", self.round, label)
            near = nearness.get(label)
            if near is None:
                latents[row] = sample_latents(generator, per_class, rng)
            elif members is not None:  # of a pool, all images are candidates
                latents[row] = _nearest([members], near, per_class)
            else:
                candidates = sampled_parts(generator, per_class * self.settings.candidates, rng)
                latents[row] = _nearest(candidates, near, per_class)
        self.round += 1
        return AlignedLatents(classes, latents[:, 0], latents)

    def _nearness(self, generator: ImageGenerator) -> dict[int, Callable[[Tensor], Tensor]]:
        """By class of which something is known: latents (n, H) -> cosine (n,) of their vectors to the pooled mean.

        None where a vector is known only once its image is drawn.
        """
        if self._known is None:
            return {}
        statistics, space = self._known
        reference = space.of_latents(sample_latents(generator, REFERENCE, stream(self.seed, "reference latents")))
        if reference is None:
            return {}
        centre, deviation = reference.mean(dim=0), reference.std(dim=0).clamp_min(1e-6)
        if space.metric:  # edges take its directions as they are
            deviation = torch.ones_like(deviation)

        def towards(direction: Tensor) -> Callable[[Tensor], Tensor]:
            def near(latents: Tensor) -> Tensor:
                vectors = space.of_latents(latents)
                assert vectors is not None  # as those of the reference
                return F.normalize((vectors - centre) / deviation, dim=1) @ direction

            return near

        means = zip(statistics.classes.tolist(), statistics.means, strict=True)
        return {label: towards(mean) for label, mean in means}


def _nearest(candidates: Iterable[Tensor], near: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Of all candidates (n, H), which come in parts, the `count` nearest ones, nearest first."""
    kept: list[Tensor] = []
    nearness: list[Tensor] = []
    for part in candidates:
        latents, cosines = torch.cat([*kept, part]), torch.cat([*nearness, near(part)])
        best = cosines.topk(min(count, len(cosines)))
        kept, nearness = [latents[best.indices]], [best.values]
    return kept[0]
