"""FedKTL with pooled class statistics: what predicts, what travels, and runs that are stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.checkpoint import load_checkpoint
from ktl.class_statistics import class_statistics, pooled
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import FederatedData
from ktl.data.transforms import to_network
from ktl.errors import Interrupted, UsageError
from ktl.federation.problem import federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.files import read_rows
from ktl.generators.network import NetworkGenerator
from ktl.loop.edges import Edges
from ktl.loop.exchange import CloudExchange
from ktl.methods import METHODS
from ktl.methods.base import Method
from ktl.methods.message import Message
from ktl.shared_space.discriminant import discriminant
from ktl.wire import decode_pooled, decode_statistics, encode_statistics


@pytest.fixture
def pooling(plain: FederationConfig) -> FederationConfig:
    training = replace(plain.training, steps=6, batch=16)
    return replace(plain, method=METHODS.choose("fedktl", pool="all"), rounds=3, training=training)


def first_round(
    config: FederationConfig, shared: FederatedData, cloud: EmbeddedCloud, wire: Path
) -> tuple[Edges, Method, Message, dict[int, Message]]:
    """Both clients after a round: edges, cloud, its answer, and the reports."""
    problem = federated_problem(config, shared)
    edges = federated_edges(config, problem, {0: shared.task(0), 1: shared.task(1)})
    method = make_method(config, problem)
    method.exchange = CloudExchange(problem.request, wire, cloud)
    asked = {c: m for c, m in edges.ask([0, 1], 0).items() if isinstance(m, Message)}
    answer = method.answer(0, asked)
    reports = {client: outcome.report for client, outcome in edges.learn([0, 1], 0, answer).items()}
    return edges, method, answer, reports


def points(edges: Edges, client: int, images: Tensor) -> Tensor:
    """Where an edge sees images in the space of latents: a ridge regression of 64 degrees of freedom, written anew."""
    learner = edges.learners[client]
    pairs = learner.pairs
    assert pairs is not None
    with torch.no_grad():
        x, z = (learner.model.extractor(to_network(each)).double() for each in (pairs.images, images))
    mean, deviation = x.mean(dim=0), x.std(dim=0, unbiased=False)
    alive = deviation > 1e-6 * deviation.max()
    design, asked = (((each - mean) / deviation)[:, alive] for each in (x, z))
    y = pairs.vectors.double()
    targets = (y - y.mean(dim=0)) / y.std(dim=0, unbiased=False)
    left, singular, right = torch.linalg.svd(design, full_matrices=False)
    low, high = torch.tensor(1e-9), torch.tensor(1e9)
    for _ in range(200):
        penalty = (low * high).sqrt()
        freedom = float((singular**2 / (singular**2 + penalty)).sum())
        low, high = (penalty, high) if freedom > 64 else (low, penalty)
    weight = right.T @ ((singular / (singular**2 + high))[:, None] * (left.T @ targets))
    return F.normalize(asked @ weight, dim=1).float()


def test_edges_send_the_sums_of_their_images_points_and_predict_by_those_of_all(
    pooling: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    edges, method, answer, reports = first_round(pooling, shared, EmbeddedCloud(tiny_generator), tmp_path / "wire")
    classes, tasks = method.problem.classes, {client: shared.task(client) for client in (0, 1)}
    seen = {client: points(edges, client, task.shot_images) for client, task in tasks.items()}
    for client, task in tasks.items():
        sent = decode_statistics(reports[client].payloads["statistics"], classes, tiny_generator.latent_dim)
        expected = class_statistics(seen[client], task.shot_labels)
        torch.testing.assert_close(sent.means, expected.means, atol=0.01, rtol=0)
        assert sent.counts.tolist() == expected.counts.tolist()
    closing = method.close(0, answer, reports)
    statistics = pooled(decode_pooled(closing.payloads["statistics"], classes, tiny_generator.latent_dim))
    everyone = class_statistics(torch.cat([*seen.values()]), torch.cat([task.shot_labels for task in tasks.values()]))
    torch.testing.assert_close(statistics.means, everyone.means, atol=0.02, rtol=0)
    for client, task in tasks.items():
        model, counts = edges.learners[client].model, task.shot_labels.bincount(minlength=classes) + 0.1
        mine, all_images = task.shot_labels, torch.cat([each.shot_labels for each in tasks.values()])
        share = sum(int((mine == y).sum()) / int((all_images == y).sum()) for y in mine) / len(mine)
        with torch.no_grad():
            found = edges.method.predictor(edges.learners[client], closing).eval()(to_network(task.test_images))
            known, seen_now = (model.extractor(to_network(each)) for each in (task.shot_images, task.test_images))
            own = discriminant(class_statistics(known, mine), classes, 0.5)(seen_now)
            own += model(to_network(task.test_images)).log_softmax(dim=1)
            of_all = discriminant(statistics, classes)(points(edges, client, task.test_images))
        expected_logits = (1 - share) * of_all + share * own + (counts / counts.sum()).log()
        torch.testing.assert_close(found, expected_logits, atol=1e-3, rtol=1e-3)


def test_what_closes_a_round_is_counted_and_what_edges_predict_by_is_tested(
    pooling: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    def run(**settings: Any) -> Path:
        out = tmp_path / "-".join(map(str, settings.values()))
        federate(replace(pooling, method=METHODS.choose("fedktl", **settings)), out, data=shared, workers=0)
        return out

    without, alone, told = (read_rows(run(pool=pool) / "metrics.jsonl") for pool in ("none", "own", "all"))
    sizes = [file.stat().st_size for file in sorted((tmp_path / "all" / "wire").glob("round-001-*"))]
    names = [file.name for file in sorted((tmp_path / "all" / "wire").glob("round-001-*"))]
    assert names == [
        *("round-001-pairs.safetensors", "round-001-pooled.safetensors"),
        *(f"round-001-{kind}-{c}.safetensors" for kind in ("prototypes", "statistics") for c in (0, 1)),
    ]
    assert told[0]["bytes_up"] == sum(sizes[2:])
    assert told[0]["bytes_down"] - without[0]["bytes_down"] == 2 * sizes[1]
    assert told[0]["bytes_broadcast"] - without[0]["bytes_broadcast"] == sizes[1]
    assert told[0]["numbers_up"] > without[0]["numbers_up"]
    assert [row["bytes_up"] for row in alone] == [row["bytes_up"] for row in without]
    assert [row["bytes_down"] for row in alone] == [row["bytes_down"] for row in without]
    assert [row["accuracy"] for row in told] != [row["accuracy"] for row in without]


def test_a_pooling_run_that_is_stopped_goes_on_to_the_same_bits(
    pooling: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    config = replace(pooling, join_ratio=0.5)
    federate(config, tmp_path / "whole", data=shared, workers=0)
    for _ in (1, 2):
        stops = iter((False, True))
        with pytest.raises(Interrupted):
            federate(
                config,
                tmp_path / "parts",
                data=shared,
                workers=0,
                resume=True,
                should_stop=lambda stops=stops: next(stops),  # type: ignore[misc]
            )
    federate(config, tmp_path / "parts", data=shared, workers=0, resume=True)
    one, other = (load_checkpoint(tmp_path / name / "checkpoint.safetensors")[1] for name in ("whole", "parts"))
    assert one["scores"] == other["scores"]
    wires = [{f.name: f.read_bytes() for f in (tmp_path / name / "wire").iterdir()} for name in ("whole", "parts")]
    assert wires[0] == wires[1]
    assert sum("pooled" in name for name in wires[0]) == 3


def test_a_client_that_takes_part_again_replaces_what_it_sent_before(
    pooling: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    cloud = EmbeddedCloud(tiny_generator)
    _, method, _, reports = first_round(pooling, shared, cloud, tmp_path / "wire")
    classes, dimension = method.problem.classes, tiny_generator.latent_dim
    uploads = {client: report.payloads["statistics"] for client, report in reports.items()}
    both = pooled(decode_pooled(cloud.pool(uploads), classes, dimension))
    alone = decode_statistics(uploads[0], classes, dimension)
    assert int(both.counts.sum()) == sum(len(shared.task(client).shot_labels) for client in (0, 1))
    again = cloud.pool({1: encode_statistics(alone)})
    assert int(pooled(decode_pooled(again, classes, dimension)).counts.sum()) == 2 * int(alone.counts.sum())


def test_vectors_that_are_too_wide_are_refused(
    pooling: FederationConfig,
    shared: FederatedData,
    tiny_generator: NetworkGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ktl.methods.fedktl.MAX_DIMENSION", tiny_generator.latent_dim - 1)
    with pytest.raises(UsageError, match=r"cannot be pooled, only up to \d+: give --space projection"):
        federate(pooling, tmp_path / "wide", data=shared, workers=0)


def test_an_edge_with_nobody_to_pool_with_goes_by_its_own_statistics(
    pooling: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    edges, method, answer, reports = first_round(pooling, shared, EmbeddedCloud(tiny_generator), tmp_path / "wire")
    images = to_network(shared.task(0).test_images)
    with torch.no_grad():
        of_one = edges.method.predictor(edges.learners[0], method.close(0, answer, {0: reports[0]})).eval()(images)
        own = make_method(replace(pooling, method=METHODS.choose("fedktl", pool="own")), method.problem)
        torch.testing.assert_close(of_one, own.predictor(edges.learners[0], answer).eval()(images))


def test_noise_of_a_stated_epsilon_is_on_what_is_sent_and_differs_from_run_to_run(
    pooling: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    noisy = replace(pooling, method=METHODS.choose("fedktl", epsilon=20.0))
    sent = []
    longer = replace(noisy, rounds=6)  # of one step each
    for name, config in (("clean", pooling), ("noisy", noisy), ("again", noisy), ("longer", longer)):
        reports = first_round(config, shared, EmbeddedCloud(tiny_generator), tmp_path / name)[3]
        payload = reports[0].payloads["statistics"]
        sent.append(decode_statistics(payload, len(shared.class_names), tiny_generator.latent_dim).sums)
    deviations = [(sent[0] - each).std().item() for each in (sent[1], sent[2])]
    assert min(deviations) > 0.3
    assert not torch.equal(sent[1], sent[2])
    assert (sent[0] - sent[3]).std().item() > 1.5 * max(deviations)  # three times as many rounds share the epsilon


def test_the_published_alignment_pools_nothing_unless_asked_to(
    pooling: FederationConfig, shared: FederatedData
) -> None:
    published = replace(pooling, method="fedktl", cloud=replace(pooling.cloud, alignment="published"))
    assert not make_method(published, federated_problem(published, shared)).closes_rounds
    asked = replace(published, method=METHODS.choose("fedktl", pool="all"))
    assert make_method(asked, federated_problem(asked, shared)).closes_rounds
