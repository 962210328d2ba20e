"""One stage of an edge's training: what it minimises, and the optimizers that do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ktl.learning.schedule import Span, rate_factor
from ktl.learning.settings import TrainingConfig
from ktl.objectives.base import Objective, Step

Group = tuple[list[nn.Parameter], float]  # weights, and their peak learning rate


@dataclass(frozen=True)
class Part:
    """Objectives whose sum counts with one weight; `column` is where a round's metrics report its mean."""

    column: str
    objectives: Sequence[Objective]
    weight: float = 1.0

    def loss(self, step: Step) -> Tensor:
        """The sum of the objectives, unweighted: a scalar."""
        first, *others = self.objectives
        loss: Tensor = first(step)
        for objective in others:
            loss = loss + objective(step)
        return loss


@dataclass
class MeanLosses:
    """Sums over a round's steps by column, from which mean losses are reported."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def add(self, column: str, value: float) -> None:
        """Takes in one step's loss."""
        self.sums[column] = self.sums.get(column, 0.0) + value
        self.steps[column] = self.steps.get(column, 0) + 1

    def mean(self, column: str) -> float | None:
        """The mean of a column's losses; None if no step had one."""
        return self.sums[column] / self.steps[column] if column in self.steps else None


class Stage:
    """Minimises the weighted sum of its parts, by one optimizer or several with weights of their own."""

    def __init__(self, parts: Sequence[Part], optimizers: Sequence[torch.optim.Optimizer], pairs_per_step: int) -> None:
        self.parts = parts
        self.optimizers = optimizers
        self.pairs_per_step = pairs_per_step

    def descend(self, step: Step, losses: MeanLosses, gradient_norm: float) -> float:
        """One step of every optimizer; returns the whole loss, and adds that of each part to `losses`."""
        weighted = []
        for part in self.parts:
            loss = part.loss(step)
            losses.add(part.column, loss.item())
            weighted.append(part.weight * loss)
        total = torch.stack(weighted).sum()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        for optimizer in self.optimizers:
            clip([p for group in optimizer.param_groups for p in group["params"]], gradient_norm)
            optimizer.step()
        return float(total.item())

    def set_rate(self, schedule: str, span: Span, step: int) -> None:
        """Sets the learning rates for a step of `span`."""
        factor = rate_factor(schedule, (span.first + step) / span.total)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def forget(self) -> None:
        """Frees the optimizers' moments, which take as much memory as two models."""
        for optimizer in self.optimizers:
            optimizer.state.clear()


def make_optimizer(training: TrainingConfig, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """The recipe's optimizer for groups of parameters."""
    parameters = [{"params": weights, "lr": rate, "initial_lr": rate} for weights, rate in groups]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=training.weight_decay, fused=True)
    return torch.optim.SGD(parameters, weight_decay=training.weight_decay, fused=True)


def clip(parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """`clip_grad_norm_`, but gradients that are within the limit already are not multiplied by 1."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not float(norm) + 1e-6 <= max_norm:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
