"""What every adversary of a generator is: it learns to tell its images from real ones, and says how to fool it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under

Row = dict[str, float]


class Adversary(ABC):
    """A discriminator with its optimiser. Derived classes say how it learns and what the generator learns from it."""

    name: str  # of what a training cannot be resumed without

    def __init__(self, discriminator: nn.Module, rate: float) -> None:
        self.discriminator = discriminator
        self.optimizer = adam(discriminator, rate)

    @abstractmethod
    def teach(self, real: Tensor, draw: Callable[[], Tensor], rng: torch.Generator, step: int) -> tuple[Tensor, Row]:
        """Learns from `real` images (n, 3, r, r) in [-1, 1] and from as many that `draw` generates.

        Returns the generator's loss, with a graph back to the generator, and figures of this step: discriminator_loss,
        diversity (`diversity_of`), and what else tells whether it is well.
        """

    def state(self) -> dict[str, Tensor]:
        """Everything that it learns on from, by name."""
        return prefixed("discriminator", self.discriminator.state_dict()) | prefixed(
            "discriminator_adam", optimizer_tensors(self.optimizer)
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned."""
        self.discriminator.load_state_dict(under("discriminator", state))
        restore_optimizer(self.optimizer, under("discriminator_adam", state))


def adam(module: nn.Module, rate: float, momentum: float = 0.0) -> torch.optim.Adam:
    """The optimiser of both players."""
    return torch.optim.Adam(module.parameters(), lr=rate, betas=(momentum, 0.99))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, longest: float = math.inf) -> None:
    """One step; a gradient of a greater norm is shortened to `longest`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if longest < math.inf:
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], longest)
    optimizer.step()


def diversity_of(fake: Tensor, real: Tensor) -> float:
    """The pixels' deviation over the generated images against that over the real ones: near 0 is a collapse."""
    return (fake.detach().std(dim=0).mean() / real.detach().std(dim=0).mean()).item()
