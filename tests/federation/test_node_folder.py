"""What a device of a fleet keeps is enough to evaluate and export its model, without Flower and without the server."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.nodes_here import NAME, node_run, run_on_nodes

from ktl.data.partition import FederatedData
from ktl.data.partition_files import load_partition
from ktl.edge.export.bundle import write_bundle
from ktl.edge.export.bundle_source import rgb_pictures
from ktl.edge.inference.predictor import Predictor
from ktl.errors import CheckpointError
from ktl.federation.client_source import node_client
from ktl.federation.node_folder import latest_version
from ktl.federation.run import FederationResult
from ktl.federation.settings import FederationConfig
from ktl.federation.trained_client import kept_client
from ktl.methods import METHODS


def ran(config: FederationConfig, data: FederatedData, method: str, home: Path) -> FederationResult:
    cloud = replace(config.cloud, alignment="pooled")
    return run_on_nodes(replace(config, method=METHODS.choose(method), cloud=cloud), data, home)


@pytest.fixture(scope="module")
def pooling(plain: FederationConfig, shared: FederatedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of two devices and a server that ran FedKTL."""
    home = tmp_path_factory.mktemp("fleet")
    ran(plain, shared, "fedktl", home)
    return home


def last_accuracy(home: Path, client: int) -> float:
    rows = (home / "server" / "metrics.jsonl").read_text().splitlines()
    return float(json.loads(rows[-1])["by_client"][str(client)])


def test_a_bundle_of_a_device_is_what_the_run_tested(pooling: Path, tmp_path: Path) -> None:
    bundle = write_bundle(pooling / "device-1", tmp_path / "bundle", load=node_client)
    assert bundle.parity is not None
    assert bundle.parity.holds
    images = load_partition(node_run(pooling, 1).data)
    task, predictor = images.task(0), Predictor(bundle.out)
    assert predictor.labels == images.class_names
    right = (predictor.probabilities(rgb_pictures(task.test_images)).argmax(axis=1) == task.test_labels.numpy()).mean()
    assert right == pytest.approx(last_accuracy(pooling, 1))
    card = (bundle.out / "card.md").read_text()
    for fact in (f"client 1 of run {NAME}", "the device's own images", "round 2 of 2", "the client's share s"):
        assert fact in card, fact


@pytest.mark.parametrize("method", ["fedproto", "fml"])
def test_other_methods_devices_predict_by_what_their_last_round_began_with(
    plain: FederationConfig, shared: FederatedData, method: str, tmp_path: Path
) -> None:
    ran(plain, shared, method, tmp_path)
    bundle = write_bundle(tmp_path / "device-1", tmp_path / "bundle", load=node_client)
    assert bundle.parity is not None
    assert bundle.parity.holds
    assert f"{100 * last_accuracy(tmp_path, 1):.1f}% (95% interval" in (bundle.out / "card.md").read_text()


def test_of_a_round_that_did_not_finish_the_version_before_is_taken(pooling: Path, tmp_path: Path) -> None:
    device = shutil.copytree(pooling / "device-0", tmp_path / "device-0")
    _, client, version = latest_version(device)
    assert (client, version) == (0, 2)
    run = node_run(tmp_path, 0)
    (run.clients / "client-0.2.message").unlink()  # learnt, but its round was not closed
    assert latest_version(device) == (run, 0, 1)
    assert latest_version(run.path) == (run, 0, 1)
    kept_client(run.path)
    shutil.rmtree(run.clients)
    with pytest.raises(CheckpointError, match="has no model yet: its device has ended no round of a run"):
        kept_client(device)


def test_a_damaged_folder_is_said_to_be(pooling: Path, tmp_path: Path) -> None:
    device = shutil.copytree(pooling / "device-0", tmp_path / "device-0")
    run = node_run(tmp_path, 0)
    message = run.clients / "client-0.2.message"
    message.write_bytes(message.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"client-0\.2\.message is damaged"):
        kept_client(device)
    (run.path / "setup.msgpack").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match=r"setup\.msgpack is damaged"):
        kept_client(device)
