"""What an edge's training steps draw: shots and pairs, as the network takes them, by named random streams."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from ktl.data.fewshot import FewShotTask
from ktl.data.mirroring import mirroring_misleads
from ktl.data.transforms import View, shifted_view, strong_view, to_network, weak_view
from ktl.learning.settings import EdgeConfig
from ktl.pairs import ImageVectorPairs
from ktl.seeds import stream


class Batches:
    """Draws of one edge's images; which ones a step gets depends on the seed, the round and the step alone."""

    def __init__(self, task: FewShotTask, config: EdgeConfig, device: torch.device) -> None:
        self.task = task
        self.config = config
        self.device = device

    @cached_property
    def _shots_view(self) -> View:
        """Found out at the first step: who only evaluates a model trains no shots."""
        misleads = self.config.training.augment and mirroring_misleads(self.task.shot_images, self.task.shot_labels)
        return shifted_view if misleads else weak_view

    def shots(self, round_index: int, step: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A weak view of a step's shots, float32 (n, c, size, size), and their labels (n,)."""
        index = self._shot_index(round_index, step)
        images = self._network_input(self.task.shot_images[index], self._shots_view, rng)
        return images, self.task.shot_labels[index].to(self.device)

    def pairs(
        self, pairs: ImageVectorPairs, count: int, views: int, rng: torch.Generator
    ) -> tuple[list[Tensor], Tensor]:
        """`views` strong views of `count` random pairs' images, and their vectors (count, H)."""
        index = torch.randperm(len(pairs), generator=rng)[:count]
        images = [self._network_input(pairs.images[index], strong_view, rng) for _ in range(views)]
        return images, pairs.vectors[index].to(self.device)

    def _shot_index(self, round_index: int, step: int) -> Tensor:
        """Each epoch passes once over all shots, in batches of almost equal size."""
        shots = len(self.task.shot_labels)
        batches = math.ceil(shots / self.config.training.batch)
        epoch = stream(self.config.seed, "round", round_index, "epoch", step // batches)
        size = math.ceil(shots / batches)
        return torch.randperm(shots, generator=epoch)[step % batches * size :][:size]

    def _network_input(self, images: Tensor, view: View, rng: torch.Generator) -> Tensor:
        images = view(images, rng) if self.config.training.augment else to_network(images)
        return images.to(self.device, memory_format=torch.channels_last)
