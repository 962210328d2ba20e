"""Classifying pictures with an exported run: ONNX Runtime, numpy and Pillow only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ktl.data.images import read_image
from ktl.errors import CheckpointError, DataError


@dataclass(frozen=True)
class Prediction:
    """The most probable class of a picture, with its probability 0..1; or the error that kept it from being read."""

    file: Path
    label: str | None
    probability: float | None
    error: str | None = None


class Predictor:
    """A run's model.onnx and labels.json. Raises CheckpointError if they are missing, damaged or disagree."""

    def __init__(self, run: Path) -> None:
        import onnxruntime

        model, labels = run / "model.onnx", run / "labels.json"
        if not model.is_file() or not labels.is_file():
            raise CheckpointError(
                f"{run} holds no finished run: model.onnx or labels.json is missing; train it to the end"
            )
        try:
            self.labels: list[str] = json.loads(labels.read_text())
            self.session = onnxruntime.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise CheckpointError(
                f"{run} cannot be read ({str(error).splitlines()[0]}); export the run anew"
            ) from error
        _, self.size, _, self.channels = self.session.get_inputs()[0].shape
        outputs = self.session.get_outputs()[0].shape[1]
        if outputs != len(self.labels):
            raise CheckpointError(
                f"{model} has {outputs} classes, but {labels} names {len(self.labels)}; export the run anew"
            )

    def predict(self, files: Sequence[Path]) -> Iterator[Prediction]:
        """One prediction a file, in order; a file that cannot be read yields its error and the rest goes on."""
        for file in files:
            try:
                image = read_image(file, self.size, self.channels)
            except DataError as error:
                yield Prediction(file, None, None, str(error))
                continue
            (logits,) = self.session.run(None, {"images": image[None]})
            shifted = np.exp(logits[0] - logits[0].max())
            best = int(shifted.argmax())
            yield Prediction(file, self.labels[best], float(shifted[best] / shifted.sum()))
