"""The discriminator that looks at pixels: relativistic pairing loss with R1 and R2 penalties.

Huang et al., "The GAN is dead; long live the GAN!" (NeurIPS 2024, arXiv 2501.05441); the penalties every few steps,
weighted up accordingly (Karras et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.generators.networks.discriminator import Discriminator
from ktl.generators.networks.stylegan2 import StyleGAN2Config
from ktl.generators.training.adversary import Adversary, Row, descend, diversity_of
from ktl.generators.training.settings import RelativisticConfig


class RelativisticAdversary(Adversary):
    """A residual critic of the generator's sizes.

    Its rows also tell r1 and r2, mean squared gradient norms: near 0 with both losses at ln 2, it is dead.
    """

    name = "relativistic"

    def __init__(self, sizes: StyleGAN2Config, config: RelativisticConfig, device: torch.device) -> None:
        discriminator = Discriminator(sizes).to(device).to(memory_format=torch.channels_last)
        super().__init__(discriminator, config.discriminator_rate)
        self.config = config
        self.device = device
        self.penalties: Row = {}

    def teach(self, real: Tensor, draw: Callable[[], Tensor], rng: torch.Generator, step: int) -> tuple[Tensor, Row]:
        with torch.no_grad():
            fake = draw()
        row = self._learn(real, fake, penalise=step % self.config.penalty_interval == 0)
        fake = draw()
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real_score = self._score(real)
        loss = F.softplus(real_score - self._score(fake)).mean()
        self.discriminator.requires_grad_(True)
        return loss, row | {"generator_loss": loss.item(), "diversity": diversity_of(fake, real)} | self.penalties

    def _learn(self, real: Tensor, fake: Tensor, *, penalise: bool) -> Row:
        real, fake = real.detach().requires_grad_(penalise), fake.requires_grad_(penalise)
        real_score, fake_score = self._score(real), self._score(fake)
        loss = F.softplus(fake_score - real_score).mean()
        row = {"discriminator_loss": loss.item()}
        if penalise:
            r1, r2 = _squared_gradient(real_score, real), _squared_gradient(fake_score, fake)
            loss = loss + self.config.penalty_interval * self.config.gamma / 2 * (r1 + r2)
            self.penalties = {"r1": r1.item(), "r2": r2.item()}
        descend(self.optimizer, loss)
        return row

    def _score(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            score: Tensor = self.discriminator(images)
        return score


def _squared_gradient(score: Tensor, images: Tensor) -> Tensor:
    """Mean over the batch of |d score / d image|^2: R1 on real images, R2 on generated ones."""
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
