"""Who holds which images: the four ways to share out, their picture, and their files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ktl.data import load_dataset
from ktl.data.partition import ClientIndex, FederatedData, classes_by_clients, partition, share_out
from ktl.data.partition_files import load_partition, save_partition
from ktl.data.settings import PartitionConfig
from ktl.errors import DataError, UsageError

LABELS = np.repeat(np.arange(10), 60)


def held_by(clients: list[ClientIndex]) -> list[np.ndarray]:
    return [LABELS[torch.cat([share.train, share.test]).numpy()] for share in clients]


@pytest.mark.parametrize("kind", ["dirichlet", "pathological", "iid", "shots"])
def test_every_image_goes_to_one_client_and_a_quarter_is_for_testing(kind: str) -> None:
    clients = partition(LABELS, PartitionConfig(kind, 5, shots=9), seed=3)
    indices = torch.cat([torch.cat([share.train, share.test]) for share in clients])
    assert sorted(indices.tolist()) == list(range(600))
    if kind == "shots":
        assert all(np.bincount(LABELS[share.train.numpy()]).tolist() == [9] * 10 for share in clients)
        assert all(len(share.test) == 30 for share in clients)
    else:
        for share in clients:
            total = len(share.train) + len(share.test)
            assert len(share.train) == min(round(0.75 * total), total - 1)


@pytest.mark.parametrize("kind", ["dirichlet", "pathological", "iid", "shots"])
def test_a_partition_is_a_function_of_its_seed(kind: str) -> None:
    def train_of(seed: int) -> list[list[int]]:
        return [share.train.tolist() for share in partition(LABELS, PartitionConfig(kind, 6), seed)]

    assert train_of(0) == train_of(0) != train_of(1)


@pytest.mark.parametrize(("clients", "per_client"), [(20, 2), (5, 2), (3, 7), (4, 10)])
def test_a_pathological_client_holds_its_number_of_classes(clients: int, per_client: int) -> None:
    config = PartitionConfig("pathological", clients, classes_per_client=per_client)
    labels_of_clients = held_by(partition(LABELS, config, seed=0))
    assert [len(np.unique(labels)) for labels in labels_of_clients] == [per_client] * clients
    holders = np.sum([np.bincount(labels, minlength=10) > 0 for labels in labels_of_clients], axis=0)
    assert holders.max() - holders.min() <= 1


def test_a_smaller_beta_is_more_uneven() -> None:
    def classes_per_client(beta: float) -> float:
        clients = partition(LABELS, PartitionConfig("dirichlet", 10, beta=beta), seed=0)
        return float(np.mean([len(np.unique(labels)) for labels in held_by(clients)]))

    assert classes_per_client(0.1) < 6.0 < 9.5 < classes_per_client(100.0)


def test_dirichlet_shares_have_the_distribution_of_their_beta() -> None:
    """A share of Dirichlet(beta) over N clients has mean 1/N and variance (N - 1) / (N^2 (N beta + 1))."""
    shares = []
    for seed in range(60):
        clients = partition(np.repeat(np.arange(10), 500), PartitionConfig("dirichlet", 5, beta=1.0), seed)
        labels = np.repeat(np.arange(10), 500)
        shares += [
            np.bincount(labels[torch.cat([share.train, share.test]).numpy()], minlength=10) / 500 for share in clients
        ]
    assert np.mean(shares) == pytest.approx(0.2, abs=1e-9)
    assert np.var(shares) == pytest.approx(4 / (25 * 6), rel=0.1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PartitionConfig(clients=301), "--clients is 301, but the data has 600 images: give at most 300"),
        (PartitionConfig(clients=250, beta=0.001), "raise --beta or lower --clients"),
        (PartitionConfig("pathological", classes_per_client=11), "--classes-per-client is 11: the data has 10"),
        (PartitionConfig("shots", 20, shots=3), "class 0 has 60 images for 20 clients, give 1 to 2"),
        (PartitionConfig("shots", 60, shots=1), "that is none: lower --clients"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(config: PartitionConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        partition(LABELS, config, seed=0)


@pytest.fixture(scope="module")
def shared() -> FederatedData:
    return share_out(load_dataset("fashion-mnist"), PartitionConfig(clients=4), seed=0)


def test_a_clients_task_holds_its_images_under_the_common_classes(shared: FederatedData) -> None:
    assert len(shared.images) == 1400
    task = shared.task(2)
    assert len(task.class_names) == 10
    assert torch.equal(task.shot_images, shared.images[shared.clients[2].train])
    assert torch.equal(task.test_labels, shared.labels[shared.clients[2].test])
    assert torch.equal(shared.counts("train") + shared.counts("test"), shared.counts())
    assert shared.counts().sum(dim=0).tolist() == [140] * 10


def test_the_picture_is_darker_where_a_client_holds_more() -> None:
    assert classes_by_clients(torch.tensor([[81, 0], [1, 16]])) == ["@.", " ="]
    with pytest.raises(DataError, match="has no image"):
        classes_by_clients(torch.zeros(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("public", [False, True])
def test_a_saved_partition_reads_back_the_same(shared: FederatedData, tmp_path: Path, public: bool) -> None:
    save_partition(shared, tmp_path / "parts", public=public)
    read = load_partition(tmp_path / "parts")
    assert read.class_names == shared.class_names
    for client in range(4):
        expected, task = shared.task(client), read.task(client)
        assert torch.equal(task.shot_images, expected.shot_images)
        assert torch.equal(task.shot_labels, expected.shot_labels)
        assert torch.equal(task.test_images, expected.test_images)
    with pytest.raises(UsageError, match="is not empty: name another --out"):
        save_partition(shared, tmp_path / "parts")


def test_the_public_layout_is_what_numpy_reads_there(shared: FederatedData, tmp_path: Path) -> None:
    save_partition(shared, tmp_path / "parts", public=True)
    with np.load(tmp_path / "parts" / "train" / "1.npz", allow_pickle=True) as file:
        table = file["data"].tolist()
    assert table["x"].dtype == np.float32
    assert table["x"].shape == (len(shared.clients[1].train), 1, 28, 28)
    assert table["y"].tolist() == shared.labels[shared.clients[1].train].tolist()


class Runs:
    """Pickles as a call of a function of the system's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder / "was-run"),)


def client_file(folder: Path, **arrays: Any) -> None:
    for part in ("train", "test"):
        (folder / part).mkdir(exist_ok=True)
        np.savez(folder / part / "0.npz", **arrays)


X, Y = np.zeros((3, 1, 8, 8), np.float32), np.array([0, 1, 2])


def test_nothing_but_arrays_is_unpickled(tmp_path: Path) -> None:
    for table in ({"x": X, "y": Y, "z": Runs(tmp_path)}, Runs(tmp_path)):
        client_file(tmp_path, data=np.array(table, dtype=object))
        with pytest.raises(DataError, match=r"asks for (posix|nt)\.mkdir; only arrays are read"):
            load_partition(tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "cannot be read as a client's data"),
        ({"data": np.array({"x": X, "y": [1]}, dtype=object)}, "not a table of arrays x and y"),
        ({"data": X}, "is float32 .* not a table"),
        ({"x": X + 3, "y": Y}, "x of .* is float32 up to 3.0: expected uint8, or floats from -1 to 1"),
        ({"x": X[:, :, :7], "y": Y}, r"x of .* has shape \(3, 1, 7, 8\)"),
        ({"x": X, "y": Y[:2]}, r"y of .* is int64 \(2,\): expected 3 integers"),
        ({"x": X, "y": Y - 1}, "has label -1"),
        ({"x": np.array([None] * 3, dtype=object), "y": Y}, "cannot be read as a client's data"),
    ],
)
def test_a_file_that_is_no_clients_data_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    client_file(tmp_path, **arrays)
    with pytest.raises(DataError, match=message):
        load_partition(tmp_path)


def test_a_folder_that_is_no_partition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 0 files train/\*\.npz"):
        load_partition(tmp_path)
    client_file(tmp_path, x=X, y=Y)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        load_partition(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"num_classes": 7}))
    assert len(load_partition(tmp_path).class_names) == 7
    (tmp_path / "test" / "0.npz").unlink()
    with pytest.raises(DataError, match=r"0\.npz is missing"):
        load_partition(tmp_path)


def test_a_client_without_an_image_is_read(tmp_path: Path) -> None:
    client_file(tmp_path, x=X, y=Y)
    np.savez(tmp_path / "test" / "0.npz", x=X[:0], y=Y[:0])
    assert len(load_partition(tmp_path).task(0).test_labels) == 0
