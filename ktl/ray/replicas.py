"""What draws: each replica holds the generator and, where vectors are made of images, the space."""

from __future__ import annotations

import asyncio
from typing import Any, get_type_hints

import torch
from ray import serve
from torch import Tensor

from ktl.cloud.knowledge import DRAWN_AT_ONCE
from ktl.cloud.service.batching import MAX_DRAWN_TOGETHER, drawn_together, draws_alike_together
from ktl.cloud.service.chosen import chosen_generator, chosen_space
from ktl.cloud.service.logs import log_to_stderr
from ktl.cloud.service.settings import Settings
from ktl.generators.base import ImageGenerator, members_of

ORDERS = MAX_DRAWN_TOGETHER // DRAWN_AT_ONCE  # of a batch
OF_SPACE = ("name", "dimension", "metric", "fingerprint")


class GeneratorReplica:
    """Answers any server's threads. Orders that come while a batch is drawn make the next one."""

    def __init__(self, settings: Settings) -> None:
        """Raises what loading the generator and its space raises."""
        log_to_stderr(settings.log_level)
        torch.set_num_threads(settings.threads)
        self.generator = chosen_generator(settings)
        self.space = chosen_space(settings, self.generator)
        self._idle = asyncio.Event()  # nothing is being drawn
        self._idle.set()
        if not draws_alike_together(self.generator):
            self._drawn.set_max_batch_size(1)  # type: ignore[attr-defined]

    async def about(self) -> dict[str, Any]:
        """The generator's attributes by name, and `space`: those of a space that reads images, else None."""
        told = {name: getattr(self.generator, name) for name in get_type_hints(ImageGenerator)}
        reads_images = self.space.of_latents(torch.zeros(1, self.generator.latent_dim)) is None
        space = {name: getattr(self.space, name) for name in OF_SPACE} if reads_images else None
        return told | {"members": members_of(self.generator), "space": space}

    async def images(self, latents: Tensor) -> Tensor:
        """latents (n, latent_dim) -> uint8 (n, 3, image_size, image_size), with the bits of drawing them alone."""
        await self._idle.wait()  # Serve closes batches by the clock: this lets what comes meanwhile make one
        images: Tensor = await self._drawn(latents)
        return images

    @serve.batch(max_batch_size=ORDERS, batch_wait_timeout_s=0)
    async def _drawn(self, orders: list[Tensor]) -> list[Tensor]:
        self._idle.clear()
        try:
            return await asyncio.to_thread(drawn_together, self.generator, orders)
        finally:
            self._idle.set()

    async def latents(self, noise: Tensor) -> Tensor:
        """As the generator does."""
        return await asyncio.to_thread(_without_gradient, self.generator.latents, noise)

    async def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        """As the space does."""
        return await asyncio.to_thread(_without_gradient, self.space.vectors, latents, images)


@torch.no_grad()
def _without_gradient(function: Any, *tensors: Tensor) -> Any:
    return function(*tensors)
