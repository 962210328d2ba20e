"""FedKTL whose cloud learns sums alone: what the plain run learns, up to the quantisation."""

from __future__ import annotations

import os
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from flwr.app import Message
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from support.small_fleet import FIRST, grid_of, pooled_in, run_over

from ktl.data import load_dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.settings import PartitionConfig
from ktl.errors import UsageError
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.flower.sites import Device
from ktl.flower.summands import vector_of
from ktl.learning.settings import RECIPES
from ktl.methods import METHODS
from ktl.statistics_noise import SHARES, noise_deviation


@pytest.fixture(scope="module")
def five(plain: FederationConfig) -> FederationConfig:
    """Five clients of one model, one round; statistics count for their round."""
    config = replace(plain, partition=PartitionConfig("iid", clients=5), rounds=1, method="fedktl")
    return replace(config, cloud=replace(plain.cloud, alignment="pooled", memory=1))


@pytest.fixture(scope="module")
def apart(five: FederationConfig) -> FederatedData:
    return share_out(load_dataset(five.source), five.partition, five.seed)


def leaves(node: int, message: Message) -> bool:
    """Client 2's node is killed when sums are taken: it has trained by then."""
    if node != FIRST + 2 or message.metadata.message_type != "train":
        return False
    return message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE] in (Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK)


def test_the_cloud_gets_the_sum_and_no_client_s_statistics(
    five: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    plain = federate(five, tmp_path / "plain", data=apart, workers=0)
    secure = run_over(grid_of(apart, tmp_path), replace(five, secure_aggregation=True), tmp_path / "secure")
    expected, found = pooled_in(tmp_path / "plain"), pooled_in(tmp_path / "secure")
    assert found.counts.tolist() == expected.counts.tolist()
    assert (found.means - expected.means).abs().max() < 0.02  # int8 at each of five edges, or once
    assert secure.rows[-1]["accuracy"] == pytest.approx(plain.rows[-1]["accuracy"], abs=0.04)
    statistics = [file.name for file in (tmp_path / "secure" / "wire").glob("*-statistics-*")]
    assert statistics == ["round-001-statistics-0.safetensors"]  # of all five
    numbers = 3 * 17 + 16 * 17 // 2
    asked = sum(len(file.read_bytes()) for file in (tmp_path / "secure" / "wire").glob("*-prototypes-*"))
    assert secure.rows[0]["bytes_up"] == asked + 5 * 8 * numbers


def test_a_client_that_leaves_while_sums_are_taken_is_not_in_them(
    five: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    secure = run_over(grid_of(apart, tmp_path, leaves), replace(five, secure_aggregation=True), tmp_path / "run")
    counts = torch.stack([apart.counts("train")[client] for client in (0, 1, 3, 4)]).sum(dim=0)
    assert pooled_in(tmp_path / "run").counts.tolist() == counts.tolist()
    assert secure.rows[0]["clients"] == 5


def test_the_fewest_clients_of_a_sum_have_added_all_of_its_noise(
    five: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    """Each of five adds a third of the variance: the sum holds, too, where two of them leave or tell theirs."""
    noisy = replace(five, secure_aggregation=True, method=METHODS.choose("fedktl", epsilon=8.0))
    run_over(grid_of(apart, tmp_path), noisy, tmp_path / "run")
    found = pooled_in(tmp_path / "run")
    found.validate(3)
    assert found.classes.tolist() == [0, 1, 2]
    (folder,) = (tmp_path / "device-0").glob("client-0-run-*")
    node = Device(0, str(tmp_path / "images-0"), tmp_path / "device-0").node(folder.name[-16:], 0, version=1)
    assert node.fewest == 3
    plain = vector_of(node.edges.method.statistics(node.edges.learners[0]), 3)  # type: ignore[attr-defined]
    noise = np.stack([node.summand() - plain for _ in range(40)])
    deviation = noise_deviation(8.0, releases=noisy.rounds) / 3**0.5
    blocks = np.split(noise, [3 * 16, 3 * 17], axis=1)
    for block, share in zip(blocks[:2], (SHARES["sums"], SHARES["counts"]), strict=True):
        assert block.std() == pytest.approx(deviation / share**0.5, rel=0.25)


def test_what_cannot_be_added_up_securely_is_refused(
    five: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    secure = replace(five, secure_aggregation=True)
    with pytest.raises(UsageError, match="not local: give --method fedktl"):
        replace(secure, method="local")
    with pytest.raises(UsageError, match="give --engine flower"):
        federate(secure, tmp_path / "here", data=apart)
    with pytest.raises(UsageError, match="2 clients have the model resnet8"):
        run_over(grid_of(apart, tmp_path), replace(secure, models="cnn4,resnet8"), tmp_path / "two")
    with pytest.raises(UsageError, match="alignment robust reads each client's prototypes"):
        replace(secure, cloud=replace(secure.cloud, alignment="robust"))
    own = replace(secure, method=METHODS.choose("fedktl", pool="own"))
    with pytest.raises(UsageError, match=r"leave method\.pool at all"):
        run_over(grid_of(apart, tmp_path), own, tmp_path / "own")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_on_fashion_mnist_it_is_as_accurate_as_the_plain_run(tmp_path: Path) -> None:
    """1,400 images, five clients with two images of each class, also where one of them leaves while sums are taken."""
    transfer = federated_transfer()
    config = FederationConfig(
        method="fedktl",
        partition=PartitionConfig("shots", clients=5, shots=2),
        rounds=1,
        training=replace(RECIPES["tuned"], steps=80),
        transfer=replace(transfer, settings=replace(transfer.settings, warmup_steps=60)),
    )
    secure = replace(config, secure_aggregation=True)
    data = share_out(load_dataset(config.source), config.partition, config.seed)
    all_five = [
        run_over(grid_of(data, tmp_path / name), each, tmp_path / name / "run", 60.0).accuracies
        for name, each in (("plain", config), ("secure", secure))
    ]

    def never_trains(node: int, message: Message) -> bool:
        return node == FIRST + 2 and message.metadata.message_type == "train.learn"

    four = [
        run_over(grid_of(data, tmp_path / name, silent), each, tmp_path / name / "run", 60.0).accuracies
        for name, each, silent in (("plain-four", config, never_trains), ("secure-four", secure, leaves))
    ]
    for clients, (plain, found) in (((0, 1, 2, 3, 4), all_five), ((0, 1, 3, 4), four)):
        means = [statistics.fmean(accuracies[client] for client in clients) for accuracies in (plain, found)]
        print(f"{len(clients)} clients: plain {means[0]:.4f}, secure {means[1]:.4f}")
        assert means[1] == pytest.approx(means[0], abs=0.002)
