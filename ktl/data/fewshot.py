"""The few-shot task: k labelled images per class for training, all test images of those classes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.data.dataset import Dataset, Split, ranges_of, read_by
from ktl.data.reading import Ranges
from ktl.errors import DataError, UsageError
from ktl.seeds import derive


@dataclass(frozen=True)
class FewShotTask:
    """Images uint8 (n, c, size, size); labels (n,) int64, indices into class_names; None where no split is for them.

    `ranges` are what deep picture files among them were read by (`ktl.data.depth`).
    """

    class_names: list[str]
    shot_images: Tensor
    shot_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    calibration_images: Tensor | None = None
    calibration_labels: Tensor | None = None
    ranges: Ranges = field(default_factory=dict)


def draw_task(
    dataset: Dataset, *, shots: int, ways: int | None, seed: int, ranges: Ranges | None = None
) -> FewShotTask:
    """Draws `ways` classes (all if None) and `shots` train images of each, by seed; keeps the data set's class order.

    Deep picture files are read by `ranges`, or else by what is measured on the shots.

    Raises UsageError for shots < 1 or ways outside 2..classes, DataError for a class with fewer images than shots.
    """
    total = len(dataset.class_names)
    if shots < 1:
        raise UsageError(f"--shots is {shots}: at least 1 labelled image per class is needed")
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
    )


def _draw_shots(dataset: Dataset, class_index: int, shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    candidates = np.flatnonzero(dataset.train.labels == class_index)
    if len(candidates) < shots:
        name = dataset.class_names[class_index]
        raise DataError(
            f"class {name!r} has {len(candidates)} train images, fewer than --shots {shots}; add images or lower it"
        )
    return rng.choice(candidates, shots, replace=False)


def _read_all(split: Split, classes: NDArray[np.int64], ranges: Ranges) -> tuple[Tensor, Tensor]:
    return _read(split, np.flatnonzero(np.isin(split.labels, classes)), classes, ranges)


def _read(split: Split, index: NDArray[np.int64], classes: NDArray[np.int64], ranges: Ranges) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(read_by(split.images, ranges)[index]).permute(0, 3, 1, 2).contiguous()
    return images, torch.from_numpy(np.searchsorted(classes, split.labels[index]))
