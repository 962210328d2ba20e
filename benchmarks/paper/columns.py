"""What each column of the paper's tables runs, at which size, and which files it needs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.accuracy.transfer import ARMS
from benchmarks.paper.published import CLUSTERING_WEIGHTS, DATA, GENERATORS_6, GROUPS_2, PUBLISHED
from ktl import DataConfig, RunConfig
from ktl.alignment import ALIGNMENTS
from ktl.data import DATASETS, load_dataset
from ktl.data.settings import PartitionConfig
from ktl.errors import KtlError
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig

OURS = "{}, ktl's defaults"
CLASSES_PER_CLIENT = {"CIFAR-10": 2, "CIFAR-100": 10, "Flowers102": 10, "Tiny-ImageNet": 20}
LARGEST_DOWNLOAD = 100_000_000  # bytes: one pair per class always fits


@dataclass(frozen=True)
class Size:
    """How much of the paper's work is done. data: each data set's source, and its pixels if not its own."""

    remark: str
    data: dict[str, tuple[str, int | None]]
    rounds: int
    edge_rounds: int  # of table 9
    models: dict[str, str]  # what takes a group's place; a group that is not named is left out


SIZES = {
    "full": Size(
        "The paper's size: whole data sets, its model groups, 1,000 rounds.",
        {
            "CIFAR-10": ("cifar10", None),
            "CIFAR-100": ("cifar100", None),
            "Flowers102": ("flowers102", 64),
            "Tiny-ImageNet": ("tiny-imagenet-200", 64),
        },
        rounds=1000,
        edge_rounds=100,
        models={group: group for group in ("HtFE2", "HtFE3", "HtFE4", "HtFE8", "HtFE9", "HtM10")},
    ),
    "reduced": Size(
        "Reduced: 20,000 images of CIFAR-10 and CIFAR-100, 10,000 of Tiny-ImageNet at 32 x 32, 5 rounds where the "
        "paper has hundreds, the 4-layer CNN in place of HtFE8; of the other groups HtFE2 alone.",
        {
            "CIFAR-10": ("cifar10-20k.npz", None),
            "CIFAR-100": ("cifar100-20k.npz", None),
            "Flowers102": ("flowers102.npz", 32),
            "Tiny-ImageNet": ("tiny-imagenet-10k", 32),
        },
        rounds=5,
        edge_rounds=6,
        models={"HtFE2": "HtFE2", "HtFE8": "cnn4"},
    ),
}


@dataclass(frozen=True)
class Column:
    """What the runs of one column have in common; the defaults are those of most tables."""

    name: str
    data: str = "CIFAR-100"
    kind: str = "dirichlet"
    models: str = "HtFE8"
    clients: int = 20
    join_ratio: float = 1.0
    generator: str | None = None  # words of a file's name in --generators; --generator if None
    clustering_weight: float | None = None  # lambda; by the generator's family if None
    shots: int | None = None  # one edge with so many images per class, in place of a federation


COLUMNS = {
    1: [
        Column(f"{data}, {name}", data, kind)
        for name, kind in (("pathological", "pathological"), ("practical", "dirichlet"))
        for data in DATA
    ],
    2: [Column(group, models=group) for group in GROUPS_2]
    + [Column(f"{n} clients", clients=n, join_ratio=0.5) for n in (50, 100, 200)],
    6: [
        Column(f"{name}, lambda {w}", "Tiny-ImageNet", generator=f"stylegan3 {name}", clustering_weight=w)
        for name in GENERATORS_6
        for w in CLUSTERING_WEIGHTS
    ],
    8: [Column(name, "CIFAR-10", generator=name) for name in ("StyleGAN-XL", "Stable Diffusion")],
    9: [Column(f"100-way {shots}-shot", shots=shots) for shots in (23, 9, 2)],
}


class Missing(Exception):
    """What a column needs and is not there."""


def runs_of(table: int, column: Column, args: argparse.Namespace) -> Iterator[tuple[str, FederationConfig | RunConfig]]:
    """Each method of a column with its configuration, of seed 0. Raises Missing."""
    size = SIZES[args.size]
    source, pixels = _data(column.data, size, args)
    generator = args.generator if column.generator is None else _generator(column.generator, args)
    if column.shots is not None:
        yield from _one_edge(DataConfig(source, column.shots, image_size=pixels), generator, size)
        return
    per_client = CLASSES_PER_CLIENT[column.data]
    alignment = ALIGNMENTS.choose("published", clustering_weight=column.clustering_weight)
    paper = FederationConfig(
        method="fedktl",
        source=source,
        image_size=pixels,
        partition=PartitionConfig(column.kind, column.clients, beta=0.1, classes_per_client=per_client),
        models=_models(column.models, size),
        rounds=args.rounds or size.rounds,
        join_ratio=column.join_ratio,
        training=RECIPES["published"],
        transfer="mse",
        warm_start="edge",
        cloud=CloudConfig(generator, alignment, pairs_per_class=1),
        download_budget=LARGEST_DOWNLOAD,
        device=args.device,
    )
    ours = replace(
        paper,
        training=replace(RECIPES["tuned"], epochs=paper.rounds, min_steps=0),
        transfer=federated_transfer(),
        cloud=CloudConfig(generator),
        download_budget=FederationConfig.download_budget,
    )
    for method in dict.fromkeys(method for name, method in PUBLISHED[table] if name == column.name):
        yield method, replace(paper, method=method)
    if table == 1:
        yield "local", replace(paper, method="local")
        yield OURS.format("local"), replace(ours, method="local")
    if column.clustering_weight is None:
        yield OURS.format("fedktl"), ours


def _models(group: str, size: Size) -> str:
    if group not in size.models:
        raise Missing(f"{group} is not part of this size")
    return size.models[group]


def _one_edge(data: DataConfig, generator: str, size: Size) -> Iterator[tuple[str, RunConfig]]:
    paper = replace(ARMS["published"], data=data, rounds=size.edge_rounds)
    for name, config in (("{}", paper), (OURS, replace(ARMS["KTL by pairs"], data=data))):
        config = replace(config, cloud=replace(config.cloud, generator=generator))
        yield name.format("client data only"), replace(config, transfer=None)
        yield name.format("KTL"), config


def _data(name: str, size: Size, args: argparse.Namespace) -> tuple[str, int | None]:
    source, pixels = size.data[name]
    if source in DATASETS.builtin():
        try:
            load_dataset(source, pixels)
        except KtlError as error:
            raise Missing(str(error)) from error
        return source, pixels
    path = args.data_root / source
    if not path.exists():
        raise Missing(f"{path} is missing")
    return str(path), pixels


def _generator(words: str, args: argparse.Namespace) -> str:
    """The file, or folder of a diffusers model, in --generators whose name has all `words`."""
    if args.generators is None:
        raise Missing(f"give --generators FOLDER with a file or folder whose name has {words!r} in it")
    for path in sorted(args.generators.iterdir()):
        if all(_plain(word) in _plain(path.name) for word in words.split()):
            return f"diffusers:{path}" if path.is_dir() else str(path)
    raise Missing(f"{args.generators} has no file or folder whose name has {words!r} in it")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
