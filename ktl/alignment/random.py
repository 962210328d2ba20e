"""No alignment at all: the measure of what prototypes add."""

from __future__ import annotations

from collections.abc import Sequence

from ktl.alignment.base import AlignedLatents, Alignment
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.prototypes import Prototypes, class_sums
from ktl.seeds import stream


class RandomLatents(Alignment):
    """Fresh latents from the generator's whole distribution; prototypes only say which classes to draw for."""

    copies_of_prototypes = 1
    round = 0

    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        """`per_class` fresh latents for each class that has a prototype; others in each round."""
        _, counts = class_sums(prototypes, self.num_classes)
        classes = counts.nonzero().squeeze(1)
        rng = stream(self.seed, "random latents", self.round)
        latents = sample_latents(generator, len(classes) * per_class, rng).unflatten(0, (len(classes), per_class))
        self.round += 1
        return AlignedLatents(classes, latents[:, 0], latents)
