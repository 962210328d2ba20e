"""What a finished run keeps for people: enough to draw a report or write a model card without data, cloud or torch."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ktl.data.reading import EARLIER_RANGES, Ranges
from ktl.errors import CheckpointError
from ktl.files import write_atomically

if TYPE_CHECKING:
    import torch

    from ktl.data.fewshot import FewShotTask
    from ktl.pairs import ImageVectorPairs
    from ktl.prototypes import Prototypes

# what is kept for the report's pictures, at most
MAX_SHOTS = 4  # of each class
MAX_MISTAKES = 24
MAX_LATENTS = 600
LIBRARIES = ("ktl", "torch", "torchvision", "numpy", "onnxruntime", "pillow", "safetensors")

Array = NDArray[Any]


@dataclass(frozen=True)
class Record:
    """The facts of a finished run, and its arrays by name.

    Of the n test images: `labels`, `predicted` (n,) int64, `confidence` (n,) float32, the calibrated probability of the
    predicted class. Pictures, uint8 (m, size, size, channels): `shots`, `mistakes`, `generated`, with `shots_labels`,
    `mistakes_index` (into the test images), `generated_labels`. With a cloud: `latents` (l, H), `latents_labels`,
    `prototypes`, `prototypes_labels` of the last round (none where only counts went up), and `valid_latents` (v, H)
    where the cloud was embedded.
    """

    class_names: list[str]
    temperature: float
    parameters: int
    losses: list[list[Any]]  # [round, stage, step, loss] of every tenth step
    weights: str = ""  # the pre-trained ones that the extractor started from, in words; empty if from none
    generator: dict[str, Any] = field(default_factory=dict)  # the cloud's reply; empty without one
    pairs: int = 0  # of the last download
    environment: dict[str, str] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=lambda: EARLIER_RANGES)  # of deep pictures
    arrays: dict[str, Array] = field(default_factory=dict)

    @property
    def right(self) -> list[bool]:
        """Whether each test image was classified right."""
        right: list[bool] = (self.arrays["labels"] == self.arrays["predicted"]).tolist()
        return right


def describe_environment(device: str, threads: int) -> dict[str, str]:
    """Versions and machine, in words."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a source tree
            versions[name] = "not installed"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return {"python": sys.version.split()[0], "machine": machine, "device": device, "threads": str(threads)} | versions


def is_finished(run: Path) -> bool:
    """Whether a training has ended in this folder: its model is what it writes last."""
    return (run / "record.json").is_file() and (run / "model.onnx").is_file()


def write_record(out: Path, record: Record) -> None:
    """Writes record.json and record.safetensors. Raises CheckpointError when they cannot be written."""
    facts = {name: value for name, value in vars(record).items() if name != "arrays"}
    write_atomically(out / "record.json", (json.dumps(facts, indent=1) + "\n").encode())
    contiguous = {name: np.ascontiguousarray(array) for name, array in record.arrays.items()}
    write_atomically(out / "record.safetensors", save(contiguous))


def read_record(run: Path) -> Record:
    """What `write_record` wrote. Raises CheckpointError for a run that has not ended or a damaged file."""
    if not (run / "record.json").is_file():
        raise CheckpointError(f"{run} holds no finished run: record.json is missing; train it to the end")
    try:
        facts = json.loads((run / "record.json").read_text(encoding="utf-8"))
        return Record(**facts, arrays=load_file(run / "record.safetensors"))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"the record of {run} is damaged ({error}); train it anew") from error


def result_arrays(task: FewShotTask, probabilities: torch.Tensor) -> dict[str, Array]:
    """How each test image was classified, from probabilities (n, C), and the pictures of shots and surest mistakes."""
    confidence, predicted = probabilities.max(dim=1)
    wrong = (predicted != task.test_labels).nonzero().squeeze(1)
    surest = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MAX_MISTAKES]
    shots = _first_of_each(task.shot_labels, MAX_SHOTS)
    return {
        "labels": task.test_labels.numpy(),
        "predicted": predicted.numpy(),
        "confidence": confidence.numpy(),
        "mistakes": _pictures(task.test_images[surest]),
        "mistakes_index": surest.numpy(),
        "shots": _pictures(task.shot_images[shots]),
        "shots_labels": task.shot_labels[shots].numpy(),
    }


def cloud_arrays(pairs: ImageVectorPairs, prototypes: Prototypes) -> dict[str, Array]:
    """The image at each class's aligned centroid, some latents, and what the edge sent for them."""
    centroids = _first_of_each(pairs.classes, 1)
    sent = {"prototypes": prototypes.vectors.numpy(), "prototypes_labels": prototypes.classes.numpy()}
    sample = pairs.first(MAX_LATENTS)
    return {
        "generated": _pictures(pairs.images[centroids]),
        "generated_labels": pairs.classes[centroids].numpy(),
        "latents": sample.vectors.numpy().astype(np.float16),
        "latents_labels": sample.classes.numpy(),
    } | ({} if prototypes.vectors.shape[1] == 0 else sent)


def add_valid_latents(run: Path, latents: torch.Tensor) -> None:
    """Puts fresh latents (v, H) of the cloud's generator beside those that came down, for the report's picture."""
    record = read_record(run)
    arrays = record.arrays | {"valid_latents": latents.numpy().astype(np.float16)}
    write_record(run, replace(record, arrays=arrays))


def _first_of_each(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of the first `count` of each class, class after class."""
    import torch

    return torch.cat([(labels == c).nonzero().squeeze(1)[:count] for c in labels.unique()])


def _pictures(images: torch.Tensor) -> Array:
    """uint8 (n, c, h, w) -> (n, h, w, c)."""
    return images.permute(0, 2, 3, 1).numpy()
