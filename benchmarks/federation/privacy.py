"""What a curious cloud learns of an edge's images from its class statistics, and what noise against it costs.

Run: python -m benchmarks.federation.privacy run [--seeds 3] [--source FILE] [--sheets FOLDER]
     python -m benchmarks.federation.privacy table

A seed trains 32 edges (FedKTL, 4-layer CNN, one round): 20 with 2 images of each class, which also pool, 6 with 1 and 6
with 9. No two have an image in common; the images that none of them has are the others. For each edge and class the
cloud guesses what the edge has, from the edge's own statistics or the pooled ones, and the guess is compared with the
edge's k images and with k others of the same class. The table gives how often the nearest of the edge's is nearer to
the guess than the nearest of the others, the mean over all choices of the k others: 50% is chance. Three comparisons:

- pixels: the drawn picture, by root mean square difference.
- features: the drawn picture, by the cosine of standardised features of a network that the cloud has. It is the one
  that edges have after the pairs and before their own images: the cloud knows the pairs and the seed.
- latents: no picture at all; the class mean against where that network and its own space map see an image.

A cell is one seed; those that `--out` has are skipped. `--sheets` saves a picture of shots and drawings for each seed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.federation.curious_cloud import (
    EPSILONS,
    POOLING,
    Cloud,
    Edge,
    comparisons,
    statements,
    trained,
)
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_mean
from ktl.class_statistics import ClassStatistics, pooled
from ktl.generators.samples import grid
from ktl.learning.process import prepare_process
from ktl.methods.base import features_of
from ktl.methods.fedktl import mapped_images
from ktl.seeds import stream
from ktl.shared_space.pooled_model import PooledModel
from ktl.statistics_noise import noised

SHOWN = 10  # classes of a sheet


@torch.no_grad()
def accuracies(edges: list[Edge], sent: dict[str, list[ClassStatistics]], seed: int) -> Row:
    """Mean test accuracy of the pooling edges, percent: alone, and with statistics that noise was added to."""
    closing = {f"pooled{noise}": pooled(statistics[:POOLING]) for noise, statistics in sent.items()}
    for epsilon in EPSILONS:
        rng = stream(seed, "shared noise", f"{epsilon:g}")
        closing[f"pooled, epsilon {epsilon:g}, noise once"] = noised(closing["pooled"], epsilon, rng)
    right = dict.fromkeys(["alone", *closing], 0.0)
    for edge in edges[:POOLING]:
        learner, task = edge.learner, edge.learner.task
        features, mapped = features_of(learner, task.test_images), mapped_images(learner)
        known = (mapped.features, task.shot_labels, len(task.class_names))
        models = {"alone": learner.model.classifier.eval()} | {
            name: PooledModel(nn.Identity(), learner.model.classifier, mapped.space_map, statistics, *known)
            for name, statistics in closing.items()
        }
        for name, model in models.items():
            share = (model(features).argmax(dim=1) == task.test_labels).float().mean()
            right[name] += 100 * float(share) / POOLING
    return right


def sheet(cloud: Cloud, edge: Edge, sent: dict[str, list[ClassStatistics]]) -> Tensor:
    """For one edge, column by class: its two shots, drawings of its own statistics and of the pooled ones, by noise."""
    task, classes = edge.learner.task, edge.statistics.classes[:SHOWN]
    shots = [torch.stack([task.shot_images[task.shot_labels == c][k] for c in classes]) for k in (0, 1)]
    rows = [*shots, cloud.drawn(edge.statistics.means, valid=True)[:SHOWN]]
    for statistics in sent.values():
        rows += [cloud.drawn(each.means)[:SHOWN] for each in (statistics[0], pooled(statistics[:POOLING]))]
    return torch.cat(rows).expand(-1, 3, -1, -1)


def measure(source: str, seed: int, sheets: Path | None) -> Row:
    """One seed: for each guess its shares in percent, means over edges; accuracies in percent; seconds."""
    prepare_process(1)
    started = time.process_time()
    data, edges, network = trained(source, seed)
    cloud, sent = Cloud(data, network, seed), statements(edges, seed)
    found: dict[str, dict[str, list[float]]] = {}
    for guess, shares in comparisons(cloud, edges, sent):
        for name, share in shares.items():
            found.setdefault(guess, {}).setdefault(name, []).append(100 * share)
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        image = grid(sheet(cloud, edges[0], sent), min(SHOWN, len(edges[0].statistics.classes)))
        image.resize((3 * image.width, 3 * image.height), 0).save(sheets / f"{data.images.shape[2]}-seed{seed}.png")
    means = {guess: {name: sum(v) / len(v) for name, v in shares.items()} for guess, shares in found.items()}
    accuracy = accuracies(edges, sent, seed)
    return {"nearer": means, "accuracy": accuracy, "seconds": round(time.process_time() - started)}


def guesses() -> dict[str, str]:
    """What the cloud has, by the name of its guess, in the table's order."""
    shots, found = (1, 2, 9), {}
    for k in shots:
        found[f"own, {k}"] = f"an edge's own statistics, {k} image{'s' * (k > 1)} per class"
    for k in shots:
        found[f"own, {k}, nearest valid latent"] = f"... {k}, drawn from the nearest valid latent"
    found["pooled, 20 x 2"] = "the pooled statistics of 20 edges with 2 images each"
    for epsilon in EPSILONS:
        for k in shots:
            found[f"own, {k}, epsilon {epsilon:g}"] = f"own, noise of epsilon {epsilon:g}, {k} image{'s' * (k > 1)}"
    for epsilon in EPSILONS:
        found[f"pooled, 20 x 2, epsilon {epsilon:g}"] = f"pooled, each edge's noise of epsilon {epsilon:g}"
    for k in shots:
        found[f"control: mean of its {k}"] = f"control: the mean of the {k} image{'s' * (k > 1)}"
    return found


def nearer_table(rows: list[Row]) -> str:
    """How often the edge's images are nearer to each guess: percent, means over seeds with 95% intervals."""
    lines = []
    for source in dict.fromkeys(row["source"] for row in rows):
        of_source = [row for row in rows if row["source"] == source]
        for guess, label in guesses().items():
            shares = [[row["nearer"][guess][name] for row in of_source if name in row["nearer"][guess]] for name in BY]
            lines.append([source, label, len(of_source), *map(seed_mean, shares)])
    return markdown(["data", "the cloud has", "seeds", *BY], lines)


BY = ("pixels", "features", "latents")
PREDICTED_BY = {
    "alone": "their own classifier alone",
    "pooled": "pooled statistics without noise, and their own classifier",
    **{f"pooled, epsilon {e:g}": f"... each edge adds noise of epsilon {e:g}" for e in EPSILONS},
    **{f"pooled, epsilon {e:g}, noise once": f"... noise of epsilon {e:g} once, on the sum" for e in EPSILONS},
}


def accuracy_table(rows: list[Row]) -> str:
    """What noise costs the pooling edges: percent, means over seeds with 95% intervals."""
    lines = []
    for source in dict.fromkeys(row["source"] for row in rows):
        of_source = [row for row in rows if row["source"] == source]
        for name, label in PREDICTED_BY.items():
            accuracy = seed_mean([row["accuracy"][name] for row in of_source])
            lines.append([source, label, len(of_source), accuracy])
    return markdown(["data", "edges predict by", "seeds", "accuracy %"], lines)


def cells(args: argparse.Namespace) -> list[Cell]:
    """One a seed."""
    source = args.source if args.source == "fashion-mnist" else str(args.data_root / args.source)
    keys = [{"source": args.source, "seed": seed} for seed in range(args.seeds)]
    return [Cell(key, measure, (source, key["seed"], args.sheets)) for key in keys]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--source", default="fashion-mnist")
    runs.add_argument("--seeds", type=int, default=3)
    runs.add_argument("--sheets", type=Path, help="folder for a picture of shots and drawings of each seed")


TABLES = {"nearer": nearer_table, "accuracy": accuracy_table}

if __name__ == "__main__":
    command_line("federation/privacy", __doc__, options, cells, TABLES)
