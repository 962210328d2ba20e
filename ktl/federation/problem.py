"""What a federation learns from: what every client holds, and what all parties know before the first round."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ktl.data import check_apart, check_fit, load_dataset
from ktl.data.hold_out import HoldOut, by_content, by_number
from ktl.data.image_folder import load_kept
from ktl.data.manifest import read_manifest
from ktl.data.partition import FederatedData, share_out
from ktl.data.partition_files import load_partition, partition_files
from ktl.data.settings import Fit, PartitionConfig
from ktl.federation.settings import FederationConfig
from ktl.loop.exchange import session_request
from ktl.loop.folder import RunFolder
from ktl.methods import METHODS
from ktl.methods.base import Problem
from ktl.models import model_group
from ktl.registry import chosen


def data_of(config: FederationConfig, out: Path, source: str | None = None) -> FederatedData:
    """What the clients of the federation in `out` hold, exactly what they held if it has begun.

    `source`: where its data is now, if not where it was. Raises UsageError and DataError, also for data in `out` and
    for data that is no longer as it was.
    """
    source = source or config.source
    check_apart(source, out)
    kept = read_manifest(out)
    if kept is not None and kept.files:
        dataset = load_kept(Path(source), kept, config.image_size, fit=config.fit)
        return share_out(dataset, config.partition, config.seed)
    data = federated_data(
        source,
        config.image_size,
        config.partition,
        config.seed,
        skip_damaged=config.skip_damaged,
        fit=config.fit,
        hold_out=by_number if RunFolder(out).begun else by_content,
    )
    if kept is not None:
        kept.check(data.manifest, source)
    return data


def federated_data(
    source: str,
    image_size: int | None,
    partition: PartitionConfig,
    seed: int,
    *,
    skip_damaged: bool = False,
    fit: Fit = "crop",
    hold_out: HoldOut = by_content,
) -> FederatedData:
    """A saved partition's folder as it is, or a data set shared out to clients."""
    if _is_partition(source):
        check_fit(source, fit)
        return load_partition(Path(source))
    dataset = load_dataset(source, image_size, skip_damaged=skip_damaged, fit=fit, hold_out=hold_out)
    return share_out(dataset, partition, seed)


def client_count(config: FederationConfig) -> int:
    """How many clients the federation has, those that hold nothing included."""
    if _is_partition(config.source):
        return len(partition_files(Path(config.source)))
    return config.partition.clients


def _is_partition(source: str) -> bool:
    return (Path(source) / "train" / "0.npz").is_file()


def federated_problem(config: FederationConfig, data: FederatedData) -> Problem:
    """What every party of the federation knows before its first round."""
    return problem_of(config, data.counts("train"), data.images.shape[1], data.images.shape[2])


def problem_of(config: FederationConfig, counts: Tensor, channels: int, image_size: int) -> Problem:
    """The same of training images by client and class, (clients, classes) int64, that are elsewhere."""
    return Problem(
        counts=counts,
        channels=channels,
        image_size=image_size,
        models=tuple(model_group(config.models)),
        rounds=config.rounds,
        seed=config.seed,
        training=METHODS.load(chosen(config.method).name).recipe(config.training),
        request=session_request(
            config.cloud,
            classes=counts.shape[1],
            channels=channels,
            image_size=image_size,
            download_bytes=config.download_budget,
            seed=config.seed,
            warm_starts=config.warm_started,
        ),
    )
