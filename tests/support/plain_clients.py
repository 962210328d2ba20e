"""Two clients in plain torch with the initial weights of a federation's, to compare its methods with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.data.partition import FederatedData
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.settings import FederationConfig
from ktl.loop.edges import Edges
from ktl.methods import METHODS
from ktl.methods.base import Method, Problem
from ktl.methods.message import Message
from ktl.registry import Choice, chosen

CLIENTS = [0, 1]
RATE = 0.05
CLASSES = 3


class Plain:
    """One client in plain torch: a copy of the initial network, its images and labels."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.body, self.head = copy.deepcopy(model.extractor), copy.deepcopy(model.classifier.projection)
        self.x, self.y = images.float() / 127.5 - 1.0, labels

    def step(self, extra: Callable[[Tensor, Tensor], Tensor] = lambda features, logits: torch.zeros(())) -> None:
        features = self.body(self.x)
        logits = self.head(features)
        descend(F.cross_entropy(logits, self.y) + extra(features, logits), [self.body, self.head])

    def means(self, of_logits: bool = False) -> dict[int, Tensor]:
        with torch.no_grad():
            values = self.body(self.x)
            values = self.head(values) if of_logits else values
        return {int(c): values[self.y == c].mean(dim=0) for c in self.y.unique()}

    def weights(self) -> list[Tensor]:
        return [p.detach() for module in (self.body, self.head) for p in module.parameters()]


def descend(loss: Tensor, modules: list[nn.Module]) -> None:
    gradients = torch.autograd.grad(loss, [p for m in modules for p in m.parameters()])
    for module in modules:
        own, gradients = gradients[: len(list(module.parameters()))], gradients[len(list(module.parameters())) :]
        apply(module, own, 1.0)


def apply(module: nn.Module, gradients: Any, factor: float) -> None:
    with torch.no_grad():
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            parameter -= RATE * factor * gradient


def start(
    method: str | Choice, config: FederationConfig, shared: FederatedData, problem: Problem
) -> tuple[Edges, Method, Any]:
    """The edges and the cloud of a method, and two plain clients with the same initial weights."""
    config = replace(config, method=method)
    problem = replace(problem, training=METHODS.load(chosen(config.method).name).recipe(config.training))
    edges = federated_edges(config, problem, {client: shared.task(client) for client in CLIENTS})
    plain = []
    for client in CLIENTS:
        task = shared.task(client)
        plain.append(Plain(edges.learners[client].model, task.shot_images, task.shot_labels))
    return edges, make_method(config, problem), plain


def one_round(edges: Edges, cloud: Method, round_index: int) -> Message:
    asked = {c: a for c, a in edges.ask(CLIENTS, round_index).items() if not isinstance(a, str)}
    message = cloud.answer(round_index, asked)
    outcomes = edges.learn(CLIENTS, round_index, message)
    assert [outcome.error for outcome in outcomes.values()] == [None, None]
    cloud.collect(round_index, {client: outcome.report for client, outcome in outcomes.items()})
    return message


def assert_same_weights(edges: Edges, plain: list[Plain]) -> None:
    for client, expected in zip(CLIENTS, plain, strict=True):
        model = edges.learners[client].model
        found = [*model.extractor.parameters(), *model.classifier.parameters()]
        for one, other in zip(found, expected.weights(), strict=True):
            assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def shares(plain: list[Plain]) -> list[float]:
    return [len(client.y) / sum(len(each.y) for each in plain) for client in plain]


def average(means: list[dict[int, Tensor]]) -> dict[int, Tensor]:
    classes = sorted(set().union(*means))
    return {c: torch.stack([each[c] for each in means if c in each]).mean(dim=0) for c in classes}
