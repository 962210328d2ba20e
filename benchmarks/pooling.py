"""What edges learn from each other: trained edges that classify by themselves, and by what more and more of them pool.

Run: python benchmarks/pooling.py run "2 shots cnn4" ... --out pooling.jsonl [--seeds 3]
     python benchmarks/pooling.py table --out pooling.jsonl

Edges are trained once with random latents and nothing pooled. Then they classify the same test images by their own
classifier (`nothing`), by it and their own class statistics (`own`), and by those of groups of edges: of 2, 5, 10 or
all, and of those with the same architecture. The `default` arm is FedKTL as it is: its pairs are drawn around what was
pooled in the round before. The data is CIFAR-100's 20k subset, but for `fashion`, the embedded Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cells import Cell, Row, fill, read, run_options
from federated import CLIENTS, DATA, federation_options, folder_of
from seed_means import seed_mean
from torch import Tensor, nn

from ktl.checkpoint import load_checkpoint
from ktl.class_statistics import architecture_of
from ktl.cloud.pooling import pool_payloads
from ktl.data.settings import PartitionConfig
from ktl.federation.problem import federated_data, federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.exchange import CloudExchange
from ktl.loop.kept_session import KeptSession
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.methods.base import features_of
from ktl.methods.fedktl import mapped_images
from ktl.shared_space.pooled_model import PooledModel
from ktl.shared_space.translation import in_terms_of
from ktl.wire import decode_pooled, encode_statistics

GROUPS = (2, 5, 10, CLIENTS)
SHOTS = {f"{shots} shots {models}": (shots, models) for shots in (1, 2, 5) for models in ("cnn4", "cnn4,resnet4")}
EPOCHS = ("dirichlet cnn4", "pathological cnn4")
ARMS = ("apart", "default")
SETTINGS = (*SHOTS, "fashion cnn4", *EPOCHS)


def base_config(setting: str, seed: int, args: argparse.Namespace) -> FederationConfig:
    """FedKTL as it is: one round of 1.43 MB for shots of CIFAR-100, five of 0.143 MB for the other settings."""
    tuned, transfer = RECIPES["tuned"], federated_transfer()
    base = FederationConfig(source=str(args.data_root / DATA), rounds=5, transfer=transfer, seed=seed)
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


@dataclass(frozen=True)
class Edge:
    """A trained edge: what it makes of its test images, and the class statistics that it would send."""

    model: str
    classifier: nn.Module
    test: Tensor  # features (n, 512)
    labels: Tensor
    features: Tensor  # of its training images
    trained_on: Tensor  # their labels
    space_map: nn.Module
    statistics: bytes

    def right(self, statistics: bytes | None, classes: int) -> int:
        """Test images classified right, with pooled statistics or by the classifier alone."""
        if statistics is None:
            logits = self.classifier(self.test)
        else:
            parts = decode_pooled(statistics, classes, self.space_map.linear.out_features)
            of_all = in_terms_of(architecture_of(self.model), parts)
            known = (self.space_map, of_all, self.features, self.trained_on, classes)
            logits = PooledModel(nn.Identity(), self.classifier, *known)(self.test)
        return int((logits.argmax(dim=1) == self.labels).sum())


@torch.no_grad()
def trained_edges(config: FederationConfig, folder: Path) -> tuple[list[Edge], int]:
    """The edges of a finished run, and the number of classes."""
    data = federated_data(config.source, config.image_size, config.partition, config.seed)
    problem = federated_problem(config, data)
    tasks = {client: data.task(client) for client in range(CLIENTS)}
    edges, method = federated_edges(config, problem, tasks), make_method(config, problem)
    wire = folder / "wire"
    method.exchange = CloudExchange(problem.request, wire, KeptSession(wire, config.seed))
    tensors, progress = load_checkpoint(folder / "checkpoint.safetensors")
    answered = {round_index: message for round_index, (_, message) in method.answered().items()}
    edges.restore(folder / "clients", tensors, progress["clients"], answered)
    trained = []
    for learner in edges.learners.values():
        task, mapped = learner.task, mapped_images(learner)
        trained.append(
            Edge(
                learner.config.model,
                learner.model.classifier,
                features_of(learner, task.test_images),
                task.test_labels,
                mapped.features,
                task.shot_labels,
                mapped.space_map,
                encode_statistics(replace(mapped.statistics, architecture=architecture_of(learner.config.model))),
            )
        )
    return trained, problem.classes


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
            row |= {f"{model}, {name}": value for name, value in kinds(kind, edges, classes).items()}
    return row


def by_themselves(edges: Sequence[Edge], classes: int) -> Row:
    """By the classifier alone, and with each edge's own statistics."""
    alone = sum(edge.right(None, classes) for edge in edges) / sum(len(edge.labels) for edge in edges)
    return {"nothing": 100 * alone, "own": pooled_accuracy(in_groups(edges, 1), classes)}


def in_groups(edges: Sequence[Edge], size: int) -> list[Sequence[Edge]]:
    """Of `size` edges each, one after the other."""
    return [edges[i : i + size] for i in range(0, len(edges), size)]


def pooled_accuracy(groups: Sequence[Sequence[Edge]], classes: int, pool: Sequence[Edge] | None = None) -> float:
    """Edges that pool within their groups, or all with `pool`."""
    right = tested = 0
    for group in groups:
        statistics = together(pool or group, classes)
        right += sum(edge.right(statistics, classes) for edge in group)
        tested += sum(len(edge.labels) for edge in group)
    return 100 * right / tested


def kinds(kind: Sequence[Edge], edges: Sequence[Edge], classes: int) -> Row:
    """Edges of one architecture, by what those of it pool and by what all do."""
    return by_themselves(kind, classes) | {
        "own kind": pooled_accuracy([kind], classes),
        "all kinds": pooled_accuracy([kind], classes, edges),
    }


def together(edges: Sequence[Edge], classes: int) -> bytes:
    """What a cloud would send back to these edges."""
    dimension = edges[0].space_map.linear.out_features
    return pool_payloads([edge.statistics for edge in edges], classes, dimension)


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


def table(rows: list[Row]) -> str:
    """One line per way to classify: accuracy, and what it has more than edges that pool nothing, on the same seeds."""
    lines = [
        "| setting | edges classify by | seeds | accuracy % | more than nothing | by seed |",
        "|---|---|---|---|---|---|",
    ]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        apart = {row["seed"]: row for row in rows if row["setting"] == setting and row["arm"] == "apart"}
        default = {row["seed"]: row for row in rows if row["setting"] == setting and row["arm"] == "default"}
        names = [name for name in next(iter(apart.values()), {}) if name not in ("setting", "arm", "seed", "bytes_up")]
        for name in [*names, "default"]:
            of_name = {seed: row[name] for seed, row in (default if name == "default" else apart).items()}
            if not of_name:
                continue
            beside = f"{name.split(',')[0]}, nothing" if name.partition(",")[0] in MODELS else "nothing"
            leads = [value - apart[seed][beside] for seed, value in of_name.items() if seed in apart]
            lead = "" if name.endswith("nothing") or not leads else seed_mean(leads, sign="+")
            each = ", ".join(f"{value:.2f}" for value in of_name.values())
            lines.append(
                f"| {setting} | {name} | {len(of_name)} | {seed_mean([*of_name.values()])} | {lead} | {each} |"
            )
        for model in sorted({name.partition(",")[0] for name in names} & MODELS):
            gains = [row[f"{model}, all kinds"] - row[f"{model}, own kind"] for row in apart.values()]
            lines.append(
                f"| {setting} | {model}: what the other kind adds | {len(gains)} | | {seed_mean(gains, sign='+')} | |"
            )
    return "\n".join(lines)


MODELS = {"cnn4", "resnet4"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("settings", nargs="*", choices=[*SETTINGS, []], metavar="SETTING", help=", ".join(SETTINGS))
    run_options(runs)
    federation_options(runs)
    runs.add_argument("--arms", nargs="*", choices=ARMS, help="both if none")
    commands.add_parser("table").add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "table":
        print(table(read(args.out)))
        return
    fill(args.out, cells(args), args.part)


if __name__ == "__main__":
    main()
