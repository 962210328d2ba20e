"""Edges of a finished federation, and how well they classify by themselves or by what groups of them pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.lib.cells import Row
from benchmarks.lib.federations import CLIENTS
from ktl.checkpoint import load_checkpoint
from ktl.class_statistics import architecture_of
from ktl.cloud.pooling import pool_payloads
from ktl.federation.problem import federated_data, federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.settings import FederationConfig
from ktl.loop.exchange import CloudExchange
from ktl.loop.kept_session import KeptSession
from ktl.methods.base import features_of
from ktl.methods.fedktl import mapped_images
from ktl.shared_space.pooled_model import PooledModel
from ktl.shared_space.translation import in_terms_of
from ktl.wire import decode_pooled, encode_statistics

GROUPS = (2, 5, 10, CLIENTS)


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


def together(edges: Sequence[Edge], classes: int) -> bytes:
    """What a cloud would send back to these edges."""
    dimension = edges[0].space_map.linear.out_features
    return pool_payloads([edge.statistics for edge in edges], classes, dimension)
