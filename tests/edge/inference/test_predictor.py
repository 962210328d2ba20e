"""Classifying picture files with an exported run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import Comparison
from ktl.edge.inference.predictor import BATCH, Predictor
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
    assert [prediction.name for prediction in predictions] == [str(file) for file in files]
    predicted = [small_task.class_names.index(str(prediction.label)) for prediction in predictions]
    cells = torch.zeros(3, 3, dtype=torch.int64)
    for true, guess in zip(small_task.test_labels.tolist(), predicted, strict=True):
        cells[true, guess] += 1
    assert cells.tolist() == finished.ktl.evaluation.confusion.tolist()


def test_probabilities_are_those_of_the_model(finished: Comparison, small_task: FewShotTask, files: list[Path]) -> None:
    session = onnxruntime.InferenceSession(finished.ktl.out / "model.onnx")
    (expected,) = session.run(None, {"images": small_task.test_images.permute(0, 2, 3, 1).contiguous().numpy()})
    predictions = list(Predictor(finished.ktl.out).predict(files, top=3))
    assert [prediction.probability for prediction in predictions] == pytest.approx(expected.max(axis=1).tolist())
    for prediction, row in zip(predictions, expected, strict=True):
        assert [name for name, _ in prediction.top] == [small_task.class_names[i] for i in np.argsort(-row)]
        assert sum(probability for _, probability in prediction.top) == pytest.approx(1.0)


def test_what_it_is_not_sure_of_is_unknown(finished: Comparison, files: list[Path]) -> None:
    plain = list(Predictor(finished.ktl.out).predict(files))
    careful = list(Predictor(finished.ktl.out).predict(files, reject_below=0.6))
    sure = [prediction.probability is not None and prediction.probability >= 0.6 for prediction in plain]
    assert 0 < sum(sure) < len(files)
    for before, after, certain in zip(plain, careful, sure, strict=True):
        assert after.label == (before.label if certain else "unknown")
        assert after.top == before.top


def test_thousands_of_pictures_are_read_a_batch_at_a_time(finished: Comparison, files: list[Path]) -> None:
    asked = 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield files[0]

    predictions = Predictor(finished.ktl.out).predict(endless())
    for _ in range(100):
        next(predictions)
    assert asked <= 100 + BATCH


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
    assert (bad.label, bad.top, missing.label) == (None, (), None)
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
        (
            lambda run: (run / "labels.json").write_text(json.dumps(["blue", "grey", "red"])),
            "calls class 1 'green', but .* names it 'grey'; export the run anew",
        ),
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


def test_a_photograph_is_turned_as_its_camera_says(finished: Comparison, files: list[Path], tmp_path: Path) -> None:
    upright = Image.open(files[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned, straight = Predictor(finished.ktl.out).predict([tmp_path / "turned.png", files[0]])
    assert turned.top == straight.top


def test_what_is_no_single_sound_picture_is_told_file_by_file(finished: Comparison, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((140, 105, 110), (105, 110, 140))]
    frames[0].save(tmp_path / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    (tmp_path / "paper.jpg").write_bytes(b"%PDF-1.7 no picture")
    (tmp_path / "bomb.png").write_bytes(b"P6 20000 20000 255\n")  # a PPM file: 1.2 GB once decoded
    names = ("animated.gif", "paper.jpg", "bomb.png", "still.png")
    animated, paper, bomb, still = Predictor(finished.ktl.out).predict([tmp_path / name for name in names])
    assert animated.top == still.top  # the first frame counts
    assert "paper.jpg: it is a PDF document" in str(paper.error)
    assert "bomb.png" in str(bomb.error)
    assert "400000000 pixels" in str(bomb.error)
