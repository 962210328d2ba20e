"""Edges that pool class statistics, and a cloud that guesses what images are behind those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lib.cells import Row
from ktl.class_statistics import ClassStatistics, pooled
from ktl.cloud.drawing import FRESH, mean_latents, nearest_latents
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data import load_dataset
from ktl.data.partition import ClientIndex, FederatedData, share_out
from ktl.data.settings import PartitionConfig
from ktl.data.transforms import fit_batch
from ktl.federation.problem import federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.generators import load_generator
from ktl.generators.base import sample_latents
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import RECIPES
from ktl.loop.exchange import CloudExchange
from ktl.methods import METHODS
from ktl.methods.base import features_of
from ktl.methods.fedktl import mapped_images
from ktl.seeds import derive, stream
from ktl.statistics_noise import noised

POOLING = 20  # edges, the first ones
SHOTS = [2] * POOLING + [1] * 6 + [9] * 6  # of each edge
STEPS = 100
CANDIDATES = 20_000  # valid latents to choose from
EPSILONS = (8.0, 1.0)


@dataclass(frozen=True)
class Edge:
    """What one edge has after training: its images, its learner, and the statistics that it would send."""

    indices: Tensor
    learner: EdgeLearner
    statistics: ClassStatistics


def dealt(source: str, seed: int) -> FederatedData:
    """A data set of which each edge gets its shots; every edge is tested on what is left over."""
    data = share_out(load_dataset(source), PartitionConfig("iid", 1), seed)
    rng = np.random.default_rng(derive(seed, "privacy"))
    cuts = np.cumsum(SHOTS)
    dealt_out: list[list[Tensor]] = [[] for _ in range(len(SHOTS) + 1)]
    for label in range(len(data.class_names)):
        members = rng.permutation(np.flatnonzero(data.labels.numpy() == label))
        if len(members) < cuts[-1] + max(SHOTS):
            raise SystemExit(f"class {label} has {len(members)} images: give data with {cuts[-1] + max(SHOTS)} or more")
        for share, part in zip(dealt_out, np.split(members, cuts), strict=True):
            share.append(torch.from_numpy(part))
    *own, others = [torch.cat(share) for share in dealt_out]
    return replace(data, clients=[ClientIndex(share, others) for share in own])


def trained(source: str, seed: int) -> tuple[FederatedData, list[Edge], EdgeLearner]:
    """All edges after a round, and a learner with the weights that they had before they saw their own images."""
    data = dealt(source, seed)
    config = FederationConfig(
        method=METHODS.choose("fedktl", pool="all"),
        rounds=1,
        training=replace(RECIPES["tuned"], steps=STEPS),
        transfer=federated_transfer(),
        seed=seed,
    )
    problem, clients = federated_problem(config, data), range(len(SHOTS))
    with TemporaryDirectory() as wire:
        method = make_method(config, problem)
        method.exchange = CloudExchange(problem.request, Path(wire), EmbeddedCloud(load_generator("builtin")))
        edges = federated_edges(config, problem, {client: data.task(client) for client in clients})
        answer = method.answer(0, edges.ask(clients, 0))
        for client, outcome in edges.learn(clients, 0, answer).items():
            assert outcome.error is None, (client, outcome.error)
        network = federated_edges(config, problem, {0: data.task(0)}).learners[0]
        method.learn(network, answer)
    network.restore_model(edges._warmed[config.models][1])  # kept as all edges of an architecture start from it
    with torch.no_grad():
        parts = [
            Edge(share.train, each, mapped_images(each).statistics)
            for share, each in zip(data.clients, edges.learners.values(), strict=True)
        ]
    return data, parts, network


class Cloud:
    """A generator, a network that has seen no private image, and what they make of all images: for comparisons."""

    @torch.no_grad()
    def __init__(self, data: FederatedData, network: EdgeLearner, seed: int) -> None:
        self.generator = load_generator("builtin")
        self.fresh = sample_latents(self.generator, CANDIDATES, stream(seed, "curious cloud"))
        self.data = data
        self.network = network
        self.others = data.clients[0].test
        of_pairs = features_of(network, network.pairs.images)
        self._mean, self._deviation = of_pairs.mean(dim=0), of_pairs.std(dim=0).clamp_min(1e-6)
        features = features_of(network, data.images)
        self.features, self.points = self._direction(features), mapped_images(network).space_map(features)

    def drawn(self, means: Tensor, *, valid: bool = False) -> Tensor:
        """A picture of each class mean, as edges' images are: uint8 (m, channels, size, size)."""
        latents = nearest_latents(means, self.fresh) if valid else mean_latents(means, self.fresh[:FRESH])
        return fit_batch(self.generator.images(latents), self.data.images.shape[2], self.data.images.shape[1])

    @torch.no_grad()
    def shares(self, edge: Edge, pictures: Tensor, means: Tensor | None = None) -> dict[str, float]:
        """How often the edge's images are nearer, 0..1, by each comparison: the mean over classes."""
        features = self._direction(features_of(self.network, pictures))
        labels = self.data.labels
        found: dict[str, list[float]] = {}
        for row, label in enumerate(edge.statistics.classes.tolist()):
            own = edge.indices[edge.learner.task.shot_labels == label]
            others = self.others[labels[self.others] == label]
            compared = torch.cat([own, others])
            pixels = (self.data.images[compared].float() - pictures[row].float()).square().mean(dim=(1, 2, 3))
            distances = {"pixels": pixels, "features": -self.features[compared] @ features[row]}
            if means is not None:
                distances["latents"] = -self.points[compared] @ means[row]
            for name, values in distances.items():
                found.setdefault(name, []).append(nearer(values[: len(own)], values[len(own) :]))
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _direction(self, features: Tensor) -> Tensor:
        return F.normalize((features - self._mean) / self._deviation, dim=1)


def nearer(own: Tensor, others: Tensor) -> float:
    """How often the least of k `own` distances is below that of k of the `others`, all choices alike; ties are half."""
    k, choices = len(own), comb(len(others), len(own))
    above, not_below = (int(count) for count in ((others > own.min()).sum(), (others >= own.min()).sum()))
    return (comb(above, k) + comb(not_below, k)) / (2 * choices)


def statements(edges: list[Edge], seed: int) -> dict[str, list[ClassStatistics]]:
    """What each edge sends, by the noise that it adds: nothing, and each epsilon."""
    sent = {"": [edge.statistics for edge in edges]}
    for epsilon in EPSILONS:
        sent[f", epsilon {epsilon:g}"] = [
            noised(edge.statistics, epsilon, stream(seed, "noise", f"{epsilon:g}", index))
            for index, edge in enumerate(edges)
        ]
    return sent


def comparisons(cloud: Cloud, edges: list[Edge], sent: dict[str, list[ClassStatistics]]) -> Iterator[tuple[str, Row]]:
    """Each guess at an edge's images by name, and its shares."""
    for noise, statistics in sent.items():
        together = pooled(statistics[:POOLING])
        picture_of_all = cloud.drawn(together.means)
        for edge, shots, own in zip(edges, SHOTS, statistics, strict=True):
            yield f"own, {shots}{noise}", cloud.shares(edge, cloud.drawn(own.means), F.normalize(own.means, dim=1))
            if noise == "":
                yield f"own, {shots}, nearest valid latent", cloud.shares(edge, cloud.drawn(own.means, valid=True))
                yield f"control: mean of its {shots}", cloud.shares(edge, mean_images(edge))
        for edge in edges[:POOLING]:
            yield f"pooled, 20 x 2{noise}", cloud.shares(edge, picture_of_all, F.normalize(together.means, dim=1))


def mean_images(edge: Edge) -> Tensor:
    """The mean of an edge's images of each class, which no cloud sees: what a guess that knows them looks like."""
    task = edge.learner.task
    return torch.stack(
        [task.shot_images[task.shot_labels == c].float().mean(dim=0).byte() for c in edge.statistics.classes]
    )
