"""The few-shot task: k labelled images per class for training, all test images of those classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.data.dataset import Dataset, Split, ranges_of, read_by
from ktl.data.manifest import Files, Manifest, arrays_digest
from ktl.data.reading import Ranges
from ktl.data.settings import Fit, checked_shots, most_shots
from ktl.errors import DataError, UsageError
from ktl.seeds import derive


@dataclass(frozen=True, eq=False)  # tasks are told apart by which they are, not by what tensors hold
class FewShotTask:
    """Images uint8 (n, c, size, size); labels (n,) int64, indices into class_names; None where no split is for them.

    `ranges` are what deep picture files among them were read by (`ktl.data.depth`); `files` those of the folder that it
    was drawn from, if it was one. `balanced`: whether every class counts alike in the loss, however many shots it has.
    `fit` is how pictures became square.
    """

    class_names: list[str]
    shot_images: Tensor
    shot_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    calibration_images: Tensor | None = None
    calibration_labels: Tensor | None = None
    ranges: Ranges = field(default_factory=dict)
    balanced: bool = False
    fit: Fit = "crop"
    files: Files = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """What a run on it keeps, so as to know the same data again."""
        if self.files:
            return Manifest(self.class_names, self.files)
        parts = {
            "shots": (self.shot_images, self.shot_labels),
            "test images": (self.test_images, self.test_labels),
            "calibration images": (self.calibration_images, self.calibration_labels),
        }
        arrays = {
            what: arrays_digest(images.numpy(), labels.numpy())
            for what, (images, labels) in parts.items()
            if images is not None and labels is not None
        }
        return Manifest(self.class_names, arrays=arrays)


def draw_task(
    dataset: Dataset, *, shots: int | str, ways: int | None, seed: int, ranges: Ranges | None = None
) -> FewShotTask:
    """Draws `ways` classes (all if None) and `shots` train images of each, by seed; keeps the data set's class order.

    `shots` may be "all", or "up to 20": then classes may have unequal numbers, and the task is balanced.
    Deep picture files are read by `ranges`, or else by what is measured on the shots.

    Raises UsageError for other shots or ways outside 2..classes, DataError for a class with fewer images than shots.
    """
    total = len(dataset.class_names)
    shots = checked_shots(shots)
    if ways is not None and not 2 <= ways <= total:
        raise UsageError(f"--ways is {ways}: {dataset.name} has {total} classes, so give 2 to {total}")
    rng = np.random.default_rng(derive(seed, "task"))
    classes = np.arange(total) if ways is None else np.sort(rng.choice(total, ways, replace=False))
    chosen = np.concatenate([_draw_shots(dataset, int(c), shots, rng) for c in classes])
    if ranges is None:
        ranges = ranges_of(dataset.train.images, chosen)
    kept = dataset.calibration
    images, labels = (None, None) if kept is None else _read_all(kept, classes, ranges)
    return FewShotTask(
        [dataset.class_names[c] for c in classes],
        *_read(dataset.train, chosen, classes, ranges),
        *_read_all(dataset.test, classes, ranges),
        calibration_images=images,
        calibration_labels=labels,
        ranges=ranges,
        balanced=not isinstance(shots, int),
        fit=dataset.fit,
        files=dataset.files,
    )


def in_classes(task: FewShotTask, names: Sequence[str]) -> FewShotTask:
    """The same images with labels that are indices into `names`, of which a task's classes may be some.

    Raises UsageError for a class that is none of them.
    """
    if strange := [name for name in task.class_names if name not in names]:
        raise UsageError(f"class {strange[0]!r} is none of the {len(names)} classes: leave its images out, or name it")
    index = torch.tensor([names.index(name) for name in task.class_names])
    kept = task.calibration_labels
    return replace(
        task,
        class_names=[*names],
        shot_labels=index[task.shot_labels],
        test_labels=index[task.test_labels],
        calibration_labels=None if kept is None else index[kept],
    )


def _draw_shots(dataset: Dataset, class_index: int, shots: int | str, rng: np.random.Generator) -> NDArray[np.int64]:
    candidates = np.flatnonzero(dataset.train.labels == class_index)
    if isinstance(shots, int) and len(candidates) < shots:
        raise _too_few(dataset, class_index, len(candidates), shots)
    return rng.choice(candidates, min(most_shots(shots) or len(candidates), len(candidates)), replace=False)


def _too_few(dataset: Dataset, class_index: int, left: int, shots: int) -> DataError:
    name, tested = dataset.class_names[class_index], int((dataset.test.labels == class_index).sum())
    if dataset.held_out:
        has = f"{left + tested} images, {tested} of them held out for testing: {left} are left, fewer"
    else:
        has = f"{left} images to train on, fewer"
    advice = f"add images, lower --shots, or give --shots 'up to {shots}'"
    return DataError(f"class {name!r} has {has} than {shots} shots; {advice}")


def read_split(split: Split, ranges: Ranges) -> tuple[Tensor, Tensor]:
    """All its images uint8 (n, c, size, size), deep files read by `ranges`, and labels (n,) int64."""
    return _read(split, np.arange(len(split.labels)), np.arange(split.labels.max() + 1), ranges)


def _read_all(split: Split, classes: NDArray[np.int64], ranges: Ranges) -> tuple[Tensor, Tensor]:
    return _read(split, np.flatnonzero(np.isin(split.labels, classes)), classes, ranges)


def _read(split: Split, index: NDArray[np.int64], classes: NDArray[np.int64], ranges: Ranges) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(read_by(split.images, ranges)[index]).permute(0, 3, 1, 2).contiguous()
    return images, torch.from_numpy(np.searchsorted(classes, split.labels[index]))
