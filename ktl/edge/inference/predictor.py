"""Classifying pictures with an exported model: ONNX Runtime, numpy and Pillow only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ktl.data.images import Images, read_image
from ktl.data.reading import EARLIER_RANGES, Ranges
from ktl.data.settings import Fit
from ktl.errors import CheckpointError, DataError
from ktl.files import why_unreadable
from ktl.run_folder import to_export_first

UNKNOWN = "unknown"
BATCH = 32  # pictures held in memory at a time

Source = tuple[str, "Path | IO[bytes] | Images"]  # what it is called, and where it comes from


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a picture with their probabilities 0..1, best first; or why it was not read.

    `label` is the best class, or "unknown" where its probability is under what was asked for.
    """

    name: str
    label: str | None = None
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None

    @property
    def probability(self) -> float | None:
        """The best class's probability."""
        return self.top[0][1] if self.top else None


class Predictor:
    """A run's or bundle's model.onnx and labels.json. Raises CheckpointError if they are missing, damaged or differ."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        model, labels = folder / "model.onnx", folder / "labels.json"
        if not model.is_file() or not labels.is_file():
            raise CheckpointError(
                to_export_first(folder)
                or f"{folder} holds no finished run: model.onnx or labels.json is missing; train it to the end"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # decoding the pictures is the work, and has threads of its own
        try:
            self.labels: list[str] = json.loads(labels.read_text())
            self.session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
            facts: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map["ktl"])
            self.size = int(facts["image_size"])
            self.ranges: Ranges = facts.get("ranges", EARLIER_RANGES)
            self.fit: Fit = facts.get("fit", "crop")
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise CheckpointError(
                f"{folder} cannot be read ({why_unreadable(model, error)}); export the run anew"
            ) from error
        if facts["labels"] != self.labels:
            raise CheckpointError(f"{model} {_disagreement(facts['labels'], self.labels, labels)}; export the run anew")

    def predict(
        self, sources: Iterable[Path | Source], *, top: int = 1, reject_below: float = 0.0
    ) -> Iterator[Prediction]:
        """One prediction per picture, in order, with its `top` classes; unreadable ones yield their error.

        Reads on batch by batch, so that any number of pictures takes bounded memory.
        """
        named = ((str(source), source) if isinstance(source, Path) else source for source in sources)
        with ThreadPoolExecutor(max_workers=2) as readers:
            while batch := list(islice(named, BATCH)):
                reading = [readers.submit(self._read, name, source) for name, source in batch]
                yield from self._predict_batch([name for name, _ in batch], reading, top, reject_below)

    def probabilities(self, images: Images) -> NDArray[np.float32]:
        """uint8 RGB images (n, h, w, 3) -> (n, classes)."""
        (probabilities,) = self.session.run(None, {"images": images})
        result: NDArray[np.float32] = probabilities
        return result

    def _read(self, name: str, source: Path | IO[bytes] | Images) -> Images:
        if isinstance(source, np.ndarray):
            return source
        return read_image(source, self.size, 3, name, self.ranges, self.fit)

    def _predict_batch(
        self, names: list[str], reading: list[Future[Images]], top: int, reject_below: float
    ) -> Iterator[Prediction]:
        for name, image in zip(names, reading, strict=True):
            try:
                probabilities = self.probabilities(image.result()[None])[0]
            except DataError as error:
                yield Prediction(name, error=str(error))
                continue
            best = np.argsort(-probabilities, kind="stable")[:top]
            classes = tuple((self.labels[i], float(probabilities[i])) for i in best)
            yield Prediction(name, classes[0][0] if classes[0][1] >= reject_below else UNKNOWN, classes)


def _disagreement(known: list[str], named: list[str], file: Path) -> str:
    if len(known) != len(named):
        return f"has {len(known)} classes, but {file} names {len(named)}"
    at = next(i for i, (one, other) in enumerate(zip(known, named, strict=True)) if one != other)
    return f"calls class {at} {known[at]!r}, but {file} names it {named[at]!r}"
