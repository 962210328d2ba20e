"""Classifying picture files with an exported run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from PIL import Image

from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import Comparison
from ktl.edge.predict import Predictor
from ktl.errors import CheckpointError


@pytest.fixture(scope="module")
def files(small_task: FewShotTask, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every test image as a PNG file."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index:02d}.png" for index in range(len(small_task.test_images))]
    for path, image in zip(paths, small_task.test_images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return paths


def test_the_files_are_classified_as_the_test_images_were(
    finished: Comparison, small_task: FewShotTask, files: list[Path]
) -> None:
    predictions = list(Predictor(finished.ktl.out).predict(files))
    assert [prediction.file for prediction in predictions] == files
    predicted = [small_task.class_names.index(str(prediction.label)) for prediction in predictions]
    cells = torch.zeros(3, 3, dtype=torch.int64)
    for true, guess in zip(small_task.test_labels.tolist(), predicted, strict=True):
        cells[true, guess] += 1
    assert cells.tolist() == finished.ktl.evaluation.confusion.tolist()


def test_probabilities_are_the_softmax_of_the_logits(
    finished: Comparison, small_task: FewShotTask, files: list[Path]
) -> None:
    session = onnxruntime.InferenceSession(finished.ktl.out / "model.onnx")
    (logits,) = session.run(None, {"images": small_task.test_images.permute(0, 2, 3, 1).contiguous().numpy()})
    expected = torch.from_numpy(logits).softmax(dim=1).amax(dim=1).tolist()
    predictions = Predictor(finished.ktl.out).predict(files)
    assert [prediction.probability for prediction in predictions] == pytest.approx(expected, abs=1e-5)


def test_a_file_of_another_size_and_mode_is_fitted(finished: Comparison, tmp_path: Path) -> None:
    Image.new("RGBA", (90, 40), (140, 105, 110, 255)).save(tmp_path / "wide.png")
    Image.new("RGB", (16, 16), (140, 105, 110)).save(tmp_path / "exact.png")
    wide, exact = Predictor(finished.ktl.out).predict([tmp_path / "wide.png", tmp_path / "exact.png"])
    assert (wide.label, wide.probability) == (exact.label, exact.probability)


def test_an_unreadable_file_yields_its_error_and_the_rest_goes_on(
    finished: Comparison, files: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    alone = list(Predictor(finished.ktl.out).predict(files[:2]))
    first, bad, missing, last = Predictor(finished.ktl.out).predict([files[0], broken, tmp_path / "none.png", files[1]])
    assert [first, last] == alone
    assert (bad.label, bad.probability, missing.label) == (None, None, None)
    assert bad.error == f"cannot read the image {broken}: no image format that is known; remove or replace it"
    assert str(tmp_path / "none.png") in str(missing.error)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "model.onnx").unlink(), "holds no finished run: model.onnx or labels.json is missing"),
        (lambda run: (run / "labels.json").unlink(), "holds no finished run: model.onnx or labels.json is missing"),
        (lambda run: (run / "model.onnx").write_bytes(b"\x00" * 99), "cannot be read .*; export the run anew"),
        (lambda run: (run / "labels.json").write_text('["a", '), "cannot be read .*; export the run anew"),
        (lambda run: (run / "labels.json").write_text(json.dumps(["a", "b"])), "has 3 classes, but .* names 2"),
    ],
)
def test_an_unfinished_or_damaged_run_is_refused_in_one_line(
    finished: Comparison, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    for name in ("model.onnx", "labels.json"):
        shutil.copy(finished.ktl.out / name, tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        Predictor(tmp_path)
    assert "\n" not in str(caught.value)
