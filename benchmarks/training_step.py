"""What one training step of 10 images costs, and how little of it is ktl's: the limit of benchmarks/federation.py.

Run: python benchmarks/training_step.py

The 4-layer CNN on 32 x 32 images of 100 classes, published recipe, one thread. *ktl* is a step as a federation's client
does it, *bare* the same loss, backward pass, gradient norm and SGD in a loop of their own, *layers* the forward and
backward passes of the two convolutions and the dense layer alone. Milliseconds, least of five repeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ktl.config import RECIPES, FederationConfig
from ktl.data.fewshot import FewShotTask
from ktl.edge.learner import EdgeLearner
from ktl.edge.precision import features_in, training_dtype
from ktl.etf import arcface_loss
from ktl.models.edge_model import build_model

BATCH, CLASSES, STEPS, REPEATS = 10, 100, 75, 5


def milliseconds(run: Callable[[], object], steps: int) -> float:
    """A step's time, where `run` does `steps`."""
    run()
    least = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - started)
    return 1000 * least / steps


def by_ktl(precision: str) -> float:
    """A client's round."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (STEPS * BATCH, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, CLASSES, (STEPS * BATCH,), generator=rng)
    task = FewShotTask([str(c) for c in range(CLASSES)], images, labels, images[:1], labels[:1])
    config = FederationConfig(rounds=REPEATS + 1, training=RECIPES["published"], precision=precision)
    learner = EdgeLearner(task, config.edge("cnn4", "etf", local_only=True), etf_seed=0)

    def one_round() -> None:
        learner.train_round(lambda *_: None, lambda: False)
        learner.finish_round()

    return milliseconds(one_round, STEPS)


def bare(dtype: torch.dtype) -> float:
    """The same arithmetic in a loop of a few lines."""
    model = build_model("cnn4", channels=3, image_size=32, classes=CLASSES, seed=0, etf_seed=0)
    model.to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH)
    parameters = [*model.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, fused=True)

    def steps() -> None:
        for _ in range(STEPS):
            loss = arcface_loss(model.classifier(features_in(dtype, model.extractor, images)), labels)
            optimizer.zero_grad()
            loss.backward()
            float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
            optimizer.step()

    return milliseconds(steps, STEPS)


def layers(dtype: torch.dtype) -> float:
    """Forward and backward passes, the first without the gradient of its images."""
    inputs = [torch.rand(BATCH, 3, 32, 32), torch.rand(BATCH, 32, 14, 14), torch.rand(BATCH, 1600)]
    modules: list[nn.Module] = [nn.Conv2d(3, 32, 5), nn.Conv2d(32, 64, 5), nn.Linear(1600, 512)]
    total = 0.0
    for index, (module, given) in enumerate(zip(modules, inputs, strict=True)):
        module.to(dtype)
        given = given.to(dtype)
        if given.ndim == 4:
            module.to(memory_format=torch.channels_last)
            given = given.to(memory_format=torch.channels_last)
        total += milliseconds(passes(module, given.requires_grad_(index > 0)), STEPS)
    return total


def passes(module: nn.Module, given: Tensor) -> Callable[[], None]:
    """STEPS forward and backward passes."""
    gradient = torch.ones_like(module(given))

    def run() -> None:
        for _ in range(STEPS):
            module.zero_grad()
            module(given).backward(gradient)

    return run


def main() -> None:
    torch.set_num_threads(1)
    print("| precision | ktl | bare | layers |\n|---|---|---|---|")
    for precision in ("float32", "bfloat16"):
        dtype = training_dtype(precision, torch.device("cpu"))
        print(f"| {precision} | {by_ktl(precision):.1f} | {bare(dtype):.1f} | {layers(dtype):.1f} |", flush=True)


if __name__ == "__main__":
    main()
