"""Trains a StyleGAN2 on unlabelled images with little compute; it can be stopped and resumed at any time.

Relativistic pairing loss with R1 and R2 penalties (Huang et al., "The GAN is dead; long live the GAN!", NeurIPS 2024,
arXiv 2501.05441); the penalties every few steps, weighted up accordingly (Karras et al. 2020); an exponential moving
average of the weights; horizontal flips; bfloat16 and channels-last. Images and noise are drawn on the CPU: every
device is shown the same ones.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.generators.networks.discriminator import Discriminator
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.training.settings import GeneratorTrainingConfig
from ktl.seeds import initialising, stream

Row = dict[str, float]


class GeneratorTrainer:
    """A generator, the moving average of its weights, and the discriminator that teaches it.

    images: uint8 (n, size, size, 3). The weights after k steps are a function of (images, config, k), to rounding: to
    the bit on a CPU.
    """

    def __init__(self, images: NDArray[Any], config: GeneratorTrainingConfig, device: str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        architecture = StyleGAN2Config(resolution=images.shape[1])
        with initialising(config.seed, "initial weights"):
            self.generator = _channels_last(StyleGAN2(architecture)).to(self.device)
            self.discriminator = _channels_last(Discriminator(architecture)).to(self.device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.generator_adam = _adam(self.generator, config.generator_rate)
        self.discriminator_adam = _adam(self.discriminator, config.discriminator_rate)
        self.penalties: Row = {}
        self.step = 0

    @property
    def images_seen(self) -> int:
        """Real images shown to the discriminator so far."""
        return self.step * self.config.batch

    def train(self, on_row: Callable[[Row], None], should_stop: Callable[[], bool] = lambda: False) -> None:
        """Trains until `config.images` have been shown or `should_stop()`; `on_row` gets a row of figures every
        `config.log_every` steps.

        A row holds: images; discriminator_loss and generator_loss; r1 and r2 (mean squared gradient norms: near 0 with
        both losses at ln 2, the discriminator is dead); diversity (pixel standard deviation over a generated batch
        against a real one: near 0 is a collapse); images_per_second.
        """
        started, first = time.monotonic(), self.images_seen
        while self.images_seen < self.config.images and not should_stop():
            row = self._train_step()
            if self.step % self.config.log_every == 0:
                speed = (self.images_seen - first) / (time.monotonic() - started)
                on_row({"images": self.images_seen} | row | self.penalties | {"images_per_second": round(speed, 1)})

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from, by name."""
        return (
            prefixed("generator", self.generator.state_dict())
            | prefixed("discriminator", self.discriminator.state_dict())
            | prefixed("average", self.average.state_dict())
            | prefixed("generator_adam", optimizer_tensors(self.generator_adam))
            | prefixed("discriminator_adam", optimizer_tensors(self.discriminator_adam))
            | {"step": torch.tensor(self.step)}
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned, to the same bits."""
        self.generator.load_state_dict(under("generator", state))
        self.discriminator.load_state_dict(under("discriminator", state))
        self.average.load_state_dict(under("average", state))
        restore_optimizer(self.generator_adam, under("generator_adam", state))
        restore_optimizer(self.discriminator_adam, under("discriminator_adam", state))
        self.step = int(state["step"])

    def _train_step(self) -> Row:
        rng = stream(self.config.seed, "step", self.step)
        real = self._real_batch(rng)
        row = self._teach_discriminator(real, rng) | self._teach_generator(real, rng)
        # the half-life is short at first, so that the average soon forgets the initial weights
        half_life = min(self.config.average_half_life, 0.05 * (self.images_seen + self.config.batch))
        weight = 1.0 - 0.5 ** (self.config.batch / half_life)
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(new, weight)
        self.step += 1
        return row

    def _teach_discriminator(self, real: Tensor, rng: torch.Generator) -> Row:
        penalise = self.step % self.config.penalty_interval == 0
        with torch.no_grad():
            fake = self._generate(rng)
        real, fake = real.requires_grad_(penalise), fake.requires_grad_(penalise)
        real_score, fake_score = self._score(real), self._score(fake)
        loss = F.softplus(fake_score - real_score).mean()
        row = {"discriminator_loss": loss.item()}
        if penalise:
            r1, r2 = _squared_gradient(real_score, real), _squared_gradient(fake_score, fake)
            loss = loss + self.config.penalty_interval * self.config.gamma / 2 * (r1 + r2)
            self.penalties = {"r1": r1.item(), "r2": r2.item()}
        _descend(self.discriminator_adam, loss)
        return row

    def _teach_generator(self, real: Tensor, rng: torch.Generator) -> Row:
        self.discriminator.requires_grad_(False)
        fake = self._generate(rng)
        with torch.no_grad():
            real_score = self._score(real)
        loss = F.softplus(real_score - self._score(fake)).mean()
        _descend(self.generator_adam, loss)
        self.discriminator.requires_grad_(True)
        diversity = fake.detach().std(dim=0).mean() / real.detach().std(dim=0).mean()
        return {"generator_loss": loss.item(), "diversity": diversity.item()}

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

    def _score(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            score: Tensor = self.discriminator(images)
        return score


def _channels_last(module: nn.Module) -> Any:
    return module.to(memory_format=torch.channels_last)


def _adam(module: nn.Module, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=rate, betas=(0.0, 0.99))


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _squared_gradient(score: Tensor, images: Tensor) -> Tensor:
    """Mean over the batch of |d score / d image|^2: R1 on real images, R2 on generated ones."""
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
