"""int8 models; an edge's are calibrated on generated images, so that can be done away from the device."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from safetensors.numpy import load

from ktl.data.images import Images
from ktl.edge.export.measure import Measured
from ktl.edge.onnx.model_file import head_nodes
from ktl.edge.onnx.preprocessing import GREY_CONVERSION
from ktl.edge.record import Record
from ktl.errors import CheckpointError
from ktl.wire import MAX_PAIR_BYTES, MAX_PAIRS_PER_CLASS, SessionRequest, decode_pairs

CALIBRATION_IMAGES = 512
BATCH = 64
OPERATORS = ["Conv", "Gemm", "MatMul", "Add", "MaxPool", "GlobalAveragePool"]
METHODS = {"smallest and largest value": CalibrationMethod.MinMax, "99.999th percentile": CalibrationMethod.Percentile}


@dataclass(frozen=True)
class Quantisation:
    """A model before, and the last that was tried; `calibration` is None where none was good enough."""

    before: Measured
    after: Measured
    calibration: str | None


class PairReader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Feeds images, of pairs or others, to the calibration, one batch at a time."""

    def __init__(self, images: Images) -> None:
        some = images[:: max(1, len(images) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
        count = math.ceil(len(some) / BATCH)
        size = len(some) // count  # all the same, or onnxruntime's percentiles fail
        self.batches: list[Images] = [some[i * size : (i + 1) * size] for i in range(count)]
        self.rewind()

    @classmethod
    def of(cls, run: Path, record: Record) -> PairReader:
        """For the images of a run's last download."""
        return cls(received_images(run, record))

    def rewind(self) -> None:
        """Starts again."""
        self._left = iter(self.batches)

    def get_next(self) -> dict[str, Images] | None:
        """What the model takes: {"images": uint8 RGB (n, size, size, 3)}; None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {"images": batch}


def received_images(run: Path, record: Record) -> Images:
    """The generated images that the cloud sent last, from wire/ alone: uint8 RGB (n, size, size, 3)."""
    files = sorted((run / "wire").glob("*-pairs.safetensors"))
    if not files:
        raise CheckpointError(
            f"{run} has no image-vector pairs to calibrate int8 on: train it with a cloud, or leave it"
        )
    payload = files[-1].read_bytes()
    size, channels = record.arrays["shots"].shape[2:]
    request = SessionRequest(
        num_classes=len(record.class_names),
        image_size=size,
        channels=channels,
        pairs_per_class=MAX_PAIRS_PER_CLASS,
        download_bytes=MAX_PAIR_BYTES,
        alignment="",
        image_format="webp",
        seed=0,
    )
    pairs = decode_pairs(payload, request, load(payload)["vectors"].shape[1])
    images: Images = pairs.images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous().numpy()
    return images


def quantise(
    model: Path,
    out: Path,
    pairs: PairReader,
    measured: Callable[[Path], Measured],
    max_drop: float,
    *,
    float_head: bool = False,
) -> Quantisation:
    """Writes `out`, an int8 version of `model` calibrated on `pairs`.

    Weights are signed 8-bit with a scale for each output channel, activations unsigned 8-bit. Tries METHODS until one
    loses at most `max_drop` of accuracy (a share); leaves no file where none does. With `float_head` only extractors
    are quantised.
    """
    before = measured(model)
    for name, method in METHODS.items():
        pairs.rewind()
        _quantise(model, out, pairs, method, [GREY_CONVERSION, *(head_nodes(model) if float_head else [])])
        after = measured(out)
        if before.accuracy - after.accuracy <= max_drop + 1e-9:
            return Quantisation(before, after, name)
    out.unlink()
    return Quantisation(before, after, None)


def _quantise(model: Path, out: Path, pairs: PairReader, method: CalibrationMethod, exact: list[str]) -> None:
    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        with redirect_stdout(io.StringIO()):  # the histogram's progress
            quantize_static(
                model,
                out,
                pairs,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATORS,
                nodes_to_exclude=exact,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=method,
            )
    finally:
        root.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> Any:
    """onnxruntime logs to the root logger that one could pre-process the model."""
    return "quantization" not in record.pathname
