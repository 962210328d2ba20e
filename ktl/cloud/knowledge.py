"""The cloud's side of the knowledge-transfer loop: prototypes in, image-vector pairs out, no input or output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ktl.alignment import ALIGNMENTS
from ktl.alignment.base import AlignedLatents, Alignment
from ktl.class_statistics import ClassStatistics, pooled
from ktl.data.transforms import fit_batch
from ktl.errors import UsageError
from ktl.generators.base import ImageGenerator, stock_of
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import Prototypes
from ktl.settings import from_table
from ktl.spaces import space_of
from ktl.spaces.base import SharedSpace
from ktl.warm_start.settings import Architecture
from ktl.warm_start.warm_starts import Offer, WarmStarts
from ktl.wire import WARM_START_FORMAT, SessionReply, SessionRequest, most_pairs

DRAWN_AT_ONCE = 128  # images
LARGE, LARGE_AT_ONCE = 256, 32  # pixels; images that are larger
FITTED_AT_ONCE = 16  # images: as floating-point numbers they take much memory


class KnowledgeCloud:
    """One session: a generator, an alignment strategy with its state, and what the edges asked for.

    `space`: what its pairs' vectors are; if none, by the size of the generator's latents. `warm_starts`: what it offers
    beside pairs, if anything. The alignment must be an installed one, and its settings within their bounds: raises
    UsageError. A request of this very program (`trusted`) may name a `module:Class`, which is imported; one that came
    over a network never may.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        request: SessionRequest,
        space: SharedSpace | None = None,
        warm_starts: WarmStarts | None = None,
        *,
        trusted: bool = False,
    ) -> None:
        self.generator = generator
        self.request = request
        self.space = space or space_of(generator)
        self.offers = _offers(request, warm_starts)
        name = request.alignment if trusted else ALIGNMENTS.check_installed(request.alignment)
        strategy = ALIGNMENTS.load(name)
        settings = from_table(ALIGNMENTS.settings_of(name), request.alignment_settings)
        # prototypes live in the ETF's space, which has as many dimensions as there are classes
        self.alignment: Alignment = strategy(request.num_classes, request.num_classes, request.seed, settings)

    def reply(self) -> SessionReply:
        """What the edges need to know of this session."""
        generator = self.generator
        return SessionReply(
            etf_seed=self.request.seed,
            latent_dim=self.space.dimension,
            generator=generator.name,
            licence=generator.licence,
            fingerprint=generator.fingerprint,
            space=self.space.name,
            space_fingerprint=self.space.fingerprint,
            metric=self.space.metric,
            warm_starts={model: offer.fingerprint for model, offer in self.offers.items()},
            warm_start_bytes={model: offer.size for model, offer in self.offers.items()},
            warm_start_format=WARM_START_FORMAT if self.offers else "",
        )

    def pairs(self, prototypes: Sequence[Prototypes]) -> Iterator[ImageVectorPairs]:
        """One round: aligns the prototypes of the edges that took part, and draws at most `pairs_per_class` per class.

        Drawn batch by batch as they are asked for, first each class's aligned centroid, then each one's second latent
        and so on: wherever a download's budget cuts them off, the classes have shares that differ by one pair at most.
        """
        aligned, count = self._align(prototypes)
        m = len(aligned.classes)
        batches = torch.arange(count).split(self.drawn_at_once)
        return (self._draw(aligned.latents[i % m, i // m], aligned.classes[i % m]) for i in batches)

    @property
    def drawn_at_once(self) -> int:
        """Images of a batch."""
        size = max(self.generator.image_size, self.request.image_size)
        return DRAWN_AT_ONCE if size <= LARGE else LARGE_AT_ONCE

    def learn(self, statistics: Sequence[ClassStatistics]) -> None:
        """Takes in the class statistics of all edges so far, in parts; the next rounds' pairs may be drawn by them."""
        self.alignment.learn(pooled(statistics), self.space)

    def skip(self, prototypes: Sequence[Prototypes]) -> None:
        """Takes a round that was answered earlier into the alignment's state, without drawing its images again."""
        self._align(prototypes)

    def _align(self, prototypes: Sequence[Prototypes]) -> tuple[AlignedLatents, int]:
        """The latents of each class, and how many of them are wanted in all."""
        if self.alignment.reads_prototypes and any(edge.vectors.shape[1] == 0 for edge in prototypes):
            raise UsageError(f"alignment {self.request.alignment!r} reads prototypes, and none were sent: send them")
        classes_present = len(torch.cat([edge.classes for edge in prototypes]).unique())
        fitting = most_pairs(self.request, self.space.dimension)  # by vectors alone
        per_class = min(self._most_per_class(classes_present), math.ceil(fitting / classes_present))
        aligned = self.alignment.align(prototypes, self.generator, per_class)
        return aligned, min(fitting, classes_present * per_class)  # more would be drawn, perhaps slowly, and not sent

    def _most_per_class(self, classes: int) -> int:
        """Pairs of each of `classes` classes: as many as were asked for, if there are so many different images."""
        asked, stock = self.request.pairs_per_class, stock_of(self.generator)
        if stock is None:
            return asked
        if stock < classes:
            raise UsageError(
                f"the pool {self.generator.name} holds {stock} images, too few for {classes} classes: add some"
            )
        return min(asked, stock // classes)

    @torch.no_grad()
    def _draw(self, latents: Tensor, classes: Tensor) -> ImageVectorPairs:
        # a kept image and a pool's are found by the latent in float16, which is all but what arrives at an edge
        latents = latents.to(torch.float16).float()
        drawn = self.generator.images(latents)
        size, channels = self.request.image_size, self.request.channels
        images = torch.cat([fit_batch(part, size, channels) for part in drawn.split(FITTED_AT_ONCE)])
        return ImageVectorPairs(images, self.space.vectors(latents, drawn), classes)


def architecture(request: SessionRequest, model: str) -> Architecture:
    """Of a warm start that a session asks for."""
    return Architecture(model, request.channels, request.image_size)


def _offers(request: SessionRequest, warm_starts: WarmStarts | None) -> dict[str, Offer]:
    """Of the warm starts that a session asks for, by model. Raises UsageError for one that is not offered."""
    if request.warm_starts and warm_starts is None:
        raise UsageError("this cloud makes no warm starts: give --warm-start edge")
    return {model: warm_starts.offer(architecture(request, model)) for model in request.warm_starts if warm_starts}
