"""Where a node's client comes from: a share of the data of a run on this machine, or a device's own images."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from ktl.alignment import ALIGNMENTS
from ktl.class_agreement import class_digest, is_agreed, read_class_names
from ktl.data import load_dataset
from ktl.data.dataset import ranges_of, read_by
from ktl.data.hold_out import by_content
from ktl.data.partition import ClientIndex, FederatedData
from ktl.data.partition_files import load_partition, save_partition
from ktl.errors import DataError, UsageError, WireError
from ktl.federation.node_folder import NodeRun, Setup
from ktl.federation.problem import data_of, federated_problem
from ktl.federation.settings import FederationConfig
from ktl.files import write_atomically
from ktl.flower.node import Node
from ktl.flower.records import Hello, Introduction
from ktl.loop.exchange import warm_start_file
from ktl.loop.folder import load_config
from ktl.methods import METHODS
from ktl.methods.base import Problem
from ktl.models import MODELS, model_group
from ktl.objectives import TRANSFERS
from ktl.run_folder import SETUP
from ktl.settings import as_table, from_table

SAME_CLASSES = "start each node with the same list of classes, by `ktl edge join --classes FILE`"
TORCHVISION = "torchvision.models:"  # whose models are named as what is imported by a path, but are installed


@dataclass(frozen=True)
class SharedRun:
    """A run on this machine: each node has the share of its data that its number says, all keep their files in it.

    `source`: where the run's data is now.
    """

    out: Path
    source: str

    def node(self, run: str, client: int, version: int) -> Node:
        """The client with this number; `run` is that of `out`."""
        config, data, problem = _shared(self.out, self.source)
        files = {model: warm_start_file(self.out / "wire", model) for model in config.warm_started}
        warm_starts = {model: file.read_bytes() for model, file in files.items()}
        task = data.task(client)
        return Node(self.out / "clients", config, problem, client, task, warm_starts, version, keeps_last=False)


@lru_cache(maxsize=1)
def _shared(out: Path, source: str) -> tuple[FederationConfig, FederatedData, Problem]:
    """Read once by each process that plays nodes."""
    config = load_config(out, FederationConfig)
    data = data_of(config, out, source)
    return config, data, federated_problem(config, data)


@dataclass(frozen=True)
class Device:
    """A device with images of its own, `data`, and a `folder` that keeps what its client learns, run by run.

    only_sums: it takes part in runs with secure aggregation alone; class_names: all classes of its fleet, of which it
    may have images of some; None: those of its images.
    """

    client: int
    data: str
    folder: Path
    only_sums: bool = False
    class_names: Sequence[str] | None = None

    def introduce(self, hello: Hello) -> Introduction:
        """Who this is, by the images as the run sees them. Raises DataError, and WireError for damaged settings."""
        data = self._images(self._settings(hello.settings))
        digest, counts = class_digest(data.class_names, hello.salt), data.counts("train")[0].tolist()
        return Introduction(self.client, digest, counts, data.images.shape[1], data.images.shape[2])

    def prepare(self, setup: Setup) -> str:
        """Keeps what a run is about, and the images as they are now; returns the run's name.

        Raises UsageError for a run of other classes, and DataError where the images are not those that the device was
        introduced with.
        """
        content = msgspec.msgpack.encode(setup)
        run = self._run(name := run_name(content))
        if not (run.path / SETUP).exists():
            data = self._images(self._settings(setup.settings))
            if not is_agreed(data.class_names, setup.classes):
                raise UsageError(f"client {self.client} has other classes than the run: {SAME_CLASSES}")
            if not 0 <= self.client < len(setup.counts):
                raise UsageError(f"client is {self.client}: the run has clients 0 to {len(setup.counts) - 1}")
            if data.counts("train")[0].tolist() != setup.counts[self.client]:
                raise DataError(f"the images in {self.data} changed while the run began: start it again")
            shutil.rmtree(run.data, ignore_errors=True)  # of a device that was killed here
            save_partition(data, run.data)
            write_atomically(run.path / SETUP, content)
        return name

    def node(self, run: str, client: int, version: int) -> Node:
        """This device's client. Raises UsageError for another one, or for a run that it was not prepared for."""
        kept = self._run(run)
        if client != self.client or not (kept.path / SETUP).exists():
            raise UsageError(f"{self.folder} keeps nothing of client {client} in run {run}: start the server again")
        setup = kept.setup()
        config = self._settings(setup.settings)
        problem, warm_starts = setup.problem(config), setup.warm_starts
        return Node(kept.clients, config, problem, client, kept.task(), warm_starts, version, keeps_last=True)

    def _images(self, config: FederationConfig) -> FederatedData:
        data = own_data(self.data, config)
        return data if self.class_names is None else among_classes(data, self.class_names)

    def _settings(self, text: str) -> FederationConfig:
        config = _settings(text)
        if self.only_sums and not config.secure_aggregation:
            raise UsageError("this device takes part with secure_aggregation alone: set it in the run")
        return config

    def _run(self, name: str) -> NodeRun:
        return NodeRun(self.folder / f"client-{self.client}-run-{name}")


Site = SharedRun | Device


def run_name(setup: bytes) -> str:
    """16 hexadecimal digits that stand for an encoded setup."""
    return hashlib.sha256(setup).hexdigest()[:16]


def settings_for_nodes(config: FederationConfig) -> str:
    """As JSON, but for the cloud's generator and space: nodes need not have them."""
    table = as_table(config)
    for name in ("generator", "space"):
        del table["cloud"][name]
    return json.dumps(table)


def _settings(text: str) -> FederationConfig:
    """Of a stranger: choices are those that are installed, nothing is imported by a path. Raises WireError."""
    try:
        table = json.loads(text)
        METHODS.check_installed(table["method"]["name"])
        TRANSFERS.check_installed(table["transfer"]["name"])
        ALIGNMENTS.check_installed(table["cloud"]["alignment"]["name"])
        for model in model_group(table["models"]):
            if not model.startswith(TORCHVISION):
                MODELS.check_installed(model)
        return from_table(FederationConfig, table)
    except (ValueError, LookupError, TypeError, RecursionError, UsageError) as error:
        raise WireError(f"the run's settings cannot be read ({error}); is the same ktl at both ends?") from error


def own_data(source: str, config: FederationConfig) -> FederatedData:
    """All images of a device: of a data set, or of the only client in a saved partition's folder. Raises DataError."""
    folder = Path(source)
    if (folder / "train" / "0.npz").is_file():
        data = load_partition(folder)
        if len(data.clients) != 1:
            raise DataError(f"{source} has {len(data.clients)} clients: a device has one, train/0.npz and test/0.npz")
        return data
    dataset = load_dataset(
        source, config.image_size, skip_damaged=config.skip_damaged, fit=config.fit, hold_out=by_content
    )
    splits = [dataset.train, dataset.test]
    ranges = ranges_of(dataset.train.images, np.arange(len(dataset.train.labels)))
    images = np.concatenate([read_by(split.images, ranges)[np.arange(len(split.labels))] for split in splits])
    labels = torch.from_numpy(np.concatenate([split.labels for split in splits]))
    index, cut = torch.arange(len(labels)), len(dataset.train.labels)
    return FederatedData(
        dataset.class_names,
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        labels,
        [ClientIndex(index[:cut], index[cut:])],
        ranges,
        dataset.fit,
        dataset.files,
    )


def among_classes(data: FederatedData, class_names: Sequence[str]) -> FederatedData:
    """The same images with labels of all classes that a fleet has. Raises DataError for a missing one."""
    if missing := [name for name in data.class_names if name not in class_names]:
        raise DataError(f"class {missing[0]!r} is not in --classes, which has: {', '.join(class_names[:20])}")
    index = torch.tensor([class_names.index(name) for name in data.class_names])
    return replace(data, class_names=[*class_names], labels=index[data.labels])


def device_of(node_config: Mapping[str, Any]) -> Device:
    """The device that a SuperNode's `--node-config` describes. Raises UsageError, naming what it lacks."""
    client, data, folder = (node_config.get(name) for name in ("client", "data", "folder"))
    if not isinstance(client, int) or isinstance(client, bool) or client < 0:
        raise UsageError(f"client is {client!r} in the node's configuration: give its number, from 0")
    if not isinstance(data, str) or not isinstance(folder, str):
        raise UsageError(f"data is {data!r}, folder {folder!r} in the node's configuration: give both as texts")
    classes = node_config.get("classes")
    names = read_class_names(Path(classes)) if isinstance(classes, str) else None
    return Device(client, data, Path(folder), node_config.get("only-sums") is True, names)
