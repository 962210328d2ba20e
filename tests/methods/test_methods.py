"""Each baseline against a few lines of plain torch: two clients, one round each way, then one step with the answer.

The plain side starts from the same initial weights and shares no code with ktl.federation.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from support.plain_clients import (
    CLASSES,
    apply,
    assert_same_weights,
    average,
    descend,
    one_round,
    shares,
    start,
)
from torch import Tensor

from ktl.data.partition import FederatedData
from ktl.federation.settings import FederationConfig
from ktl.methods import METHODS
from ktl.methods.base import Problem
from ktl.methods.fedkd import compress, decompress
from ktl.methods.fedtgp import adaptive_margin
from ktl.methods.message import Message
from ktl.seeds import stream  # the draws are all that both sides have in common


def test_lg_fedavg_averages_the_heads(plain: FederationConfig, shared: FederatedData, problem: Problem) -> None:
    edges, cloud, clients = start("lg-fedavg", plain, shared, problem)
    one_round(edges, cloud, 0)
    message = one_round(edges, cloud, 1)
    for client in clients:
        client.step()
    weight = sum(share * client.head.weight.detach() for share, client in zip(shares(clients), clients, strict=True))
    bias = sum(share * client.head.bias.detach() for share, client in zip(shares(clients), clients, strict=True))
    assert torch.allclose(message["weight"], weight, atol=1e-5)
    assert torch.allclose(message["bias"], bias, atol=1e-5)
    for client in clients:
        client.head.load_state_dict({"weight": weight, "bias": bias})
        client.step()
    assert_same_weights(edges, clients)


@pytest.mark.parametrize(("name", "weight", "of_logits"), [("fedproto", 10.0, False), ("feddistill", 1.0, True)])
def test_means_are_averaged_and_pulled_towards(
    plain: FederationConfig, shared: FederatedData, problem: Problem, name: str, weight: float, of_logits: bool
) -> None:
    edges, cloud, clients = start(name, plain, shared, problem)
    one_round(edges, cloud, 0)
    message = one_round(edges, cloud, 1)
    for client in clients:
        client.step()
    expected = average([client.means(of_logits) for client in clients])
    assert message["classes"].tolist() == list(expected)
    assert torch.allclose(message["means"], torch.stack(list(expected.values())), atol=1e-5)
    for client in clients:
        target = torch.stack([expected[int(label)] for label in client.y])
        client.step(lambda f, o, t=target: weight * F.mse_loss(o if of_logits else f, t))  # type: ignore[misc]
    assert_same_weights(edges, clients)


def test_fedproto_predicts_the_nearest_mean(plain: FederationConfig, shared: FederatedData, problem: Problem) -> None:
    edges, cloud, _ = start("fedproto", plain, shared, problem)
    one_round(edges, cloud, 0)
    message = one_round(edges, cloud, 1)
    learner = edges.learners[0]
    images = shared.images[:9].float() / 127.5 - 1.0
    with torch.no_grad():
        found = cloud.predictor(learner, message)(images).argmax(dim=1)
        features = learner.model.extractor(images)
    nearest = [(features[i] - message["means"]).norm(dim=1).argmin() for i in range(9)]
    assert found.tolist() == [int(message["classes"][i]) for i in nearest]


def test_fedgh_trains_one_head_on_the_means(plain: FederationConfig, shared: FederatedData, problem: Problem) -> None:
    edges, cloud, clients = start("fedgh", plain, shared, problem)
    head = cloud._new_head().projection  # type: ignore[attr-defined]
    initial = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    one_round(edges, cloud, 0)
    message = one_round(edges, cloud, 1)
    for client in clients:
        client.step()
    pairs = [(mean, c) for client in clients for c, mean in client.means().items()]
    assert len(pairs) <= 10  # one batch, so that its order plays no part
    weight, bias = initial["weight"].requires_grad_(), initial["bias"].requires_grad_()
    logits = torch.stack([mean for mean, _ in pairs]) @ weight.T + bias
    loss = F.cross_entropy(logits, torch.tensor([c for _, c in pairs]))
    by_weight, by_bias = torch.autograd.grad(loss, [weight, bias])
    assert torch.allclose(message["weight"], (weight - 0.01 * by_weight).detach(), atol=1e-5)
    assert torch.allclose(message["bias"], (bias - 0.01 * by_bias).detach(), atol=1e-5)
    for client in clients:
        client.head.load_state_dict(dict(message.tensors))
        client.step()
    assert_same_weights(edges, clients)


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    p = teacher.softmax(dim=1)
    return (p * (p.log() - student.softmax(dim=1).log())).sum(dim=1).mean()


def test_fml_trains_both_models_on_each_other(plain: FederationConfig, shared: FederatedData, problem: Problem) -> None:
    edges, cloud, clients = start("fml", plain, shared, problem)
    small = cloud.small_model()
    reports = []
    for client in clients:
        body, head = copy.deepcopy(small.extractor), copy.deepcopy(small.classifier.projection)
        private, common = client.head(client.body(client.x)), head(body(client.x))
        for modules, own, other in (((client.body, client.head), private, common), ((body, head), common, private)):
            loss = 0.5 * F.cross_entropy(own, client.y) + 0.5 * kl(other.detach(), own)
            parameters = [p for module in modules for p in module.parameters()]
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
            for module in modules:
                count = len(list(module.parameters()))
                apply(module, gradients[:count], min(1.0, 10.0 / norm))
                gradients = gradients[count:]
        reports.append([p.detach() for module in (body, head) for p in module.parameters()])
    one_round(edges, cloud, 0)
    assert_same_weights(edges, clients)
    averaged = [sum(s * t for s, t in zip(shares(clients), each, strict=True)) for each in zip(*reports, strict=True)]
    for found, expected in zip(cloud.answer(1, {}).tensors.values(), averaged, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_fedkd_distils_by_the_sum_of_the_cross_entropies_and_sends_factors(
    plain: FederationConfig, shared: FederatedData, problem: Problem
) -> None:
    edges, cloud, clients = start("fedkd", plain, shared, problem)
    message = cloud.answer(0, {})
    small = cloud.small_model()
    small.load_state_dict(dict(decompress(message).tensors))
    edges.method.learn(edges.learners[0], message)
    learnt_map = copy.deepcopy(edges.method._distillation.map)  # type: ignore[attr-defined]
    edges.learners[0].minimise()
    reports = []
    for client in clients:
        body, head, feature_map = (copy.deepcopy(m) for m in (small.extractor, small.classifier.projection, learnt_map))
        private_features, mentee_features = client.body(client.x), body(client.x)
        private, mentee = client.head(private_features), head(mentee_features)
        one, other = F.cross_entropy(private, client.y), F.cross_entropy(mentee, client.y)
        scale = (one + other).item()
        hidden = (private_features - mentee_features @ feature_map.weight.T).square().mean()
        loss = one + other + (kl(mentee.detach(), private) + kl(private.detach(), mentee) + hidden) / scale
        descend(loss, [client.body, client.head, body, head, feature_map])
        weights = {f"extractor.{n}": p.detach() for n, p in body.named_parameters()}
        weights |= {f"classifier.projection.{n}": p.detach() for n, p in head.named_parameters()}
        reports.append(weights)
    one_round(edges, cloud, 0)
    assert_same_weights(edges, clients)
    sent = decompress(cloud.answer(1, {}))
    for name, tensor in sent.tensors.items():
        parts = [kept(kept_once, 0.95) for kept_once in (report[name] for report in reports)]
        averaged = sum(share * part for share, part in zip(shares(clients), parts, strict=True))
        assert torch.allclose(tensor, kept(averaged, 0.98), atol=1e-4), name


def kept(matrix: Tensor, energy: float) -> Tensor:
    """The best approximation of the lowest rank with that share of the squared singular values; if it saves numbers."""
    if matrix.ndim < 2:
        return matrix
    flat = matrix.flatten(1).double()
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    for rank in range(1, len(s) + 1):
        if float(s[:rank].square().sum() / s.square().sum()) >= energy:
            break
    if rank * (sum(flat.shape) + 1) >= matrix.numel():
        return matrix
    return (u[:, :rank] @ s[:rank].diag() @ v[:rank]).reshape(matrix.shape).float()


def test_a_compressed_matrix_of_low_rank_comes_back_from_fewer_numbers() -> None:
    matrix = torch.randn(40, 3) @ torch.randn(3, 60)
    message = compress(Message({"w": matrix, "b": torch.ones(4)}), energy=1 - 1e-6)
    assert message["w/u"].shape == (40, 3)
    assert torch.allclose(decompress(message)["w"], matrix, atol=1e-3)
    assert torch.equal(decompress(message)["b"], torch.ones(4))


def test_fedgen_trains_its_generator_until_the_heads_know_the_classes(
    plain: FederationConfig, shared: FederatedData, problem: Problem
) -> None:
    """The generator's training, followed step by step with the same draws; 3 steps, as Adam's rounding errors grow."""
    edges, cloud, clients = start(METHODS.choose("fedgen", steps=3), plain, shared, problem)
    generator = copy.deepcopy(cloud._generator())  # type: ignore[attr-defined]
    one_round(edges, cloud, 0)
    message = cloud.answer(1, {})
    for client in clients:
        client.step()
    held = problem.counts.float()
    rng = stream(plain.seed, "fedgen", 0)
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.1)
    for _ in range(3):
        labels = torch.multinomial(held.sum(dim=0), 10, replacement=True, generator=rng)
        noise = torch.randn(10, 32, generator=rng)
        features = generator(torch.cat([noise, torch.eye(CLASSES)[labels]], dim=1))
        logits = sum(
            (held[i, labels] / held[:, labels].sum(dim=0))[:, None]
            * (features @ client.head.weight.detach().T + client.head.bias.detach())
            for i, client in enumerate(clients)
        )
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    found = {name.removeprefix("generator/"): t for name, t in message.tensors.items() if name.startswith("generator/")}
    sent = copy.deepcopy(generator)
    sent.load_state_dict(found)
    inputs = torch.cat([torch.randn(20, 32), torch.eye(CLASSES)[torch.arange(20) % CLASSES]], dim=1)
    # by what it draws: the bias before the normalisation has no gradient but rounding errors, which Adam blows up
    with torch.no_grad():
        drawn, expected = sent.train()(inputs), generator.train()(inputs)
    assert torch.linalg.norm(drawn - expected) < 0.01 * torch.linalg.norm(expected)
    weight = sum(share * client.head.weight.detach() for share, client in zip(shares(clients), clients, strict=True))
    assert torch.allclose(message["head/weight"], weight, atol=1e-5)


def test_the_margin_of_fedtgp_is_the_largest_distance_of_class_centres() -> None:
    means = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 3.0]])
    assert adaptive_margin(means, torch.tensor([0, 0, 1]), 5, 100.0) == pytest.approx(math.sqrt(18.0))
    assert adaptive_margin(100 * means, torch.tensor([0, 0, 1]), 5, 100.0) == 100.0
    assert adaptive_margin(means[:1], torch.tensor([3]), 5, 100.0) == 0.0


def test_fedtgp_trains_prototypes_by_the_contrast_with_a_margin(
    plain: FederationConfig, shared: FederatedData, problem: Problem
) -> None:
    edges, cloud, clients = start("fedtgp", plain, shared, problem)
    embedding, first, _, second = copy.deepcopy(cloud._new())  # type: ignore[attr-defined]
    one_round(edges, cloud, 0)
    message = one_round(edges, cloud, 1)
    for client in clients:
        client.step()
    pairs = [(mean, c) for client in clients for c, mean in client.means().items()]
    means, labels = torch.stack([mean for mean, _ in pairs]), [c for _, c in pairs]
    centres = average([client.means() for client in clients])
    margin = max((a - b).norm().item() for a in centres.values() for b in centres.values())
    parameters = [p for module in (embedding, first, second) for p in module.parameters()]
    for _ in range(100):
        prototypes = second(torch.relu(first(embedding.weight)))
        losses = []
        for mean, label in zip(means, labels, strict=True):
            distances = (mean - prototypes).square().sum(dim=1).sqrt()
            own = torch.exp(-(distances[label] + margin))
            others = sum(torch.exp(-distances[c]) for c in range(CLASSES) if c != label)
            losses.append(-torch.log(own / (own + others)))
        gradients = torch.autograd.grad(torch.stack(losses).mean(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.01 * gradient
    expected = second(torch.relu(first(embedding.weight))).detach()
    assert torch.allclose(message["means"], expected, atol=1e-4)
    for client in clients:
        target = expected[client.y]
        client.step(lambda features, logits, t=target: 0.1 * F.mse_loss(features, t))  # type: ignore[misc]
    assert_same_weights(edges, clients)
