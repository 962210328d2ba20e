"""A device: who it is, what it keeps of a run, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from PIL import Image

from ktl.class_agreement import class_digest, new_salt
from ktl.data import load_dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.partition_files import save_partition
from ktl.errors import CheckpointError, DataError, UsageError, WireError
from ktl.federation.node_folder import Setup
from ktl.federation.settings import FederationConfig
from ktl.flower.records import Hello
from ktl.flower.sites import Device, device_of, settings_for_nodes

SALT = new_salt()


@pytest.fixture
def config(plain: FederationConfig) -> FederationConfig:
    return replace(plain, method="fedproto")


def folder_of(place: Path, *classes: str) -> Path:
    """A folder of four training and two test pictures of each class."""
    for number, name in enumerate(classes):
        for part, count in (("train", 4), ("test", 2)):
            (place / part / name).mkdir(parents=True)
            for index in range(count):
                picture = Image.new("RGB", (16, 16), (60 * number, 10 * index, len(name)))
                picture.save(place / part / name / f"{index}.png")
    return place


def hello_for(config: FederationConfig) -> Hello:
    return Hello(settings_for_nodes(config), SALT)


def setup_for(config: FederationConfig, counts: list[list[int]], names: list[str]) -> Setup:
    return Setup(settings_for_nodes(config), class_digest(names, SALT), counts, 3, 16)


def test_a_device_says_its_counts_and_a_digest_of_its_classes(config: FederationConfig, tmp_path: Path) -> None:
    device = Device(1, str(folder_of(tmp_path / "photos", "cat", "dog")), tmp_path / "kept")
    said = device.introduce(hello_for(replace(config, image_size=16)))
    assert (said.client, said.counts) == (1, [4, 4])
    assert said.classes == class_digest(["cat", "dog"], SALT)
    assert (said.channels, said.image_size) == (3, 16)


def test_it_keeps_the_images_as_they_were_among_the_classes_of_all(config: FederationConfig, tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", "cat", "dog")
    names = ["bird", "cat", "dog"]
    device = Device(1, str(photos), tmp_path / "kept", class_names=names)
    config = replace(config, image_size=16)
    run = device.prepare(setup_for(config, [[2, 2, 0], [0, 4, 4]], names))
    Image.new("RGB", (16, 16)).save(photos / "train" / "cat" / "new.png")
    assert device.prepare(setup_for(config, [[2, 2, 0], [0, 4, 4]], names)) == run  # a second time is none
    task = device.node(run, client=1, version=0).edges.learners[1].task
    assert task.class_names == names
    assert task.shot_labels.bincount(minlength=3).tolist() == [0, 4, 4]
    with pytest.raises(DataError, match="changed while the run began"):
        device.prepare(setup_for(config, [[1, 2, 0], [0, 4, 4]], names))
    with pytest.raises(UsageError, match="client 1 has other classes than the run: start each node with the same list"):
        device.prepare(setup_for(config, [[1, 2, 0], [0, 4, 4]], ["cat", "bird", "dog"]))
    with pytest.raises(DataError, match="class 'dog' is not in --classes"):
        replace(device, class_names=["bird", "cat"]).introduce(hello_for(config))


def test_a_saved_partition_s_folder_has_one_client(plain: FederationConfig, tmp_path: Path) -> None:
    data: FederatedData = share_out(load_dataset(plain.source), plain.partition, plain.seed)
    save_partition(data, tmp_path / "two")
    save_partition(replace(data, clients=data.clients[1:]), tmp_path / "one")
    hello = hello_for(plain)
    said = Device(0, str(tmp_path / "one"), tmp_path / "kept").introduce(hello)
    assert said.counts == data.counts("train")[1].tolist()
    with pytest.raises(DataError, match="has 2 clients: a device has one"):
        Device(0, str(tmp_path / "two"), tmp_path / "kept").introduce(hello)


def test_it_refuses_other_clients_runs_and_versions(config: FederationConfig, tmp_path: Path) -> None:
    device = Device(0, str(folder_of(tmp_path / "photos", "cat", "dog")), tmp_path / "kept")
    run = device.prepare(setup_for(replace(config, image_size=16), [[4, 4]], ["cat", "dog"]))
    for name, client in ((run, 1), ("0" * 16, 0)):
        with pytest.raises(UsageError, match=f"keeps nothing of client {client} in run {name}"):
            device.node(name, client, 0)
    with pytest.raises(CheckpointError, match="has lost what client 0 had learnt"):
        device.node(run, 0, 3)


def test_a_device_may_take_part_with_secure_sums_alone(plain: FederationConfig, tmp_path: Path) -> None:
    photos = str(folder_of(tmp_path / "photos", "cat", "dog"))
    careful = device_of({"client": 0, "data": photos, "folder": str(tmp_path / "kept"), "only-sums": True})
    open_run = replace(plain, image_size=16, cloud=replace(plain.cloud, alignment="pooled"))
    with pytest.raises(UsageError, match="with secure_aggregation alone"):
        careful.introduce(hello_for(open_run))
    assert careful.introduce(hello_for(replace(open_run, secure_aggregation=True))).counts == [4, 4]
    table = json.loads(settings_for_nodes(replace(open_run, secure_aggregation=True)))
    table["cloud"]["alignment"] = {"name": "robust", "settings": {}}
    with pytest.raises(WireError, match="reads each client's prototypes"):
        careful.introduce(Hello(json.dumps(table), SALT))


@pytest.mark.parametrize("path", [("method",), ("transfer",), ("cloud", "alignment")])
def test_nothing_is_imported_by_a_name_that_a_server_sends(
    config: FederationConfig, tmp_path: Path, path: tuple[str, ...]
) -> None:
    table = json.loads(settings_for_nodes(config))
    inner = table
    for name in path:
        inner = inner[name]
    inner["name"] = "antigravity:Class"
    with pytest.raises(WireError, match="unknown"):
        Device(0, str(tmp_path), tmp_path / "kept").introduce(Hello(json.dumps(table), SALT))


def test_models_are_not_imported_by_a_name_that_a_server_sends(config: FederationConfig, tmp_path: Path) -> None:
    table = json.loads(settings_for_nodes(config)) | {"models": "cnn4,antigravity:Class"}
    with pytest.raises(WireError, match="unknown"):
        Device(0, str(tmp_path), tmp_path / "kept").introduce(Hello(json.dumps(table), SALT))
    with pytest.raises(WireError, match="is the same ktl at both ends"):
        Device(0, str(tmp_path), tmp_path / "kept").introduce(Hello("[" * 100_000, SALT))


@pytest.mark.parametrize(
    ("node_config", "words"),
    [
        ({"data": "a", "folder": "b"}, "client is None"),
        ({"client": True, "data": "a", "folder": "b"}, "client is True"),
        ({"client": -1, "data": "a", "folder": "b"}, "client is -1"),
        ({"client": 0, "folder": "b"}, "data is None"),
        ({"client": 0, "data": "a", "folder": 3}, "folder 3"),
        ({"client": 0, "data": "a", "folder": "b", "classes": "nowhere.txt"}, "nowhere.txt cannot be read"),
    ],
)
def test_a_node_s_configuration_is_checked(node_config: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        device_of(node_config)
