"""What one training step of 10 images costs, and how little of it is ktl's: the limit of benchmarks/speed/engine.py.

Run: python -m benchmarks.speed.training_step run
     python -m benchmarks.speed.training_step table

The 4-layer CNN on 32 x 32 images of 100 classes, published recipe, one thread. *ktl* is a step as a federation's client
does it, *bare* the same loss, backward pass, gradient norm and SGD and nothing else, *layers* the forward and backward
passes of the two convolutions and the dense layer alone. Milliseconds, medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from ktl.data.fewshot import FewShotTask
from ktl.edge.export.measure import time_calls
from ktl.etf import arcface_loss
from ktl.federation.settings import FederationConfig
from ktl.learning.learner import EdgeLearner
from ktl.learning.process import prepare_process
from ktl.learning.settings import RECIPES
from ktl.models.edge_model import build_model
from ktl.models.precision import features_in, training_dtype

BATCH, CLASSES = 10, 100


def by_ktl(precision: str) -> float:
    """A client's round of one step."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.arange(BATCH)
    task = FewShotTask([str(c) for c in range(CLASSES)], images, labels, images[:1], labels[:1])
    config = FederationConfig(training=RECIPES["published"], precision=precision)
    learner = EdgeLearner(task, config.edge("cnn4", config.training, uses_pairs=False), etf_seed=0)

    def one_round() -> None:
        learner.start_round(0)
        learner.train_round(lambda *_: None, lambda: False)

    return time_calls(one_round).p50


def bare(dtype: torch.dtype) -> float:
    """The same arithmetic in a few lines."""
    recipe = RECIPES["published"]
    model = build_model("cnn4", channels=3, image_size=32, classes=CLASSES, seed=0, etf_seed=0, settings=recipe)
    model.to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH)
    parameters = [*model.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, fused=True)

    def step() -> None:
        cosines = model.classifier.embed(features_in(dtype, model.extractor, images)) @ model.classifier.etf
        loss = arcface_loss(cosines, labels, margin=recipe.margin, scale=recipe.scale)
        optimizer.zero_grad()
        loss.backward()
        float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        optimizer.step()

    return time_calls(step).p50


def layers(dtype: torch.dtype) -> float:
    """Forward and backward passes, the first without the gradient of its images."""
    inputs = [torch.rand(BATCH, 3, 32, 32), torch.rand(BATCH, 32, 14, 14), torch.rand(BATCH, 1600)]
    modules: list[nn.Module] = [nn.Conv2d(3, 32, 5), nn.Conv2d(32, 64, 5), nn.Linear(1600, 512)]
    return sum(
        passes(module.to(dtype), given.to(dtype), inner=index > 0)
        for index, (module, given) in enumerate(zip(modules, inputs, strict=True))
    )


def passes(module: nn.Module, given: torch.Tensor, inner: bool) -> float:
    """One layer; an inner one passes the gradient on."""
    if given.ndim == 4:
        module.to(memory_format=torch.channels_last)
        given = given.to(memory_format=torch.channels_last)
    given.requires_grad_(inner)
    gradient = torch.ones_like(module(given))

    def both() -> None:
        module.zero_grad()
        module(given).backward(gradient)

    return time_calls(both).p50


def measure(precision: str) -> Row:
    """Milliseconds."""
    prepare_process(threads=1)
    dtype = training_dtype(precision, torch.device("cpu"))
    return {"ktl": by_ktl(precision), "bare": bare(dtype), "layers": layers(dtype)}


def cells(args: argparse.Namespace) -> list[Cell]:
    """Both precisions, as often as asked."""
    keys = [{"precision": p, "run": run} for run in range(args.runs) for p in ("float32", "bfloat16")]
    return [Cell(key, measure, (key["precision"],)) for key in keys]


def table(rows: Sequence[Row]) -> str:
    """A line per precision, every run's figure."""
    lines = []
    for precision in dict.fromkeys(row["precision"] for row in rows):
        own = [row for row in rows if row["precision"] == precision]
        lines.append([precision, *(", ".join(f"{row[name]:.1f}" for row in own) for name in COLUMNS[1:])])
    return markdown(COLUMNS, lines)


COLUMNS = ["precision", "ktl", "bare", "layers"]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--runs", type=int, default=2)


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("speed/training_step", __doc__, options, cells, TABLES)
