"""One generator for many jobs: what several threads want drawn at the same time is drawn in one batch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import torch
from torch import Tensor

from ktl.generators.base import ImageGenerator, members_of, sample_latents
from ktl.generators.cached import CachedGenerator
from ktl.seeds import stream

MAX_DRAWN_TOGETHER = 512  # images

Order = tuple[Tensor, "Future[Tensor]"]


class ServedGenerator(ImageGenerator, Protocol):
    """An `ImageGenerator` that any number of threads may ask at the same time."""

    def alive(self) -> bool:
        """Whether images can still be drawn."""

    def close(self) -> None:
        """Nobody asks any more."""


class BatchingGenerator:
    """An `ImageGenerator` that draws in a thread of its own.

    While a batch is drawn, orders gather; they make the next batch together, so nobody waits for a batch to fill. That
    is done only if this generator on this machine gives an image the same bits alone and in a batch: a session's pairs
    must not depend on who else is being served.
    """

    def __init__(self, generator: ImageGenerator) -> None:
        self.generator = generator
        self.name, self.family = generator.name, generator.family
        self.licence, self.fingerprint = generator.licence, generator.fingerprint
        self.noise_dim, self.latent_dim = generator.noise_dim, generator.latent_dim
        self.image_size, self.parameters = generator.image_size, generator.parameters
        self.members = members_of(generator)
        self.together = draws_alike_together(generator)
        self.batches = 0
        self._orders: queue.Queue[Order | None] = queue.Queue()  # as long as there are threads that wait
        self._thread = threading.Thread(target=self._draw_all, name="generator", daemon=True)
        self._thread.start()

    def latents(self, noise: Tensor) -> Tensor:
        """As the generator does."""
        return self.generator.latents(noise)

    def images(self, latents: Tensor) -> Tensor:
        """As the generator does, with what others want drawn at the same time."""
        order: Future[Tensor] = Future()
        self._orders.put((latents, order))
        return order.result()

    def alive(self) -> bool:
        """Whether orders are still drawn."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Ends the thread after the orders that wait."""
        self._orders.put(None)
        self._thread.join()

    def _draw_all(self) -> None:
        first = self._orders.get()
        while first is not None:
            batch, first = self._gather(first)
            self._draw(batch)
            first = first if first is not None else self._orders.get()

    def _gather(self, first: Order) -> tuple[list[Order], Order | None]:
        """What waits with `first` and fits into its batch, and the order that no longer fitted."""
        batch, count = [first], len(first[0])
        while self.together:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                break
            if order is None:
                self._orders.put(None)
                break
            if count + len(order[0]) > MAX_DRAWN_TOGETHER:
                return batch, order
            batch.append(order)
            count += len(order[0])
        return batch, None

    def _draw(self, batch: list[Order]) -> None:
        self.batches += 1
        try:
            parts = drawn_together(self.generator, [latents for latents, _ in batch])
        except Exception as error:  # it is raised where the images are waited for
            for _, order in batch:
                order.set_exception(error)
            return
        for (_, order), part in zip(batch, parts, strict=True):
            order.set_result(part)


@torch.no_grad()
def drawn_together(generator: ImageGenerator, orders: Sequence[Tensor]) -> list[Tensor]:
    """The images of each order's latents (n, latent_dim), uint8 (n, 3, size, size), drawn in one batch."""
    images = generator.images(torch.cat([*orders]))
    return [part.clone() for part in images.split([len(latents) for latents in orders])]


@torch.no_grad()
def draws_alike_together(generator: ImageGenerator) -> bool:
    """Whether images have the same bits drawn alone, in a batch, and in a larger batch.

    A slow generator, whose images are cached, is not tried, which would take minutes: one session fills its batches.
    """
    if isinstance(generator, CachedGenerator):
        return False
    latents = sample_latents(generator, 37, stream(0, "batching"))
    together = generator.images(latents)
    parts = torch.cat([generator.images(part) for part in latents.split([1, 4, 32])])
    return torch.equal(together, parts)
