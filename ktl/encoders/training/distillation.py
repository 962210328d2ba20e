"""Distils a large encoder into a small network on unlabelled images; it can be stopped and resumed at any time.

InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) over the batch, both directions, between the small network's unit
vectors and fixed targets: the principal directions of what the large encoder makes of the whole images. The small one
sees random views: zooms, flips and changes of light. AdamW at a learning rate that falls to zero at the end, and an
exponential moving average of the weights, of use at any time; bfloat16 and channels-last.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.cooldown import cooled
from ktl.data.transforms import strong_view
from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.objectives.image_vector import info_nce
from ktl.seeds import stream

Row = dict[str, float]


class Distillation:
    """network: float32 (n, C, size, size) in [-1, 1] -> (n, dimension); images: uint8 (n, C, size, size); targets:
    (n, dimension), of any scale, their mean at zero.

    The weights after k steps are a function of (network, images, targets, config, k), to the bit on one processor.
    """

    def __init__(self, network: nn.Module, images: Tensor, targets: Tensor, config: EncoderTrainingConfig) -> None:
        self.config = config
        self.images = images
        self.targets = F.normalize(targets, dim=1)
        self.network = network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0

    @property
    def images_seen(self) -> int:
        """Views shown so far."""
        return self.step * self.config.batch

    def train(self, on_row: Callable[[Row], None], should_stop: Callable[[], bool] = lambda: False) -> None:
        """Trains until `config.images` have been shown or `should_stop()`; `on_row` gets a row of figures every
        `config.log_every` steps: images, loss, images_per_second.
        """
        started, first = time.monotonic(), self.images_seen
        self.network.train()
        while self.images_seen < self.config.images and not should_stop():
            loss = self._train_step()
            if self.step % self.config.log_every == 0:
                speed = (self.images_seen - first) / (time.monotonic() - started)
                on_row({"images": self.images_seen, "loss": loss, "images_per_second": round(speed, 1)})

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from, by name."""
        return (
            prefixed("network", self.network.state_dict())
            | prefixed("average", self.average.state_dict())
            | prefixed("optimizer", optimizer_tensors(self.optimizer))
            | {"step": torch.tensor(self.step)}
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned, to the same bits."""
        self.network.load_state_dict(under("network", state))
        self.average.load_state_dict(under("average", state))
        restore_optimizer(self.optimizer, under("optimizer", state))
        self.step = int(state["step"])

    def _train_step(self) -> float:
        rng = stream(self.config.seed, "step", self.step)
        index = torch.randint(len(self.images), (self.config.batch,), generator=rng)
        views = strong_view(self.images[index], rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = self.network(views)
        loss = info_nce(embeddings.float(), self.targets[index], self.config.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        shown = self.images_seen / self.config.images
        self.optimizer.param_groups[0]["lr"] = cooled(self.config.learning_rate, shown, self.config.cooldown)
        self.optimizer.step()
        # the half-life is short at first, so that the average soon forgets the initial weights
        half_life = min(self.config.average_half_life, 0.05 * (self.images_seen + self.config.batch))
        self._average(1.0 - 0.5 ** (self.config.batch / half_life))
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def _average(self, weight: float) -> None:
        """Takes the network into the moving average, what batch normalisation keeps of the images too."""
        for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            kept.lerp_(new, weight) if kept.is_floating_point() else kept.copy_(new)
