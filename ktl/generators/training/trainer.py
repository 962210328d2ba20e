"""Trains a generator on unlabelled images with little compute; it can be stopped and resumed at any time.

An adversary tells it how far it is (`adversary.py`); learning rates that may fall to 0 at the end; an exponential
moving average of the weights; horizontal flips; bfloat16 and channels-last. Images and noise are drawn on the CPU:
every device is shown the same ones.
"""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.cooldown import cooled
from ktl.data.transforms import to_network
from ktl.generators.network import Network, Precision
from ktl.generators.networks.stylegan2 import StyleGAN2
from ktl.generators.training.adversary import Adversary, Row, adam, descend
from ktl.generators.training.settings import GeneratorTrainingConfig
from ktl.seeds import stream


class GeneratorTrainer(ABC):
    """What learns, the moving average of its weights, and the adversary that teaches it.

    images: uint8 (n, size, size, 3). The weights after k steps are a function of (images, learner, adversary, config,
    k), to rounding: to the bit on a CPU. Derived classes say what a generator learns from a batch.
    """

    momentum = 0.0  # of the learner's optimiser
    precision: Precision = "float16"  # of the generator's file
    longest_gradient = math.inf

    def __init__(
        self,
        images: NDArray[Any],
        learner: nn.Module,
        adversary: Adversary,
        config: GeneratorTrainingConfig,
        device: torch.device,
    ) -> None:
        self.config = config
        self.device = device
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        self.learner = learner.to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.learner).requires_grad_(False)
        self.optimizer = adam(self.learner, config.generator_rate, self.momentum)
        self.adversary = adversary
        self.step = 0

    @property
    @abstractmethod
    def kind(self) -> str:
        """Of what learns and of its adversary: what a training cannot be resumed without."""

    @property
    @abstractmethod
    def generator(self) -> Network:
        """Of the averaged weights."""

    @abstractmethod
    def lesson(self, real: Tensor, rng: torch.Generator) -> tuple[Tensor, Row]:
        """Lets the adversary learn from `real` images (n, 3, r, r) in [-1, 1]; the learner's loss, and figures."""

    @property
    def images_seen(self) -> int:
        """Real images shown to the adversary so far."""
        return self.step * self.config.batch

    def train(self, on_row: Callable[[Row], None], should_stop: Callable[[], bool] = lambda: False) -> None:
        """Trains until `config.images` have been shown or `should_stop()`; `on_row` gets a row of figures every
        `config.log_every` steps: images, those of `Adversary.teach`, images_per_second.
        """
        started, first = time.monotonic(), self.images_seen
        while self.images_seen < self.config.images and not should_stop():
            row = self._train_step()
            if self.step % self.config.log_every == 0:
                speed = (self.images_seen - first) / (time.monotonic() - started)
                on_row({"images": self.images_seen} | row | {"images_per_second": round(speed, 1)})

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from, by name."""
        return (
            prefixed("generator", self.learner.state_dict())
            | prefixed("average", self.average.state_dict())
            | prefixed("generator_adam", optimizer_tensors(self.optimizer))
            | self.adversary.state()
            | {"step": torch.tensor(self.step)}
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned, to the same bits."""
        self.learner.load_state_dict(under("generator", state))
        self.average.load_state_dict(under("average", state))
        restore_optimizer(self.optimizer, under("generator_adam", state))
        self.adversary.restore(state)
        self.step = int(state["step"])

    def _train_step(self) -> Row:
        rng = stream(self.config.seed, "step", self.step)
        shown, cooldown = self.images_seen / self.config.images, self.config.cooldown
        self.optimizer.param_groups[0]["lr"] = cooled(self.config.generator_rate, shown, cooldown)
        self.adversary.optimizer.param_groups[0]["lr"] = cooled(self.config.discriminator_rate, shown, cooldown)
        loss, row = self.lesson(self._real_batch(rng), rng)
        descend(self.optimizer, loss, self.longest_gradient)
        # the half-life is short at first, so that the average soon forgets the initial weights
        half_life = min(self.config.average_half_life, 0.05 * (self.images_seen + self.config.batch))
        weight = 1.0 - 0.5 ** (self.config.batch / half_life)
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.learner.parameters(), strict=True):
                kept.lerp_(new, weight)
        self.step += 1
        return row

    def _real_batch(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.images), (self.config.batch,), generator=rng)
        real = to_network(self.images[index].to(self.device))
        flip = torch.rand(self.config.batch, 1, 1, 1, generator=rng).to(self.device) < 0.5
        return torch.where(flip, real.flip(3), real).contiguous(memory_format=torch.channels_last)


class StyleGAN2Trainer(GeneratorTrainer):
    """A StyleGAN2, which learns from its adversary alone."""

    learner: StyleGAN2
    average: StyleGAN2

    @property
    def kind(self) -> str:
        return self.adversary.name

    @property
    def generator(self) -> StyleGAN2:
        return self.average

    def lesson(self, real: Tensor, rng: torch.Generator) -> tuple[Tensor, Row]:
        return self.adversary.teach(real, lambda: self._generate(rng), rng, self.step)

    def _generate(self, rng: torch.Generator) -> Tensor:
        noise = torch.randn(self.config.batch, self.learner.config.z_dim, generator=rng).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            fake: Tensor = self.learner(noise)
        return fake.float().contiguous(memory_format=torch.channels_last)
