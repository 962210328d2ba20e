"""The shared space is an encoder's embedding of the generated images, in place of the generator's latents.

Run: python -m benchmarks.federation.encoder_space run [--seeds 3] [--encoder benchmarks.accuracy.lite0:Lite0]
         [--setting "fashion cnn4"]
     python -m benchmarks.federation.encoder_space table

Without --encoder it is the one that ships; benchmarks/accuracy/lite0.py says what the other needs.

Edges are those of a setting of benchmarks/federation/pooling.py: 20 that have two images of each of CIFAR-100's classes
if none is named, one round of 1.43 MB, random latents, nothing pooled while training. Then 1, 2, 5, 10 or all of them
pool class statistics, and classify by the cosine to the pooled class means alone, or as FedKTL does (`PooledModel`).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.federation.pooling import SETTINGS, apart_from, base_config
from benchmarks.federation.trained_edges import GROUPS, Edge, in_groups, pooled_accuracy, together, trained_edges
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line, one_of
from benchmarks.lib.federations import federation_options, folder_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import each_seed, seed_gain, seed_mean
from ktl.class_statistics import ClassStatistics, pooled
from ktl.encoders import BUILTIN, load_encoder
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.spaces import SPACES
from ktl.wire import decode_pooled

SETTING = "2 shots cnn4"
SIZES = (1, *GROUPS)
DIMENSION = 128
LITE0 = "benchmarks.accuracy.lite0:Lite0"


def cosines(points: Tensor, statistics: ClassStatistics, classes: int) -> Tensor:
    """Of points (n, D) to the class means, from the mean of those: scores (n, classes), which say nothing of a class
    without an image."""
    means = statistics.means
    centre = means.mean(dim=0)
    scores = torch.full((len(points), classes), -torch.inf)
    scores[:, statistics.classes] = F.normalize(points - centre, dim=1) @ F.normalize(means - centre, dim=1).T
    return scores


@torch.no_grad()
def cosine_accuracy(groups: Sequence[Sequence[Edge]], classes: int) -> float:
    """Percent of all test images, of edges that pool within their groups and have no other classifier."""
    right = tested = 0
    for group in groups:
        statistics = pooled(decode_pooled(together(group, classes), classes, DIMENSION))
        for edge in group:
            scores = cosines(edge.space_map(edge.test), statistics, classes)
            right += int((scores.argmax(dim=1) == edge.labels).sum())
            tested += len(edge.labels)
    return 100 * right / tested


def measure(config: FederationConfig, folder: Path, workers: int | None) -> Row:
    """Accuracies in percent over all test images, of the same edges by what they classify by."""
    alone = federate(config, folder, workers=workers, resume=True).rows[-1]["accuracy"]
    torch.set_num_threads(1)
    edges, classes = trained_edges(config, folder)
    shutil.rmtree(folder)
    row: Row = {"alone": 100 * alone, "bytes_up": max(len(edge.statistics) for edge in edges)}
    for size in SIZES:
        groups = in_groups(edges, size)
        row[f"cosine, {size}"] = cosine_accuracy(groups, classes)
        row[f"pooled model, {size}"] = pooled_accuracy(groups, classes)
    return row


def cells(args: argparse.Namespace) -> list[Cell]:
    """One a seed."""
    load_encoder(args.encoder)  # what it lacks is said here, not in a cell's process
    of_all_seeds = []
    space = SPACES.choose("encoder", encoder=args.encoder, dimension=DIMENSION)
    for seed in range(args.seeds):
        config = apart_from(base_config(args.setting, seed, args))
        config = replace(config, cloud=replace(config.cloud, space=space))
        key = {"setting": args.setting, "encoder": args.encoder, "seed": seed}
        of_all_seeds.append(Cell(key, measure, (config, folder_of(args.out, key), args.workers)))
    return of_all_seeds


def table(rows: list[Row]) -> str:
    """A line per encoder and way to classify: accuracy, and what it has more than edges' own classifiers, by seed."""
    lines = []
    for setting, encoder in dict.fromkeys((row["setting"], row["encoder"]) for row in rows):
        own = [row for row in rows if (row["setting"], row["encoder"]) == (setting, encoder)]
        for name in ("alone", *(f"{way}, {size}" for way in WAYS for size in SIZES)):
            values = [row[name] for row in own]
            lead = "" if name == "alone" else seed_gain(own, own, name, "alone")
            lines.append([setting, encoder, name, len(own), seed_mean(values), lead, each_seed(values)])
    return markdown(
        ["setting", "encoder", "edges classify by", "seeds", "accuracy %", "more than alone", "by seed"], lines
    )


WAYS = ("cosine", "pooled model")


def by_size(setting: str, encoder: str, rows: list[Row]) -> str:
    """A column per number of edges that pool in the space of one encoder."""
    own = [row for row in rows if (row["setting"], row["encoder"]) == (setting, encoder)]
    accuracies = {way: [seed_mean([row[f"{way}, {size}"] for row in own]) for size in SIZES] for way in WAYS}
    lines = [
        ["alone: each by its classifier", seed_mean([row["alone"] for row in own]), *[""] * len(GROUPS)],
        ["as FedKTL classifies", *accuracies["pooled model"]],
        ["more than alone, paired", *(seed_gain(own, own, f"pooled model, {size}", "alone") for size in SIZES)],
        ["cosine to the pooled means alone", *accuracies["cosine"]],
    ]
    return markdown(["edges that pool", *map(str, SIZES)], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    federation_options(runs)
    runs.add_argument("--encoder", default=BUILTIN)
    runs.add_argument("--setting", default=SETTING, type=one_of(SETTINGS), metavar="SETTING")


TABLES = {
    "all": table,
    BUILTIN: partial(by_size, SETTING, BUILTIN),
    "lite0": partial(by_size, SETTING, LITE0),
    "fashion": partial(by_size, "fashion cnn4", BUILTIN),
    "two architectures": partial(by_size, "2 shots cnn4,resnet4", BUILTIN),
}

if __name__ == "__main__":
    command_line("federation/encoder_space", __doc__, options, cells, TABLES)
