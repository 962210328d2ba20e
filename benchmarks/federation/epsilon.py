"""What noise costs 20, 100 and 500 edges that pool: accuracy by epsilon.

Run: python -m benchmarks.federation.epsilon run [--clients 20 100 500] [--steps 40] [--seeds 1]
     python -m benchmarks.federation.epsilon table

CIFAR-100's 20k subset by its 20 superclasses, which have 1,000 images each: enough for 500 edges with one image of each
class, and images to test on. FedKTL, 4-layer CNN, the cloud's warm start, one round, so that noise changes nothing but
what is pooled: the edges are trained once, and then classify by pooled statistics with the noise of each epsilon.

Noise is added in two ways: by each edge, enough for itself; or by all together, as under secure aggregation, each an
m-th of the variance, where m is the fewest edges that a sum may be of. A cell is a number of edges and a seed; those
that `--out` has are skipped, and one that was stopped goes on with the edges in a folder beside `--out`.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.federations import DATA, folder_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_mean
from ktl.class_statistics import ClassStatistics, pooled
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data import load_dataset
from ktl.data.dataset import Dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.settings import PartitionConfig
from ktl.federation.problem import federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.files import replace_atomically
from ktl.flower.secure_terms import fewest_in_sum
from ktl.generators import load_generator
from ktl.learning.learner import EdgeLearner
from ktl.learning.process import prepare_process
from ktl.learning.settings import RECIPES
from ktl.loop.exchange import CloudExchange
from ktl.methods import METHODS
from ktl.methods.base import Problem, features_of
from ktl.methods.fedktl import mapped_images
from ktl.methods.message import Message
from ktl.models.edge_model import extractor_weights
from ktl.prototypes import bare_prototypes
from ktl.seeds import stream
from ktl.shared_space.discriminant import discriminant
from ktl.shared_space.pooled_model import PooledModel, share_of
from ktl.statistics_noise import noise_deviation, with_noise
from ktl.wire import encode_prototypes

EPSILONS = (30.0, 10.0, 3.0, 1.0)
GROUP = 20  # edges in memory at a time
SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}


@dataclass(frozen=True)
class Edge:
    """What a trained edge has for its test images, and the class statistics that it would send without noise.

    model: of features, by these statistics of its own and its classifier.
    """

    model: PooledModel
    counts: Tensor  # (classes,) of its training images
    test: Tensor  # features
    labels: Tensor
    statistics: ClassStatistics

    @torch.no_grad()
    def right(self, closing: ClassStatistics | None) -> int:
        """Test images classified right, with pooled statistics or by the edge's own classifier alone."""
        if closing is None:
            scores = self.model.classifier(self.test)
        else:  # the rest of the model takes longer to make, and is the same for all
            self.model.pooled_scores = discriminant(closing, len(self.counts))
            self.model.share = share_of(self.counts, closing)
            scores = self.model(self.test)
        return int((scores.argmax(dim=1) == self.labels).sum())


def by_superclass(dataset: Dataset) -> Dataset:
    """CIFAR-100 with its 20 superclasses for classes."""
    names = [*SUPERCLASSES]
    of_class = {name: index for index, members in enumerate(SUPERCLASSES.values()) for name in members.split()}
    index = np.array([of_class[name] for name in dataset.class_names])
    train, test = (replace(split, labels=index[split.labels]) for split in (dataset.train, dataset.test))
    return replace(dataset, class_names=names, train=train, test=test)


def trained(config: FederationConfig, data: FederatedData, folder: Path) -> list[Edge]:
    """Every edge after its round, group by group; `folder` keeps those that are done."""
    problem = federated_problem(config, data)
    answer, warm = opened(config, problem, data)
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Edge] = []
    for first in range(0, len(data.clients), GROUP):
        file = folder / f"{first}.pt"
        if not file.exists():
            clients = range(first, min(first + GROUP, len(data.clients)))
            edges = federated_edges(config, problem, {client: data.task(client) for client in clients}, warm)
            for client, outcome in edges.learn(clients, 0, answer).items():
                assert outcome.error is None, (client, outcome.error)
            group = [seen(learner) for learner in edges.learners.values()]
            replace_atomically(file, lambda path, group=group: torch.save(group, path))  # type: ignore[misc]
        found += torch.load(file, weights_only=False)  # this program wrote it
    return found


def opened(config: FederationConfig, problem: Problem, data: FederatedData) -> tuple[Message, dict[str, bytes]]:
    """What the cloud answers in the only round, and the warm start that edges begin with."""
    method = make_method(config, problem)
    uploads = [encode_prototypes(bare_prototypes(data.task(client).shot_labels)) for client in range(len(data.clients))]
    asked = {client: Message(payloads={"prototypes": upload}) for client, upload in enumerate(uploads)}
    with TemporaryDirectory() as wire:
        exchange = CloudExchange(problem.request, Path(wire), EmbeddedCloud(load_generator("builtin")))
        method.exchange = exchange
        answer = method.answer(0, asked)
        like = extractor_weights(config.models, problem.channels, problem.image_size)
        return answer, {config.models: exchange.warm_start(config.models, like)}


@torch.no_grad()
def seen(learner: EdgeLearner) -> Edge:
    """What of a trained learner is needed here."""
    task, mapped, classes = learner.task, mapped_images(learner), len(learner.task.class_names)
    classifier = learner.model.classifier.eval()
    known = (mapped.space_map, mapped.statistics, mapped.features, task.shot_labels, classes)
    model, counts = PooledModel(nn.Identity(), classifier, *known), task.shot_labels.bincount(minlength=classes)
    return Edge(model, counts, features_of(learner, task.test_images), task.test_labels, mapped.statistics)


def closings(
    edges: Sequence[Edge], delta: float, fewest: int, seed: int
) -> Iterator[tuple[str, ClassStatistics | None]]:
    """What is pooled by each way of adding noise; None for nothing."""
    yield "alone", None
    total = pooled(edge.statistics for edge in edges)
    yield "no noise", total
    for epsilon in EPSILONS:
        deviation, rng = noise_deviation(epsilon, delta), stream(seed, "noise", f"{epsilon:g}")
        yield f"each, epsilon {epsilon:g}", pooled(with_noise(edge.statistics, deviation, rng) for edge in edges)
        yield f"sum, epsilon {epsilon:g}", with_noise(total, deviation * math.sqrt(len(edges) / fewest), rng)


def measure(source: str, clients: int, steps: int, delta: float, seed: int, folder: Path) -> Row:
    """Mean test accuracy over all test images in percent, by what is pooled; seconds of a core since the last start."""
    prepare_process(1)
    started = time.process_time()
    config = FederationConfig(
        method=METHODS.choose("fedktl", pool="none"),  # what they pool is reckoned here
        partition=PartitionConfig("shots", clients, shots=1),
        rounds=1,
        training=replace(RECIPES["tuned"], steps=steps, epochs=None, min_steps=0),
        transfer=federated_transfer(),
        warm_start="cloud",
        seed=seed,
    )
    data = share_out(by_superclass(load_dataset(source)), config.partition, seed)
    edges = trained(config, data, folder)
    fewest, tested = fewest_in_sum(clients), sum(len(edge.labels) for edge in edges)
    percent = {
        name: 100 * sum(edge.right(closing) for edge in edges) / tested
        for name, closing in closings(edges, delta, fewest, seed)
    }
    shutil.rmtree(folder)
    return {"accuracy": percent, "tested": tested, "fewest": fewest, "seconds": round(time.process_time() - started)}


PREDICTED_BY = {
    "alone": "their own classifier alone",
    "no noise": "pooled statistics without noise, too",
    **{f"sum, epsilon {e:g}": f"... epsilon {e:g}, noise shared by all of a secure sum" for e in EPSILONS},
    **{f"each, epsilon {e:g}": f"... epsilon {e:g}, all of the noise by each edge" for e in EPSILONS},
}


def table(rows: list[Row]) -> str:
    """Accuracy in percent, a column for each number of edges and of their steps; means over seeds."""
    columns = sorted({(row["clients"], row["steps"]) for row in rows})
    lines = []
    for name, label in PREDICTED_BY.items():
        cells = [[r["accuracy"][name] for r in rows if (r["clients"], r["steps"]) == column] for column in columns]
        lines.append([label, *map(seed_mean, cells)])
    return markdown(["edges predict by", *(f"{clients} edges, {steps} steps" for clients, steps in columns)], lines)


def cells(args: argparse.Namespace) -> list[Cell]:
    """One for each number of edges and seed."""
    source, found = str(args.data_root / DATA), []
    for seed in range(args.seeds):
        for clients in args.clients:
            key = {"clients": clients, "steps": args.steps, "delta": args.delta, "seed": seed}
            found.append(Cell(key, measure, (source, *key.values(), folder_of(args.out, key))))
    return found


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--clients", type=int, nargs="+", default=[20, 100, 500])
    runs.add_argument("--steps", type=int, default=40, help="on the shots, of each edge")
    runs.add_argument("--delta", type=float, default=1e-5)
    runs.add_argument("--seeds", type=int, default=1)


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("federation/epsilon", __doc__, options, cells, TABLES)
