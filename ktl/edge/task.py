"""What a run of one edge is trained and tested on: drawn, or found again as it was."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task, in_classes, read_split
from ktl.data.hold_out import by_content, by_number
from ktl.data.image_folder import DETAILED, load_kept, split_of
from ktl.data.manifest import Manifest, read_manifest
from ktl.data.partition_files import load_partition
from ktl.data.settings import Fit
from ktl.edge.record import Record, is_finished, read_record
from ktl.edge.settings import RunConfig
from ktl.errors import DataError, UsageError
from ktl.learning.settings import AUTO
from ktl.loop.folder import RunFolder, load_config
from ktl.models.shipped import shipped_extractor

PHOTOGRAPHS, SMALL_IMAGES = "resnet8-slim", "cnn4"  # the models that suit them
PRETRAINED_PIXELS = 96  # of photographs, also smaller ones: pre-trained weights know larger objects


def draw(config: RunConfig, run: Path | None = None, data: str | None = None) -> FewShotTask:
    """The few-shot task that a run of `config` learns, or that the run in the folder `run` has begun to learn.

    `data`: where that one's data is now. Raises UsageError and DataError, also for data that is no longer as it was.
    """
    settings, source = config.data, data or config.data.source
    kept = None if run is None else read_manifest(run)
    task = _drawn(config, run, source, kept) if settings.client is None else _client_task(source, settings.client)
    if settings.classes is not None:
        task = in_classes(task, settings.classes)
    if kept is not None:
        kept.check(task.manifest, source)
    return task


def _drawn(config: RunConfig, run: Path | None, source: str, kept: Manifest | None) -> FewShotTask:
    settings = config.data
    if kept is not None and kept.files:
        dataset = load_kept(Path(source), kept, settings.image_size, fit=settings.fit)
    else:
        begun = run is not None and RunFolder(run).begun
        to_train = settings.shots if isinstance(settings.shots, int) else 1
        hold_out = by_number if begun else partial(by_content, to_train=to_train)
        skip, fit, size = settings.skip_damaged, settings.fit, settings.image_size
        photo_size = None if begun else PRETRAINED_PIXELS if config.pretrained else DETAILED
        try:
            dataset = load_dataset(source, size, skip_damaged=skip, fit=fit, hold_out=hold_out, photo_size=photo_size)
        except UsageError as error:
            if kept is None:
                raise
            raise DataError(f"the data of this run is not here ({error}); name where it is now by --data") from error
    ranges = read_record(run).ranges if run is not None and (run / "record.json").is_file() else None
    return draw_task(dataset, shots=settings.shots, ways=settings.ways, seed=config.seed, ranges=ranges)


def _client_task(source: str, client: int) -> FewShotTask:
    if not (Path(source) / "train").is_dir():
        raise UsageError(f"--client is for a folder of `ktl partition save`, and {source} is none")
    shares = load_partition(Path(source))
    if client >= len(shares.clients):
        raise UsageError(f"--client is {client}: {source} has clients 0 to {len(shares.clients) - 1}")
    task = shares.task(client)
    for what, labels in (("training", task.shot_labels), ("test", task.test_labels)):
        if len(labels) == 0:
            raise UsageError(f"client {client} of {source} has no {what} image: name another --client")
    return task


def settled(config: RunConfig, task: FewShotTask) -> RunConfig:
    """`config` with what it left to the data: a folder's image size, the model, who warms up the extractor."""
    channels, size = task.shot_images.shape[1:3]
    if Path(config.data.source).is_dir():
        config = replace(config, data=replace(config.data, image_size=size))
    if config.model == AUTO:
        config = replace(config, model=PHOTOGRAPHS if channels == 3 and size >= DETAILED else SMALL_IMAGES)
    if config.warm_start == "auto":
        helped = config.transfer is not None and not config.pretrained
        ships = helped and shipped_extractor(config.model, channels, size) is not None
        config = replace(config, warm_start="cloud" if ships else "edge")
    return config


def settled_as(config: RunConfig, kept: RunConfig) -> RunConfig:
    """`config` with what it leaves open as a run that has begun settled it."""
    if config.model == AUTO:
        config = replace(config, model=kept.model)
    if config.warm_start == "auto":
        config = replace(config, warm_start=kept.warm_start)
    if config.data.image_size is None:
        config = replace(config, data=replace(config.data, image_size=kept.data.image_size))
    return config


def task_to_test(out: Path, data: str | None = None) -> FewShotTask:
    """The task of the run in `out`; of a finished one of a folder only the test images are read. Raises as `draw`."""
    config, kept = load_config(out, RunConfig), read_manifest(out)
    if kept is None or not kept.files or not is_finished(out):
        return draw(config, out, data)
    record = read_record(out)
    files = kept.located(Path(data or config.data.source), ["test"])["test"]
    size, channels = record.arrays["shots"].shape[2:]
    split = split_of({name: files.get(name, []) for name in kept.class_names}, size, channels, config.data.fit)
    images, labels = read_split(split, record.ranges)
    return replace(kept_task(record, config.data.fit), test_images=images, test_labels=labels)


def kept_task(record: Record, fit: Fit) -> FewShotTask:
    """What a finished run keeps of its pictures, in place of its data: some shots, and the same with its surest
    mistakes to test on. `fit` is how they became square.
    """
    arrays = {name: torch.from_numpy(array) for name, array in record.arrays.items()}
    shots, mistakes = (arrays[name].permute(0, 3, 1, 2).contiguous() for name in ("shots", "mistakes"))
    labels = arrays["shots_labels"], arrays["labels"][arrays["mistakes_index"]]
    return FewShotTask(
        record.class_names,
        shots,
        labels[0],
        torch.cat([shots, mistakes]),
        torch.cat(labels),
        ranges=record.ranges,
        fit=fit,
    )
