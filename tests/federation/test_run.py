"""The round loop: figures, resume, processes, and clients that fail, drop out, come late or have no images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ktl.checkpoint import load_checkpoint, prefixed
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import ClientIndex, FederatedData
from ktl.data.settings import PartitionConfig
from ktl.errors import DataError, Interrupted, UsageError
from ktl.federation.problem import federated_data, federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.files import Row
from ktl.generators.network import NetworkGenerator
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import EdgeConfig, TrainingConfig
from ktl.loop.exchange import CloudExchange
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.wire import (
    SessionReply,
    decode_message,
    decode_pairs,
    encode_message,
    encode_prototypes,
)


def without_seconds(rows: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def saved(out: Path) -> dict[str, Tensor]:
    tensors, progress = load_checkpoint(out / "checkpoint.safetensors")
    versions = {client: version for client, version in progress["clients"].items() if version > 0}
    names = {f"client-{client}.{version}.safetensors": client for client, version in versions.items()}
    assert sorted(path.name for path in (out / "clients").iterdir()) == sorted(names)
    for name, client in names.items():
        state, _ = load_checkpoint(out / "clients" / name)
        tensors |= prefixed(f"client {client}", state)
    return tensors


def assert_same_run(one: Path, other: Path) -> None:
    first, second = saved(one), saved(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    rows = [[json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in (one, other)]
    assert without_seconds(rows[0]) == without_seconds(rows[1])


@pytest.mark.parametrize("method", METHODS.names())
def test_a_stopped_run_goes_on_to_the_same_bits(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path, method: str
) -> None:
    training = replace(plain.training, optimizer="adamw", learning_rate=1e-3, steps=6, batch=16)
    config = replace(plain, method=method, rounds=3, join_ratio=0.5, training=training)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    federate(config, whole, data=shared, workers=0)
    for rounds in (1, 2):
        rows: list[Row] = []
        with pytest.raises(Interrupted, match=f"stopped after round {rounds}"):
            federate(
                config,
                parts,
                data=shared,
                workers=0,
                resume=True,
                on_round=lambda row, _, rows=rows: rows.append(row),  # type: ignore[misc]
                should_stop=lambda rows=rows: len(rows) == 1,  # type: ignore[misc]
            )
    federate(config, parts, data=shared, workers=0, resume=True)
    assert_same_run(whole, parts)


@pytest.mark.parametrize(
    "method", ["fedktl", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fedproto", "fml"))]
)
def test_processes_and_this_process_give_the_same_bits(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path, method: str
) -> None:
    for out, workers in (("here", 0), ("there", 2)):
        federate(replace(plain, method=method), tmp_path / out, data=shared, workers=workers)
    assert_same_run(tmp_path / "here", tmp_path / "there")


def test_one_client_is_the_edge_that_it_was(
    plain: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    """FedKTL with one client and one round against an EdgeLearner and an EmbeddedCloud."""
    alone = replace(shared, clients=[shared.clients[0]])
    config = replace(plain, rounds=1, training=replace(plain.training, steps=5, batch=8))
    federate(config, tmp_path / "run", data=alone, workers=0)
    request = federated_problem(config, alone).request
    cloud = EmbeddedCloud(tiny_generator)
    reply = decode_message(cloud.open(encode_message(request), []), SessionReply)
    edge = EdgeConfig(training=config.training, transfer=config.transfer, precision="float32", threads=1)
    learner = EdgeLearner(alone.task(0), edge, reply.etf_seed)
    answer = cloud.exchange({0: encode_prototypes(learner.prototypes())})
    learner.receive(decode_pairs(answer, request, reply.latent_dim))
    learner.train_round(lambda *_: None, lambda: False)
    found = saved(tmp_path / "run")
    for name, tensor in learner.state().items():
        assert torch.equal(found[f"client 0/{name}"], tensor), name


def test_edges_of_one_architecture_share_their_warm_up(
    plain: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    """The second client's run, whose warm-up is taken from the first's, equals the one where it comes alone."""
    problem = federated_problem(plain, shared)
    together = federated_edges(plain, problem, {0: shared.task(0), 1: shared.task(1)})
    alone = federated_edges(plain, problem, {1: shared.task(1)})
    asked = {c: m for c, m in together.ask([0, 1], 0).items() if not isinstance(m, str)}
    cloud = make_method(plain, problem)
    cloud.exchange = CloudExchange(problem.request, tmp_path / "wire", EmbeddedCloud(tiny_generator))
    message = cloud.answer(0, asked)
    together.learn([0, 1], 0, message)
    alone.ask([1], 0)
    alone.learn([1], 0, message)
    expected = alone.learners[1].state()
    shared_warm_up = together.learners[1].state()
    assert [name for name in expected if not torch.equal(shared_warm_up[name], expected[name])] == []


def test_the_figures_of_a_round_are_those_of_its_clients(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    result = federate(
        replace(plain, method=METHODS.choose("fedktl", pool="none")), tmp_path / "run", data=shared, workers=0
    )
    tested = {client: len(shared.clients[client].test) for client in (0, 1)}
    last = result.rows[-1]
    weighted = sum(result.accuracies[c] * tested[c] for c in (0, 1)) / sum(tested.values())
    assert last["accuracy"] == pytest.approx(weighted)
    assert last["worst"] == min(result.accuracies.values())
    assert last["spread"] == pytest.approx(abs(result.accuracies[0] - result.accuracies[1]) / 2)
    assert result.best == max(row["accuracy"] for row in result.rows)
    assert last["numbers_up"] == 3 * int((shared.counts("train") > 0).sum())
    assert last["numbers_down"] == 2 * 24 * (3 * 16 * 16 + 16)  # two clients, 24 pairs of an image and 16 latents
    assert last["left_out"] == {}
    assert last["bytes_down"] == 2 * last["bytes_broadcast"] > 0
    assert last["by_client"] == {str(client): accuracy for client, accuracy in result.accuracies.items()}


def test_a_round_of_twenty_clients_downloads_at_most_a_tenth_of_the_published_bytes(
    plain: FederationConfig, shared: FederatedData
) -> None:
    """20 clients x 100 classes x (3 x 32 x 32 pixels and 512 numbers of a latent) x 4 bytes, whatever the rounds."""
    for rounds in (1, 5, 10, 1000):
        config = replace(plain, cloud=CloudConfig(), rounds=rounds)
        budget = federated_problem(config, shared).request.download_bytes
        assert 20 * budget <= 20 * 100 * (3 * 32 * 32 + 512) * 4 / 10


def test_a_client_that_diverges_is_named_and_left_out(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate at which a linear head overflows in one client's images but a blank one's does not."""
    blank = replace(shared, images=shared.images.clone())
    blank.images[torch.cat([shared.clients[1].train, shared.clients[1].test])] = 0
    training = replace(plain.training, learning_rate=1e30, gradient_norm=1e38, steps=8)
    config = replace(plain, method="lg-fedavg", training=training)
    result = federate(config, tmp_path / "run", data=blank, workers=0)
    reasons = result.rows[0]["left_out"]
    assert reasons
    assert all("diverged" in reason for reason in reasons.values())
    assert len(result.rows) == 2
    state = saved(tmp_path / "run")
    assert all(bool(torch.isfinite(t).all()) for n, t in state.items() if n.startswith("client") and "/model/" in n)


def test_clients_that_drop_out_or_come_late_are_left_out(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    dropping = federate(
        replace(plain, rounds=6, drop_ratio=0.5, method="local"), tmp_path / "a", data=shared, workers=0
    )
    reasons = [reason for row in dropping.rows for reason in row["left_out"].values()]
    assert 0 < len(reasons) < 12
    assert set(reasons) == {"dropped out"}
    assert [row["clients"] + len(row["left_out"]) for row in dropping.rows] == [2] * 6
    late = federate(replace(plain, deadline=1e-6), tmp_path / "b", data=shared, workers=0)
    assert late.rows[0]["clients"] == 0
    assert set(late.rows[0]["left_out"].values()) == {"late: not done after 1e-06 seconds"}


def test_clients_with_no_image_one_image_and_one_class_do_no_harm(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    none = torch.empty(0, dtype=torch.int64)
    first = shared.clients[0].train
    one_class = first[shared.labels[first] == shared.labels[first[0]]]
    odd = [ClientIndex(none, none), ClientIndex(first[:1], none), ClientIndex(one_class[:-1], one_class[-1:])]
    data = replace(shared, clients=[*shared.clients, *odd])
    for method in METHODS.names():
        result = federate(replace(plain, method=method), tmp_path / method, data=data, workers=0)
        assert [row["left_out"] for row in result.rows] == [{"2": "no training image"}] * 2, method
        assert sorted(result.accuracies) == [0, 1, 4]
    with pytest.raises(DataError, match="no client has a training image"):
        federate(plain, tmp_path / "empty", data=replace(data, clients=odd[:1]))


def test_early_stopping_ends_a_run_that_gains_nothing(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    still = replace(plain, method="local", rounds=9, patience=2, training=replace(plain.training, learning_rate=0.0))
    assert len(federate(still, tmp_path / "run", data=shared, workers=0).rows) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"join_ratio": 0.0}, "join_ratio is 0.0: give a number above 0 and at most 1"),
        ({"join_ratio": 1.5}, "join_ratio is 1.5: give a number above 0"),
        ({"drop_ratio": 1.0}, "drop_ratio is 1.0: give a number of at least 0 and below 1"),
        ({"rounds": 0}, "rounds is 0: give a whole number of at least 1"),
        ({"deadline": 0.0}, "deadline is 0.0: give a number above 0, or none"),
        ({"patience": 0}, "patience is 0: give a whole number of at least 1, or none"),
        ({"download_budget": 10_000}, "download_budget is 10000: give a whole number of at least 20000"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FederationConfig(**change)


def test_resuming_with_other_settings_is_refused_with_the_difference(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    config = replace(plain, method="local", rounds=1)
    federate(config, tmp_path / "run", data=shared, workers=0)
    with pytest.raises(UsageError, match="already holds a run: go on with --resume"):
        federate(config, tmp_path / "run", data=shared, workers=0)
    other = replace(config, rounds=3, training=TrainingConfig(batch=7))
    with pytest.raises(UsageError, match=r"other settings \(rounds: 1, not 3; .*training\.batch: 1000, not 7"):
        federate(other, tmp_path / "run", data=shared, workers=0, resume=True)


def test_data_is_shared_out_or_read_from_a_saved_partition(small_bundle: Path, tmp_path: Path) -> None:
    from ktl.data.partition_files import save_partition

    data = federated_data(str(small_bundle), None, PartitionConfig("iid", 3), seed=0)
    save_partition(data, tmp_path / "parts")
    read = federated_data(str(tmp_path / "parts"), None, PartitionConfig(), seed=5)
    assert torch.equal(read.counts("train"), data.counts("train"))
