"""The cloud's side of the knowledge-transfer loop: prototypes in, image-vector pairs out, no input or output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ktl.alignment import ALIGNMENTS
from ktl.alignment.base import Alignment
from ktl.data.transforms import fit_batch
from ktl.generators.base import ImageGenerator
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import Prototypes
from ktl.wire import SessionReply, SessionRequest


class KnowledgeCloud:
    """One session: a generator, an alignment strategy with its state, and what the edges asked for."""

    def __init__(self, generator: ImageGenerator, request: SessionRequest) -> None:
        self.generator = generator
        self.request = request
        strategy = ALIGNMENTS.load(request.alignment)
        # prototypes live in the ETF's space, which has as many dimensions as there are classes
        self.alignment: Alignment = strategy(request.num_classes, request.num_classes, request.seed)

    def reply(self) -> SessionReply:
        """What the edges need to know of this session."""
        generator = self.generator
        return SessionReply(
            etf_seed=self.request.seed,
            latent_dim=generator.latent_dim,
            generator=generator.name,
            licence=generator.licence,
            fingerprint=generator.fingerprint,
        )

    def pairs(self, prototypes: Sequence[Prototypes]) -> ImageVectorPairs:
        """One round: aligns the prototypes of the edges that took part, and draws `pairs_per_class` images a class."""
        return self._draw(*self._align(prototypes))

    def skip(self, prototypes: Sequence[Prototypes]) -> None:
        """Takes a round that was answered earlier into the alignment's state, without drawing its images again."""
        self._align(prototypes)

    def _align(self, prototypes: Sequence[Prototypes]) -> tuple[Tensor, Tensor]:
        aligned = self.alignment.align(prototypes, self.generator, self.request.pairs_per_class)
        return aligned.latents.flatten(0, 1), aligned.classes.repeat_interleave(self.request.pairs_per_class)

    @torch.no_grad()
    def _draw(self, latents: Tensor, classes: Tensor) -> ImageVectorPairs:
        # float16 on the wire: the images must be those of the vectors that arrive
        vectors = latents.to(torch.float16).float()
        images = fit_batch(self.generator.images(vectors), self.request.image_size, self.request.channels)
        return ImageVectorPairs(images, vectors, classes)
