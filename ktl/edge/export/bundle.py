"""What leaves for the device: a folder or .zip with a model, its labels, a card that says what it is, and a script."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from ktl.edge.export.bundle_source import Source, edge_run, rgb_pictures
from ktl.edge.export.measure import Measured, measure, run_model
from ktl.edge.export.quantise import PairReader, Quantisation, quantise
from ktl.edge.export.script import predict_script
from ktl.edge.onnx.model_file import PictureClassifier
from ktl.errors import UsageError
from ktl.files import replace_atomically, write_json
from ktl.learning.evaluation import BATCH
from ktl.models.edge_model import EdgeModel

FORMATS = {
    "onnx": "model.onnx",
    "torchscript": "model.pt",
    "torch-export": "model.pt2",
    "safetensors": "model.safetensors",
}
MAX_DIFFERENCE = 1e-4  # of a probability between torch and a float32 export


@dataclass(frozen=True)
class Parity:
    """The exported model against torch on the test images."""

    images: int
    same_class: int
    largest_difference: float  # of a probability

    @property
    def holds(self) -> bool:
        """Whether it is the same model."""
        return self.same_class == self.images and self.largest_difference <= MAX_DIFFERENCE


@dataclass(frozen=True)
class Bundle:
    """What was written, how it compares with torch, and what quantisation did; None where that was not done."""

    out: Path
    parity: Parity | None
    quantisation: Quantisation | None
    calibrated_on: str


def write_bundle(
    run: Path,
    out: Path,
    *,
    format_name: str = "onnx",
    int8: bool = False,
    max_drop: float = 0.01,
    optimise: bool = False,
    check: bool = True,
    load: Callable[[Path], Source] = edge_run,
) -> Bundle:
    """Exports a finished run to the folder or .zip file `out`.

    With `int8` the model is quantised, unless that loses more than `max_drop` of accuracy (a share); then it stays
    float32. `optimise` stores the graph as ONNX Runtime simplifies it. `check` compares with torch on the test images.
    `load` reads the run: one edge's, or a federation's client by `ktl.federation.client_source`.
    Raises UsageError if `out` exists or the options exclude each other, CheckpointError for an unfinished run.
    """
    _check(out, format_name, onnx_only=int8 or optimise)
    source = load(run)
    export = _Export(source)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / (out.stem if out.suffix == ".zip" else out.name)
        folder.mkdir()
        model = folder / FORMATS[format_name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, of what was asked for
            _WRITERS[format_name](export, model)
        quantisation = export.quantise(model, max_drop) if int8 else None
        quantised = quantisation is not None and quantisation.calibration is not None
        if optimise:
            _optimise(model)
        parity = export.parity(format_name, model) if check and not quantised else None
        export.describe(model, quantisation)
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".zip":
            replace_atomically(out, partial(_zip, folder))
        else:
            shutil.copytree(folder, out)
    return Bundle(out, parity, quantisation, source.calibrated_on)


def _check(out: Path, format_name: str, *, onnx_only: bool) -> None:
    if format_name not in FORMATS:
        raise UsageError(f"unknown format {format_name!r}: choose one of {', '.join(FORMATS)}")
    if format_name != "onnx" and onnx_only:
        raise UsageError(f"--int8 and --optimize are for --format onnx, not {format_name}: leave them out")
    if out.exists():
        raise UsageError(f"{out} exists: remove it or name another --out")


class _Export:
    """A source, ready to be written in any format."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.classifier = PictureClassifier(source.model, source.facts.temperature).eval()
        self.test_pictures = rgb_pictures(source.task.test_images)
        self.test_labels: NDArray[np.int64] = source.task.test_labels.numpy()

    def parity(self, format_name: str, model: Path) -> Parity | None:
        """None for weights alone, which nothing can run."""
        if format_name == "safetensors":
            return None
        tested = self.source.task.test_images
        with torch.no_grad():
            expected = torch.cat([self.classifier(batch) for batch in tested.split(BATCH)]).numpy()
            if format_name == "onnx":
                exported = run_model(model, self.test_pictures)
            else:
                exported = _run_torch(format_name, model, tested)
        same = int((expected.argmax(axis=1) == exported.argmax(axis=1)).sum())
        return Parity(len(expected), same, float(np.abs(expected - exported).max()))

    def quantise(self, model: Path, max_drop: float) -> Quantisation:
        """Replaces `model` by its int8 version if that is good enough."""

        def measured(file: Path) -> Measured:
            return measure(file, self.test_pictures, self.test_labels)

        source, int8 = self.source, model.with_suffix(".int8")
        images = PairReader(source.calibration())
        result = quantise(model, int8, images, measured, max_drop, float_head=source.float_head)
        if result.calibration is not None:
            int8.replace(model)
        return result

    def describe(self, model: Path, quantisation: Quantisation | None) -> None:
        """Puts labels and card beside `model`, and the script where it is what the script runs."""
        write_json(model.with_name("labels.json"), self.source.facts.labels)
        model.with_name("card.md").write_text(
            self.source.card(model.name, quantisation), encoding="utf-8", errors="backslashreplace"
        )
        if model.name == FORMATS["onnx"]:
            model.with_name("predict.py").write_text(predict_script(), encoding="utf-8")


def _write_onnx(export: _Export, path: Path) -> None:
    export.source.write_onnx(path)


def _write_torchscript(export: _Export, path: Path) -> None:
    traced = torch.jit.trace(export.classifier, export.source.task.test_images[:2])
    torch.jit.save(traced, path)


def _write_torch_export(export: _Export, path: Path) -> None:
    batch = {"images": {0: torch.export.Dim("n", min=1)}}
    program = torch.export.export(export.classifier, (export.source.task.test_images[:2],), dynamic_shapes=batch)
    torch.export.save(program, path)


def _write_safetensors(export: _Export, path: Path) -> None:
    model, config = export.source.model, export.source.config
    if not isinstance(model, EdgeModel):
        raise UsageError(
            f"--format safetensors holds the weights of one network, not a {type(model).__name__}: use onnx"
        )
    facts = asdict(export.source.facts) | {"model": config.model, "scale": config.training.scale}
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata={"ktl": json.dumps(facts)})


_WRITERS: dict[str, Callable[[_Export, Path], None]] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "torch-export": _write_torch_export,
    "safetensors": _write_safetensors,
}


def _run_torch(format_name: str, path: Path, images: torch.Tensor) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(path) if format_name == "torchscript" else torch.export.load(path).module()
        probabilities: NDArray[np.float32] = module(images).numpy()
    return probabilities


def _optimise(model: Path) -> None:
    """Stores the graph as ONNX Runtime simplifies it for any machine: constants folded, nodes fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(model.with_suffix(".optimised"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    model.with_suffix(".optimised").replace(model)


def _zip(folder: Path, out: Path) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
