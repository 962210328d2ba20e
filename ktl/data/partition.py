"""Who holds which images: a data set shared out to the clients of a federation, by seed.

Every partition is a list with one array of image indices per client; `split` then gives each client 75% of its images
to train on and 25% to test. Li et al., "Federated Learning on Non-IID Data Silos" (ICDE 2022) describes the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.data.dataset import Dataset, ranges_of, read_by
from ktl.data.fewshot import FewShotTask
from ktl.data.reading import Ranges
from ktl.data.settings import PartitionConfig
from ktl.errors import DataError, UsageError
from ktl.seeds import derive

TRAIN_SHARE = 0.75
MIN_IMAGES = 2  # of a client under `dirichlet`: one to train on, one to test
MAX_DRAWS = 1000

Index = NDArray[np.int64]


@dataclass(frozen=True)
class ClientIndex:
    """One client's images, as indices into the pool; both parts may be empty in a partition that was read."""

    train: Tensor
    test: Tensor


@dataclass(frozen=True)
class FederatedData:
    """All images in memory once, uint8 (n, c, size, size), labels (n,) int64, and each client's share of them."""

    class_names: list[str]
    images: Tensor
    labels: Tensor
    clients: list[ClientIndex]
    ranges: Ranges = field(default_factory=dict)  # of deep picture files, on all images to train on

    def task(self, client: int) -> FewShotTask:
        """What client number `client` learns; its classes are all classes, so that edges agree on indices."""
        share = self.clients[client]
        return FewShotTask(
            self.class_names,
            self.images[share.train],
            self.labels[share.train],
            self.images[share.test],
            self.labels[share.test],
            ranges=self.ranges,
        )

    def counts(self, part: str = "all") -> Tensor:
        """Images (clients, classes) int64 that each client holds, of `part` train, test or all."""
        rows = []
        for share in self.clients:
            index = {"train": share.train, "test": share.test, "all": torch.cat([share.train, share.test])}[part]
            rows.append(self.labels[index].bincount(minlength=len(self.class_names)))
        return torch.stack(rows)


def share_out(dataset: Dataset, config: PartitionConfig, seed: int) -> FederatedData:
    """Pools all images of a data set and shares them out to `config.clients` clients.

    Raises UsageError for settings that do not fit the data, with the value and the fix.
    """
    splits = [split for split in (dataset.train, dataset.test, dataset.calibration) if split is not None]
    ranges = ranges_of(dataset.train.images, np.arange(len(dataset.train.labels)))
    images = np.concatenate([read_by(split.images, ranges)[np.arange(len(split.labels))] for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    return FederatedData(
        dataset.class_names,
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels),
        partition(labels, config, seed),
        ranges,
    )


def partition(labels: Index, config: PartitionConfig, seed: int) -> list[ClientIndex]:
    """Shares images with `labels` out as `config.kind` says; each client's train and test indices."""
    _check(labels, config)
    rng = np.random.default_rng(derive(seed, "partition", config.kind))
    if config.kind == "shots":
        return k_shot(labels, config.clients, config.shots, rng)
    if config.kind == "pathological":
        shares = pathological(labels, config.clients, config.classes_per_client, rng)
    elif config.kind == "dirichlet":
        shares = dirichlet(labels, config.clients, config.beta, rng)
    else:
        shares = iid(labels, config.clients, rng)
    return [split(index, rng) for index in shares]


def _check(labels: Index, config: PartitionConfig) -> None:
    if config.clients * MIN_IMAGES > len(labels):
        raise UsageError(
            f"--clients is {config.clients}, but the data has {len(labels)} images: "
            f"give at most {len(labels) // MIN_IMAGES}"
        )


def pathological(labels: Index, clients: int, per_client: int, rng: np.random.Generator) -> list[Index]:
    """Each client holds `per_client` classes, each class's images in equal shares among the clients that hold it.

    Classes are dealt in turns from a shuffled pack, so that every class is held by an equal number of clients, within
    one. McMahan et al., "Communication-Efficient Learning" (AISTATS 2017), section 3.
    """
    classes = np.unique(labels)
    if not 1 <= per_client <= len(classes):
        raise UsageError(f"--classes-per-client is {per_client}: the data has {len(classes)} classes")
    holders = _deal(len(classes), clients, per_client, rng)
    shares: list[list[Index]] = [[] for _ in range(clients)]
    for position, holding in enumerate(holders):
        members = rng.permutation(np.flatnonzero(labels == classes[position]))
        for client, part in zip(holding, np.array_split(members, max(len(holding), 1)), strict=False):
            shares[client].append(part)
    return [np.concatenate(parts) for parts in shares]


def _deal(classes: int, clients: int, per_client: int, rng: np.random.Generator) -> list[list[int]]:
    """For each class the clients that hold it; a client never gets a class twice."""
    holders: list[list[int]] = [[] for _ in range(classes)]
    for client in range(clients):
        tie_break = rng.permutation(classes)
        rarest = np.lexsort((tie_break, np.array([len(holding) for holding in holders])))[:per_client]
        for position in rarest:
            holders[position].append(client)
    return holders


def dirichlet(labels: Index, clients: int, beta: float, rng: np.random.Generator) -> list[Index]:
    """Each class's images in shares drawn from Dirichlet(beta); drawn again until each client has enough.

    Lin et al., "Ensemble Distillation for Robust Model Fusion" (NeurIPS 2020). Raises UsageError where `clients` and
    `beta` leave a client without images in every draw.
    """
    for _ in range(MAX_DRAWS):
        shares: list[list[Index]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            cuts = (np.cumsum(rng.dirichlet(np.full(clients, beta)))[:-1] * len(members)).astype(np.int64)
            for client, part in enumerate(np.split(members, cuts)):
                shares[client].append(part)
        indices = [np.concatenate(parts) for parts in shares]
        if min(len(index) for index in indices) >= MIN_IMAGES:
            return indices
    raise UsageError(
        f"--beta {beta} leaves one of {clients} clients with fewer than {MIN_IMAGES} of {len(labels)} images in each "
        f"of {MAX_DRAWS} draws: raise --beta or lower --clients"
    )


def iid(labels: Index, clients: int, rng: np.random.Generator) -> list[Index]:
    """Equal shares of all images, whatever their classes."""
    return np.array_split(rng.permutation(len(labels)), clients)


def k_shot(labels: Index, clients: int, shots: int, rng: np.random.Generator) -> list[ClientIndex]:
    """`shots` images of every class to train on in each client; what is left over is shared out equally to test."""
    train: list[list[Index]] = [[] for _ in range(clients)]
    test: list[list[Index]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if shots < 1 or clients * (shots + 1) > len(members):
            largest = len(members) // clients - 1
            raise UsageError(
                f"--shots is {shots}: class {label} has {len(members)} images for {clients} clients, "
                f"give 1 to {largest}" + (" (that is none: lower --clients)" if largest < 1 else "")
            )
        for client in range(clients):
            train[client].append(members[client * shots : (client + 1) * shots])
        for client, part in enumerate(np.array_split(members[clients * shots :], clients)):
            test[client].append(part)
    return [ClientIndex(_tensor(t), _tensor(e)) for t, e in zip(train, test, strict=True)]


def split(index: Index, rng: np.random.Generator) -> ClientIndex:
    """75% to train on, 25% to test, drawn from all of a client's images; of one image it is trained on."""
    shuffled = rng.permutation(index)
    cut = min(round(TRAIN_SHARE * len(index)), max(len(index) - 1, 1))
    return ClientIndex(_tensor([shuffled[:cut]]), _tensor([shuffled[cut:]]))


def _tensor(parts: Sequence[Index]) -> Tensor:
    return torch.from_numpy(np.sort(np.concatenate(parts)).astype(np.int64))


def classes_by_clients(counts: Tensor) -> list[str]:
    """A picture of counts (clients, classes): one line per class, one column per client, darker for more images."""
    if counts.numel() == 0 or int(counts.max()) == 0:
        raise DataError("the partition has no image; share out a data set first")
    shades = " .:-=+*#%@"
    level = (counts.double() / counts.max()).sqrt().mul(len(shades) - 1).ceil().long()
    return ["".join(shades[value] for value in column) for column in level.T.tolist()]
