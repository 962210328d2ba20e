"""FedMRL against plain torch: two clients, two rounds, and what predicts."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from support.plain_clients import CLIENTS, Plain, descend, one_round, shares, start
from torch import Tensor, nn

from ktl.data.partition import FederatedData
from ktl.federation.settings import FederationConfig
from ktl.loop.edges import Edges
from ktl.methods.base import Method, Problem


class Fusing:
    """A plain client that has a projector, and a shared model of which 128 features are taken."""

    def __init__(self, private: Plain, projector: nn.Linear) -> None:
        self.private = private
        self.projector = copy.deepcopy(projector)

    def take(self, body: nn.Module, head: nn.Module) -> None:
        self.body, self.head = copy.deepcopy(body), copy.deepcopy(head)

    def fused(self, images: Tensor) -> Tensor:
        shared = self.body(images).reshape(len(images), 128, 4).mean(dim=2)  # of 512, each four neighbours
        both = torch.cat([shared, self.private.body(images)], dim=1)
        return both @ self.projector.weight.T + self.projector.bias

    def step(self) -> None:
        fused, labels = self.fused(self.private.x), self.private.y
        loss = F.cross_entropy(self.head(fused[:, :128]), labels)
        loss = loss + F.cross_entropy(self.private.head(fused), labels)
        descend(loss, [self.private.body, self.private.head, self.projector, self.body, self.head])


# edges, cloud, plain clients, and the shared model's initial body and head
Parties = tuple[Edges, Method, list[Fusing], nn.Module, nn.Module]


@pytest.fixture
def parties(plain: FederationConfig, shared: FederatedData, problem: Problem) -> Parties:
    edges, cloud, clients = start("fedmrl", plain, shared, problem)
    projectors = [edges.learners[client].model.classifier.projector for client in CLIENTS]  # type: ignore[union-attr]
    fusing = [Fusing(client, projector) for client, projector in zip(clients, projectors, strict=True)]  # type: ignore[arg-type]
    small = cloud.small_model()
    return edges, cloud, fusing, small.extractor[0], small.classifier.projection  # type: ignore[index]


def test_fedmrl_trains_both_heads_on_the_fused_features_and_averages_the_shared_model(parties: Parties) -> None:
    edges, cloud, clients, body, head = parties
    for round_index in (0, 1):
        one_round(edges, cloud, round_index)
        for client in clients:
            client.take(body, head)
            client.step()
        for index, client in zip(CLIENTS, clients, strict=True):
            model = edges.learners[index].model
            found = [*model.extractor.parameters(), *model.classifier.parameters()]
            expected = [*client.private.weights(), *client.projector.parameters()]
            for one, other in zip(found, expected, strict=True):
                assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)
        weights = shares([client.private for client in clients])
        trained = [[*client.body.parameters(), *client.head.parameters()] for client in clients]
        common = [*body.parameters(), *head.parameters()]
        with torch.no_grad():
            for parameter, *each in zip(common, *trained, strict=True):
                parameter.copy_(sum(share * tensor for share, tensor in zip(weights, each, strict=True)))  # type: ignore[arg-type]
        for sent, parameter in zip(cloud.answer(round_index + 1, {}).tensors.values(), common, strict=True):
            assert torch.allclose(sent, parameter, atol=1e-5)


def test_fedmrl_predicts_by_the_private_head_with_the_shared_model_that_the_client_has(parties: Parties) -> None:
    edges, cloud, clients, body, head = parties
    message = cloud.answer(0, {})
    edges.learn([0], 0, message)
    for client in clients:
        client.take(body, head)
    clients[0].step()  # the other one did not train
    images = clients[0].private.x
    with torch.no_grad():
        for index, client in zip(CLIENTS, clients, strict=True):
            found = edges.method.predictor(edges.learners[index], message).eval()(images)
            assert torch.allclose(found, client.private.head(client.fused(images)), atol=1e-5)


def test_what_travels_for_fedmrl_has_a_head_of_128_features(parties: Parties) -> None:
    edges, cloud, _, body, _ = parties
    expected = sum(parameter.numel() for parameter in body.parameters()) + 129 * cloud.problem.classes
    message = cloud.answer(0, {})
    assert cloud.numbers_down(message) == expected
    assert cloud.numbers_up(edges.learn([0], 0, message)[0].report) == expected
