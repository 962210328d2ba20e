"""How a finished model does on data that it was not made of, whose classes are called by the same names."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ktl.data import DATASETS, load_dataset
from ktl.data.dataset import Split, read_by
from ktl.data.image_folder import files_to_test, split_of
from ktl.data.manifest import digest_of, read_manifest
from ktl.edge.inference.predictor import Predictor
from ktl.edge.run import evaluate_run
from ktl.errors import DataError, UsageError
from ktl.learning.evaluation import BATCH, Evaluation

NAMED = 5  # classes in a line, at most

log = logging.getLogger(__name__)


def evaluate_on(model: Path, source: str, *, skip_damaged: bool = False) -> tuple[Evaluation, list[str]]:
    """The model in the folder of a run or a bundle on the data `source`; returns the model's class names too.

    If a run's own test images are there, it is they. Else the test split of a data set or folder, or all of a folder
    without splits but what the run may have been trained on. Classes are matched by name; logged lines name those that
    one of the two lacks. Raises CheckpointError for no finished model, UsageError and DataError for `source`.
    """
    kept = read_manifest(model)
    if kept is not None:
        with suppress(DataError, UsageError):  # then it is other data, or none
            return evaluate_run(model, source)
    predictor = Predictor(model)
    learnt = set() if kept is None else set(kept.digests(["train", "calibration"]).values())
    split, names = _tested(source, predictor, learnt, skip_damaged=skip_damaged)
    if kept is not None:
        log.warning("%s is other data than %s was made of", source, model)
    classes = _matched(source, split.labels, names, predictor.labels)
    index = np.flatnonzero(classes[split.labels] >= 0)
    images = read_by(split.images, predictor.ranges)
    confusion = torch.zeros(len(predictor.labels), len(predictor.labels), dtype=torch.int64)
    for batch in np.array_split(index, range(BATCH, len(index), BATCH)):
        pictures = images[batch]
        predicted = predictor.probabilities(np.repeat(pictures, 3 // pictures.shape[3], axis=3)).argmax(axis=1)
        np.add.at(confusion.numpy(), (classes[split.labels[batch]], predicted), 1)
    return Evaluation(confusion), predictor.labels


def _tested(
    source: str, predictor: Predictor, learnt: Collection[str], *, skip_damaged: bool
) -> tuple[Split, list[str]]:
    """What there is to test on, as the model sees it, and its class names; files of digests `learnt` are left out."""
    if source in DATASETS.builtin() or not Path(source).is_dir():
        dataset = load_dataset(source, predictor.size)
        return dataset.test, dataset.class_names
    found = files_to_test(Path(source), skip_damaged=skip_damaged)
    new = {name: [file for file in files if digest_of(file) not in learnt] for name, files in found.items()}
    if seen := sum(map(len, found.values())) - sum(map(len, new.values())):
        log.warning("left out of %s: %d pictures that the run had to learn from", source, seen)
    return split_of(new, predictor.size, fit=predictor.fit), list(new)


def _matched(source: str, labels: NDArray[np.int64], names: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """For each class of `source` its index among the model's, -1 where it is none. Raises DataError for all -1."""
    classes = np.array([known.index(name) if name in known else -1 for name in names], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(names))
    there = [name for name, count in zip(names, counts, strict=True) if count]
    if not set(there) & set(known):
        raise DataError(f"{source} has no picture to test on of the classes that the model knows ({_listed(known)})")
    if lacking := [name for name in known if name not in there]:
        log.warning("%s has no picture of: %s", source, _listed(lacking))
    if strange := [name for name in there if name not in known]:
        pictures = int(counts[classes < 0].sum())
        log.warning(
            "left out of %s: %d pictures of classes that the model does not know: %s",
            source,
            pictures,
            _listed(strange),
        )
    return classes


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
