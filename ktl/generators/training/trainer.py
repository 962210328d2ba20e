"""Trains a StyleGAN2 on unlabelled images with little compute; it can be stopped and resumed at any time.

An adversary tells it how far it is (`adversary.py`); an exponential moving average of the weights; horizontal flips;
bfloat16 and channels-last. Images and noise are drawn on the CPU: every device is shown the same ones.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.generators.networks.stylegan2 import StyleGAN2
from ktl.generators.training.adversary import Adversary, Row, adam, descend
from ktl.generators.training.settings import GeneratorTrainingConfig
from ktl.seeds import stream


class GeneratorTrainer:
    """A generator, the moving average of its weights, and the adversary that teaches it.

    images: uint8 (n, size, size, 3). The weights after k steps are a function of (images, generator, adversary, config,
    k), to rounding: to the bit on a CPU.
    """

    def __init__(
        self,
        images: NDArray[Any],
        generator: StyleGAN2,
        adversary: Adversary,
        config: GeneratorTrainingConfig,
        device: torch.device,
    ) -> None:
        self.config = config
        self.device = device
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        self.generator = generator.to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizer = adam(self.generator, config.generator_rate)
        self.adversary = adversary
        self.step = 0

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
            prefixed("generator", self.generator.state_dict())
            | prefixed("average", self.average.state_dict())
            | prefixed("generator_adam", optimizer_tensors(self.optimizer))
            | self.adversary.state()
            | {"step": torch.tensor(self.step)}
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned, to the same bits."""
        self.generator.load_state_dict(under("generator", state))
        self.average.load_state_dict(under("average", state))
        restore_optimizer(self.optimizer, under("generator_adam", state))
        self.adversary.restore(state)
        self.step = int(state["step"])

    def _train_step(self) -> Row:
        rng = stream(self.config.seed, "step", self.step)
        real = self._real_batch(rng)
        loss, row = self.adversary.teach(real, lambda: self._generate(rng), rng, self.step)
        descend(self.optimizer, loss)
        # the half-life is short at first, so that the average soon forgets the initial weights
        half_life = min(self.config.average_half_life, 0.05 * (self.images_seen + self.config.batch))
        weight = 1.0 - 0.5 ** (self.config.batch / half_life)
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(new, weight)
        self.step += 1
        return row

    def _real_batch(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.images), (self.config.batch,), generator=rng)
        real = self.images[index].to(self.device).float() / 127.5 - 1.0
        flip = torch.rand(self.config.batch, 1, 1, 1, generator=rng).to(self.device) < 0.5
        return torch.where(flip, real.flip(3), real).contiguous(memory_format=torch.channels_last)

    def _generate(self, rng: torch.Generator) -> Tensor:
        noise = torch.randn(self.config.batch, self.generator.config.z_dim, generator=rng).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            fake: Tensor = self.generator(noise)
        return fake.float().contiguous(memory_format=torch.channels_last)
