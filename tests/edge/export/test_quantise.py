"""int8 models: small, as good, and calibrated without a private image."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ktl.edge.compare import Comparison
from ktl.edge.export.bundle import write_bundle
from ktl.edge.export.measure import Latency, Measured
from ktl.edge.export.quantise import METHODS, PairReader, quantise, received_images
from ktl.edge.inference.predictor import Predictor
from ktl.edge.record import read_record
from ktl.errors import CheckpointError

opened: list[str] | None = None


def note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook cannot be taken off again, so it listens only while `opened` is a list."""
    if opened is not None and event == "open" and isinstance(arguments[0], str | bytes | Path):
        name = arguments[0]
        opened.append(name.decode() if isinstance(name, bytes) else str(name))


sys.addaudithook(note_opened)


def test_an_int8_bundle_is_small_and_as_good(embedded_run: Path, tmp_path: Path) -> None:
    bundle = write_bundle(embedded_run, tmp_path / "bundle", int8=True)
    quantisation = bundle.quantisation
    assert quantisation is not None
    assert quantisation.calibration in METHODS  # which one is good enough first, a processor's rounding decides
    assert quantisation.after.accuracy >= quantisation.before.accuracy - 0.01
    assert quantisation.before.size == (embedded_run / "model.onnx").stat().st_size
    assert (bundle.out / "model.onnx").stat().st_size == quantisation.after.size <= 0.3 * quantisation.before.size
    card = (bundle.out / "card.md").read_text(encoding="utf-8")
    assert f"on the generated images, by {quantisation.calibration}; no private image" in card
    assert Predictor(bundle.out).labels == Predictor(embedded_run).labels
    weights = {i.name: i for i in onnx.load(bundle.out / "model.onnx").graph.initializer}
    scales = [onnx.numpy_helper.to_array(t).shape for name, t in weights.items() if "weight_scale" in name]
    assert (32,) in scales  # one for each channel of the first convolution
    assert (64,) in scales


def test_calibration_opens_the_pairs_and_no_other_file_of_run_or_data(
    finished: Comparison, small_bundle: Path, tmp_path: Path
) -> None:
    global opened
    run, record = finished.ktl.out, read_record(finished.ktl.out)
    private = replace(record, arrays={"shots": np.empty((0, 16, 16, 3), np.uint8)})  # only the shape is known
    good = Measured(1.0, 1, Latency(1.0, 1.0))
    model = shutil.copy(run / "model.onnx", tmp_path / "model.onnx")
    opened = []
    quantise(model, tmp_path / "int8.onnx", PairReader.of(run, private), lambda file: good, 0.0)
    names, opened = opened, None
    own = {Path(name).resolve() for name in names if Path(name).resolve().is_relative_to(run.resolve())}
    assert own == {run.resolve() / "wire" / "round-003-pairs.safetensors"}
    assert not any(Path(name).resolve() == small_bundle.resolve() for name in names)


def test_the_reader_yields_the_generated_images_as_the_model_takes_them(embedded_run: Path) -> None:
    record = read_record(embedded_run)
    images = received_images(embedded_run, record)
    assert (images.shape, images.dtype) == ((60, 28, 28, 3), np.uint8)
    first = record.arrays["generated"][record.arrays["generated_labels"] == 0][0]
    assert np.array_equal(images[0], np.repeat(first, 3, axis=2))
    reader = PairReader(images)
    batches = []
    while (batch := reader.get_next()) is not None:
        batches.append(batch["images"])
    assert np.array_equal(np.concatenate(batches), images)


@pytest.mark.parametrize(
    ("count", "batches"), [(1, [1]), (64, [64]), (65, [32, 32]), (100, [50, 50]), (2000, [64] * 8)]
)
def test_batches_are_of_one_size(count: int, batches: list[int]) -> None:
    reader = PairReader(np.zeros((count, 4, 4, 3), dtype=np.uint8))
    assert [len(batch) for batch in reader.batches] == batches


def test_percentiles_of_any_number_of_images(embedded_run: Path, tmp_path: Path) -> None:
    images = received_images(embedded_run, read_record(embedded_run))
    pairs = PairReader(np.concatenate([images, images])[:101])
    measured = iter((0.9, 0.5, 0.9))
    model, out = embedded_run / "model.onnx", tmp_path / "int8.onnx"
    quantise(model, out, pairs, lambda file: Measured(next(measured), 1, Latency(1.0, 1.0)), max_drop=0.01)
    assert out.stat().st_size < 0.4 * model.stat().st_size


@pytest.mark.parametrize(
    ("accuracies", "calibration"),
    [
        ((0.9, 0.9), "smallest and largest value"),
        ((0.9, 0.5, 0.9), "99.999th percentile"),
        ((0.9, 0.5, 0.5), None),
    ],
)
def test_the_first_calibration_that_is_good_enough_is_taken(
    finished: Comparison, tmp_path: Path, accuracies: tuple[float, ...], calibration: str | None
) -> None:
    run, measured = finished.ktl.out, iter(accuracies)  # before, then by each method that is tried
    pairs, out = PairReader.of(run, read_record(run)), tmp_path / "int8.onnx"
    quantisation = quantise(
        run / "model.onnx", out, pairs, lambda file: Measured(next(measured), 1, Latency(1.0, 1.0)), max_drop=0.01
    )
    assert quantisation.calibration == calibration
    assert list(measured) == []
    assert out.exists() == (calibration is not None)


def test_a_model_that_loses_too_much_stays_float32(finished: Comparison, tmp_path: Path) -> None:
    bundle = write_bundle(finished.ktl.out, tmp_path / "bundle", int8=True, max_drop=-1.0)
    assert bundle.quantisation is not None
    assert bundle.quantisation.calibration is None
    assert (bundle.out / "model.onnx").read_bytes() == (finished.ktl.out / "model.onnx").read_bytes()
    assert "int8 calibration" not in (bundle.out / "card.md").read_text(encoding="utf-8")
    assert bundle.parity is not None
    assert bundle.parity.holds


def test_a_run_without_a_cloud_has_nothing_to_calibrate_on(finished: Comparison, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no image-vector pairs to calibrate int8 on"):
        write_bundle(finished.local.out, tmp_path / "bundle", int8=True)
