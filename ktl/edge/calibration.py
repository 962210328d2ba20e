"""How sure a model may be: one temperature for its logits, from a split of its own or from the shots alone.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017) fit it on held-out labels. Here every label is a
shot, so two stand-ins that each saw half of the shots are asked about the other half (docs/how-to/export.md).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.data.fewshot import FewShotTask
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import EdgeConfig

STEPS = 150  # of each stand-in; a quarter of the least that a run takes
COLDEST, HOTTEST = 0.1, 10.0


def calibrated_temperature(task: FewShotTask, config: EdgeConfig) -> float:
    """The number to divide logits by; 1 for one shot per class, where nothing can be held out.

    The square root of the temperature that fits the stand-ins: those saw half as much, and err in proportion.
    """
    training = replace(config.training, steps=min(STEPS, config.training.steps or STEPS), epochs=1)
    return _fitted(task, replace(config, transfer=None, warm_start="edge", rounds=1, training=training))


@lru_cache(maxsize=1)  # a run and the same one without a cloud have the same stand-ins
def _fitted(task: FewShotTask, config: EdgeConfig) -> float:
    order = _order_in_class(task.shot_labels)
    if int(order.max()) == 0:
        return 1.0
    halves = [order % 2 == half for half in (0, 1)]
    logits = torch.cat([_logits(task, config, half) for half in halves])
    labels = torch.cat([task.shot_labels[half] for half in halves])
    return math.sqrt(fit_temperature(logits, labels))


def temperature_for(learner: EdgeLearner) -> float:
    """What to divide a trained model's logits by: fitted on its task's calibration images if there are any."""
    task = learner.task
    if task.calibration_images is None or task.calibration_labels is None:
        return calibrated_temperature(task, learner.config)
    return fit_temperature(learner.logits(task.calibration_images), task.calibration_labels)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature in 0.1..10 of least negative log-likelihood for logits (n, C) and labels (n,), to 1%."""
    grid: list[float] = torch.logspace(math.log10(COLDEST), math.log10(HOTTEST), 464).tolist()
    losses = [F.cross_entropy(logits / temperature, labels).item() for temperature in grid]
    return grid[losses.index(min(losses))]


def _logits(task: FewShotTask, config: EdgeConfig, held_out: Tensor) -> Tensor:
    """Of the shots in `held_out`, from a model trained on the others."""
    others = replace(task, shot_images=task.shot_images[~held_out], shot_labels=task.shot_labels[~held_out])
    learner = EdgeLearner(others, config, etf_seed=config.seed)
    learner.train_round(lambda *_: None, lambda: False)
    return learner.logits(task.shot_images[held_out])


def _order_in_class(labels: Tensor) -> Tensor:
    """0 for the first shot of its class, 1 for the second, ..."""
    same = labels[:, None] == labels[None, :]
    return same.tril(-1).sum(dim=1)
