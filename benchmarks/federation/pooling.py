"""What edges learn from each other: trained edges that classify by themselves, and by what more and more of them pool.

Run: python -m benchmarks.federation.pooling run "2 shots cnn4" ... [--seeds 3] [--arms apart]
     python -m benchmarks.federation.pooling table

Edges are trained once with random latents and nothing pooled. Then they classify the same test images by their own
classifier (`nothing`), by it and their own class statistics (`own`), and by those of groups of edges: of 2, 5, 10 or
all, and of those with the same architecture. The `default` arm is FedKTL as it is: its pairs are drawn around what was
pooled in the round before. The data is CIFAR-100's 20k subset, but for `fashion`, the embedded Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.federation.trained_edges import GROUPS, Edge, by_themselves, in_groups, pooled_accuracy, trained_edges
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.federations import CLIENTS, DATA, federation_options, folder_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import each_seed, seed_gain, seed_mean
from ktl.data.settings import PartitionConfig
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS

SHOTS = {f"{shots} shots {models}": (shots, models) for shots in (1, 2, 5) for models in ("cnn4", "cnn4,resnet4")}
EPOCHS = ("dirichlet cnn4", "pathological cnn4")
ARMS = ("apart", "default")
SETTINGS = (*SHOTS, "fashion cnn4", *EPOCHS)


def base_config(setting: str, seed: int, args: argparse.Namespace) -> FederationConfig:
    """FedKTL as it is: one round of 1.43 MB for shots of CIFAR-100, five of 0.143 MB for the other settings."""
    tuned, transfer = RECIPES["tuned"], federated_transfer()
    source = str(args.data_root / DATA)
    base = FederationConfig(source=source, rounds=5, transfer=transfer, warm_start="edge", seed=seed)
    if setting in SHOTS:
        shots, models = SHOTS[setting]
        return replace(
            base,
            partition=PartitionConfig("shots", CLIENTS, shots=shots),
            models=models,
            rounds=1,
            training=replace(tuned, steps=200),
            transfer=replace(transfer, settings=replace(transfer.settings, warmup_steps=400)),
            download_budget=1_430_000,
        )
    if setting == "fashion cnn4":
        partition = PartitionConfig("shots", CLIENTS, shots=2)
        return replace(base, source="fashion-mnist", partition=partition, training=replace(tuned, steps=200))
    partition = PartitionConfig(setting.split()[0], CLIENTS, beta=0.1, classes_per_client=10)
    return replace(base, partition=partition, training=replace(tuned, epochs=5, min_steps=0))


def measure_apart(config: FederationConfig, folder: Path, workers: int | None) -> Row:
    """Accuracies in percent over all test images, of the same edges by what they classify by."""
    federate(config, folder, workers=workers, resume=True)
    torch.set_num_threads(1)
    edges, classes = trained_edges(config, folder)
    shutil.rmtree(folder)
    row: Row = {"bytes_up": max(len(edge.statistics) for edge in edges)}
    row |= by_themselves(edges, classes)
    for size in GROUPS:
        row[f"{size} edges"] = pooled_accuracy(in_groups(edges, size), classes)
    for model in sorted({edge.model for edge in edges}):
        kind = [edge for edge in edges if edge.model == model]
        if len(kind) < len(edges):
            row |= {f"{model}, {name}": value for name, value in of_one_kind(kind, edges, classes).items()}
    return row


def of_one_kind(kind: Sequence[Edge], edges: Sequence[Edge], classes: int) -> Row:
    """Edges of one architecture, by what those of it pool and by what all do."""
    return by_themselves(kind, classes) | {
        "own kind": pooled_accuracy([kind], classes),
        "all kinds": pooled_accuracy([kind], classes, edges),
    }


def apart_from(default: FederationConfig) -> FederationConfig:
    """The same with random latents and nothing pooled."""
    return replace(default, method=METHODS.choose("fedktl", pool="none"), cloud=CloudConfig(alignment="random"))


def measure_default(config: FederationConfig, folder: Path, workers: int | None) -> Row:
    """FedKTL as it is, after its last round; bytes are of one edge and round."""
    rows = federate(config, folder, workers=workers, resume=True).rows
    shutil.rmtree(folder)
    sent = max(row["bytes_up"] for row in rows) / CLIENTS
    received = max(row["bytes_down"] for row in rows) / CLIENTS
    return {"default": 100 * rows[-1]["accuracy"], "bytes_up": sent, "bytes_down": received} | {
        "seconds": sum(row["seconds"] for row in rows)
    }


def cells(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed, so that a stopped run has whole comparisons."""
    of_all_seeds = []
    for seed in range(args.seeds):
        for setting in args.settings or SETTINGS:
            default = base_config(setting, seed, args)
            arms = {"apart": (apart_from(default), measure_apart), "default": (default, measure_default)}
            for arm, (config, measure) in arms.items():
                if arm not in (args.arms or ARMS):
                    continue
                key = {"setting": setting, "arm": arm, "seed": seed}
                of_all_seeds.append(Cell(key, measure, (config, folder_of(args.out, key), args.workers)))
    return of_all_seeds


def of_name(rows: Sequence[Row], setting: str, name: str) -> list[Row]:
    """A setting's rows that have an accuracy of this name."""
    return [row for row in rows if row["setting"] == setting and name in row]


def table(rows: list[Row]) -> str:
    """One line per way to classify: accuracy, and what it has more than edges that pool nothing, on the same seeds."""
    lines = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        of_setting = [row for row in rows if row["setting"] == setting]
        names = dict.fromkeys(name for row in of_setting for name in row if isinstance(row[name], float))
        for name in (name for name in names if name not in COSTS):
            own = of_name(rows, setting, name)
            base = f"{name.split(', ')[0]}, nothing" if ", " in name else "nothing"
            lead = "" if name == base else seed_gain(own, of_name(rows, setting, base), name, base)
            values = [row[name] for row in own]
            lines.append([setting, name, len(own), seed_mean(values), lead, each_seed(values)])
    return markdown(["setting", "edges classify by", "seeds", "accuracy %", "more than nothing", "by seed"], lines)


COSTS = ("bytes_up", "bytes_down", "seconds")


def by_size(headings: Mapping[str, str], rows: list[Row]) -> str:
    """A line per number of edges that pool, two columns per setting: accuracy, and the lead over edges that do not."""
    lines = []
    for name, label in SIZES.items():
        line = [label]
        for setting in headings:
            own, nothing = of_name(rows, setting, name), of_name(rows, setting, "nothing")
            few = f" ({len(own)} of {len(nothing)} seeds)" if len(own) < len(nothing) else ""
            line.append(seed_mean([row[name] for row in own]) + few * bool(own))
            line.append("" if name == "nothing" else seed_gain(own, nothing, name, "nothing"))
        if any(line[1:]):
            lines.append(line)
    columns = [cell for heading in headings.values() for cell in (heading, "more than nothing")]
    return markdown(["edges that pool", *columns], lines)


SIZES = {"nothing": "nothing: each by its classifier", "own": "own: each its own statistics"}
SIZES |= {f"{size} edges": str(size) for size in GROUPS}
SIZES["default"] = f"{CLIENTS}, pairs drawn around the pooled means: the default"


def in_short(rows: list[Row]) -> str:
    """Accuracy of CIFAR-100's two shots by the number of edges that pool."""
    sizes = {"nothing": 1} | {f"{size} edges": size for size in GROUPS}
    cells = [seed_mean([row[name] for row in of_name(rows, "2 shots cnn4", name)]) for name in sizes]
    return markdown(["devices that pool", *map(str, sizes.values())], [["accuracy %", *cells]])


def by_kind(rows: list[Row]) -> str:
    """Edges with two architectures, a column each: what those with the other architecture add.

    Without seed 0, which chose the one number of the translation.
    """
    rows = [row for row in rows if row["seed"] > 0]
    setting, models = "2 shots cnn4,resnet4", {"cnn4": "4-layer CNN", "resnet4": "ResNet4"}
    ways = {
        "nothing": "nothing pooled",
        "own kind": "what their own kind pools",
        "all kinds": "what both kinds pool, translated: the default",
    }
    lines = []
    for name, label in ways.items():
        values = [[row[f"{model}, {name}"] for row in of_name(rows, setting, f"{model}, {name}")] for model in models]
        lines.append([label, *map(seed_mean, values)])
    every = [of_name(rows, setting, f"{model}, nothing") for model in models]
    gains = [
        seed_gain(own, own, f"{model}, all kinds", f"{model}, own kind")
        for own, model in zip(every, models, strict=True)
    ]
    lines.append(["what the other kind adds", *gains])
    return markdown(["edges classify by", *models.values()], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    federation_options(runs, SETTINGS, ARMS)


TABLES = {
    "all": table,
    "shots": partial(by_size, {"2 shots cnn4": "CIFAR-100", "fashion cnn4": "Fashion-MNIST"}),
    "epochs": partial(by_size, {"dirichlet cnn4": "Dirichlet 0.1", "pathological cnn4": "10 classes each"}),
    "short": in_short,
    "two architectures": by_kind,
}

if __name__ == "__main__":
    command_line("federation/pooling", __doc__, options, cells, TABLES)
