"""FedL2G against plain torch: its gradients by forward differentiation, as a product of a Jacobian and a vector."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.plain_clients import CLASSES, CLIENTS, Plain, assert_same_weights, one_round, start
from torch import Tensor, nn
from torch.func import functional_call, jvp

from ktl.data.partition import FederatedData
from ktl.federation.settings import FederationConfig
from ktl.methods import METHODS
from ktl.methods.base import Problem
from ktl.methods.fedl2g import guiding_gradient
from ktl.methods.message import Message
from ktl.models.classifiers import LinearClassifier
from ktl.models.edge_model import build_model
from ktl.models.settings import ClassifierSettings
from ktl.seeds import stream  # the draws are all that both sides have in common

BOTH = ["fedl2g-l", "fedl2g-f"]


def by_a_jacobian(client: Plain, vectors: Tensor, of_logits: bool, rate: float, rng: torch.Generator) -> Tensor:
    """Rows c: 2 rate / (n d) times the sum over study images i of class c of J_i g.

    J_i is the Jacobian of the values of i by the weights w, g the quiz loss's gradient at w - rate (study loss's).
    """
    count = len(client.y)
    order = torch.randperm(count, generator=rng)
    study, quiz = order[: count // 2], order[-(count // 2) :]
    network = nn.Sequential(client.body, client.head)
    weights = {name: weight.detach() for name, weight in network.named_parameters()}

    def values(w: dict[str, Tensor], logits: bool) -> Any:
        body = nn.Sequential(client.body)  # the same names of weights
        kept = {name: weight for name, weight in w.items() if name.startswith("0.")}
        return functional_call(network, w, client.x[study]) if logits else functional_call(body, kept, client.x[study])

    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    loss = F.cross_entropy(values(leaves, True), client.y[study])
    loss = loss + (values(leaves, of_logits) - vectors[client.y[study]]).square().mean()
    gradients = torch.autograd.grad(loss, [*leaves.values()])
    stepped = {
        name: (weight - rate * gradient).requires_grad_()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    quizzed = F.cross_entropy(functional_call(network, stepped, client.x[quiz]), client.y[quiz])
    direction = dict(zip(stepped, torch.autograd.grad(quizzed, [*stepped.values()]), strict=True))
    _, along = jvp(lambda w: values(w, of_logits), (weights,), (direction,))
    summed = torch.zeros_like(vectors).index_add_(0, client.y[study], along.detach())
    return 2 * rate / along.numel() * summed


@pytest.mark.parametrize("warm_up_rounds", [0, 1])
@pytest.mark.parametrize("name", BOTH)
def test_guiding_vectors_are_learnt_from_what_they_do_to_a_quiz(
    plain: FederationConfig, shared: FederatedData, problem: Problem, name: str, warm_up_rounds: int
) -> None:
    of_logits, rate = name == "fedl2g-l", 0.1
    cloud_rate = 100.0 if of_logits else 1e4  # such that vectors move by about 1
    method = METHODS.choose(name, learning_rate=cloud_rate, pseudo_rate=rate, warm_up_rounds=warm_up_rounds)
    edges, cloud, clients = start(method, plain, shared, problem)
    vectors = cloud.answer(0, {})["vectors"].clone()
    assert vectors.shape == (CLASSES, CLASSES if of_logits else 512)
    for round_index in (0, 1):
        one_round(edges, cloud, round_index)
        gradients = []
        for client in clients:
            target = vectors[client.y]

            def guidance(features: Tensor, logits: Tensor, t: Tensor = target) -> Tensor:
                return F.mse_loss(logits if of_logits else features, t)

            client.step(*([guidance] if round_index >= warm_up_rounds else []))
            rng = stream(plain.seed, "fedl2g", round_index)
            gradients.append(by_a_jacobian(client, vectors, of_logits, rate, rng))
        assert_same_weights(edges, clients)
        before = vectors.clone()
        for c in range(CLASSES):
            sent = [gradient[c] for gradient in gradients if gradient[c].any()]
            vectors[c] -= cloud_rate * sum(sent) / max(len(sent), 1)
        assert (vectors - before).abs().max() > 0.05
        found = cloud.answer(round_index + 1, {})["vectors"]
        assert torch.allclose(found, vectors, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BOTH)
def test_a_class_moves_by_the_mean_of_the_clients_that_sent_it(
    plain: FederationConfig, shared: FederatedData, problem: Problem, name: str
) -> None:
    _, cloud, _ = start(METHODS.choose(name, learning_rate=1.0), plain, shared, problem)
    vectors = cloud.answer(0, {})["vectors"].clone()
    ones = torch.ones(2, vectors.shape[1])
    reports = {
        0: Message({"gradients": ones * torch.tensor([[1.0], [2.0]]), "classes": torch.tensor([0, 2])}),
        1: Message({"gradients": 4 * ones[:1], "classes": torch.tensor([2])}),
    }
    cloud.collect(0, reports)
    moved = (vectors - cloud.answer(1, {})["vectors"]).mean(dim=1)
    assert torch.allclose(moved, torch.tensor([1.0, 0.0, 3.0]), atol=1e-5)


def test_the_step_of_the_cloud_is_clipped(plain: FederationConfig, shared: FederatedData, problem: Problem) -> None:
    _, cloud, _ = start(METHODS.choose("fedl2g-l", learning_rate=0.5), plain, shared, problem)
    before = cloud.answer(0, {})["vectors"].clone()
    cloud.collect(0, {0: Message({"gradients": torch.full((1, 3), 1e6), "classes": torch.tensor([1])})})
    assert (cloud.answer(1, {})["vectors"] - before).norm() == pytest.approx(0.5 * 100.0, rel=1e-4)


@pytest.mark.parametrize("name", BOTH)
def test_what_travels_is_a_vector_for_each_class(
    plain: FederationConfig, shared: FederatedData, problem: Problem, name: str
) -> None:
    edges, cloud, _ = start(name, plain, shared, problem)
    size = CLASSES if name == "fedl2g-l" else 512
    message = cloud.answer(0, {})
    assert cloud.numbers_down(message) == CLASSES * size
    report = edges.learn([0], 0, message)[0].report
    assert cloud.numbers_up(report) == len(report["classes"]) * size
    assert set(report["classes"].tolist()) <= set(shared.task(0).shot_labels.tolist())


def test_a_client_whose_quiz_diverges_is_left_out(
    plain: FederationConfig, shared: FederatedData, problem: Problem
) -> None:
    edges, cloud, _ = start(METHODS.choose("fedl2g-f", pseudo_rate=1e30), plain, shared, problem)
    outcomes = edges.learn(CLIENTS, 0, cloud.answer(0, {}))
    assert {outcome.error for outcome in outcomes.values()} == {"its quiz diverged after a pseudo step of rate 1e+30"}


@pytest.mark.parametrize("model", ["resnet4", pytest.param("vit-b32", marks=pytest.mark.slow)])
def test_running_statistics_stay_and_attention_has_second_derivatives(model: str) -> None:
    private = build_model(
        model,
        channels=1,
        image_size=16,
        classes=2,
        seed=0,
        etf_seed=0,
        settings=ClassifierSettings(smoothing=0.0),
        classifier=LinearClassifier,
    )
    before = copy.deepcopy(private.state_dict())
    rng = torch.Generator().manual_seed(0)
    study, quiz = ((torch.randn(4, 1, 16, 16, generator=rng), torch.tensor([0, 0, 1, 1])) for _ in range(2))
    vectors = torch.randn(2, 512, generator=rng)
    gradient = guiding_gradient(private, vectors, study, quiz, rate=0.01, of_logits=False)
    assert all(bool(row.any()) for row in gradient)
    assert all(torch.equal(tensor, before[name]) for name, tensor in private.state_dict().items())
