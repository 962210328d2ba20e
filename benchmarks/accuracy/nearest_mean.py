"""How well an encoder tells classes apart from a few images of each: the cosine to the class means, nothing trained.

Run: python -m benchmarks.accuracy.nearest_mean run [--data cifar100-20k.npz fashion-mnist] [--shots 2 9]
         [--encoder builtin]
     python -m benchmarks.accuracy.nearest_mean table
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import each_seed, seed_mean
from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.encoders import load_encoder
from ktl.encoders.base import Encoder


def nearest_mean_accuracy(encoder: Encoder, task: FewShotTask) -> float:
    """Percent; embeddings are taken from the mean of the shots', so that what all images share says nothing."""
    shots, test = (encoder.embed(images.expand(-1, 3, -1, -1)) for images in (task.shot_images, task.test_images))
    centre = shots.mean(dim=0)
    points, tested = F.normalize(shots - centre, dim=1), F.normalize(test - centre, dim=1)
    found = (tested @ class_means(points, task.shot_labels, len(task.class_names)).T).argmax(dim=1)
    return 100 * float((found == task.test_labels).float().mean())


def class_means(points: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Unit vectors (classes, D) along the means of points (n, D)."""
    return F.normalize(torch.zeros(classes, points.shape[1]).index_add_(0, labels, points), dim=1)


def measure(encoder: str, source: str, shots: int, seed: int) -> Row:
    """Percent of all test images, of a draw of the shots of every class."""
    task = draw_task(load_dataset(source), shots=shots, ways=None, seed=seed)
    return {"accuracy": nearest_mean_accuracy(load_encoder(encoder), task)}


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each encoder, data set, number of shots and seed."""
    found = []
    for encoder in args.encoder:
        for data in args.data:
            source = data if data == "fashion-mnist" else str(args.data_root / data)
            for shots in args.shots:
                for seed in args.seeds:
                    key = {"encoder": encoder, "data": Path(data).stem, "shots": shots, "seed": seed}
                    found.append(Cell(key, measure, (encoder, source, shots, seed)))
    return found


def table(rows: Sequence[Row]) -> str:
    """A line per encoder and task."""
    lines = []
    for task in dict.fromkeys((row["encoder"], row["data"], row["shots"]) for row in rows):
        values = [row["accuracy"] for row in rows if (row["encoder"], row["data"], row["shots"]) == task]
        lines.append([*task, len(values), seed_mean(values), each_seed(values)])
    return markdown(["encoder", "data", "shots", "seeds", "accuracy %", "by seed"], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--encoder", nargs="+", default=["builtin"])
    runs.add_argument("--data", nargs="+", default=["cifar100-20k.npz"])
    runs.add_argument("--shots", type=int, nargs="+", default=[2])
    runs.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("accuracy/nearest_mean", __doc__, options, cells, TABLES)
