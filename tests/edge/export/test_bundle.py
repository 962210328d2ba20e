"""What leaves for the device works there without ktl, and is the model that was trained."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import Comparison
from ktl.edge.export.bundle import Bundle, write_bundle
from ktl.edge.inference.predictor import Predictor
from ktl.edge.run import load_run
from ktl.errors import CheckpointError, UsageError

DEVICE_PACKAGES = ("numpy", "numpy.libs", "onnxruntime", "PIL", "pillow.libs")


@pytest.fixture(scope="module")
def bundle(embedded_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(embedded_run, tmp_path_factory.mktemp("bundle") / "clothes")


@pytest.fixture(scope="module")
def device_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds onnxruntime, numpy and pillow, linked from this one, and nothing else."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    venv.create(folder, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    for name in DEVICE_PACKAGES:
        source = Path(np.__file__).parents[1] / name
        if source.exists():
            (packages / name).symlink_to(source)
    return folder / "bin" / "python"


def test_the_script_gives_the_classes_of_torch_for_all_embedded_test_images(
    bundle: Bundle, embedded_run: Path, device_python: Path, tmp_path: Path
) -> None:
    learner = load_run(embedded_run)
    files = [tmp_path / f"{index:04d}.png" for index in range(len(learner.task.test_images))]
    for file, image in zip(files, learner.task.test_images, strict=True):
        Image.fromarray(image[0].numpy()).save(file)
    command = [device_python, "-I", bundle.out / "predict.py", *files]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [learner.task.class_names[i] for i in learner.logits(learner.task.test_images).argmax(dim=1)]
    assert len(lines) == 1000
    assert [line.split("\t")[:2] for line in lines] == [[str(f), name] for f, name in zip(files, names, strict=True)]
    assert len(set(names)) > 3


@pytest.mark.timing
def test_the_first_prediction_comes_within_six_tenths_of_a_second(
    bundle: Bundle, device_python: Path, tmp_path: Path, processor_seconds: Callable[..., float]
) -> None:
    Image.new("RGB", (640, 480), "white").save(tmp_path / "a.png")
    assert processor_seconds(device_python, bundle.out / "predict.py", tmp_path / "a.png") <= 0.6


def test_the_script_names_what_it_cannot_read_and_goes_on(bundle: Bundle, device_python: Path, tmp_path: Path) -> None:
    Image.new("LA", (50, 90), (40, 128)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    command = [device_python, bundle.out / "predict.py", tmp_path / "bad.png", tmp_path / "good.png"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{tmp_path / 'bad.png'}: ")
    assert ended.stdout.startswith(f"{tmp_path / 'good.png'}\t")


def test_the_script_can_be_read_in_a_sitting_and_needs_three_packages(bundle: Bundle) -> None:
    script = (bundle.out / "predict.py").read_text()
    assert len(script.splitlines()) <= 300
    imported = {line.split()[1].split(".")[0] for line in script.splitlines() if line.startswith(("import", "from"))}
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}


def test_the_script_reads_deep_pictures_as_the_predictor_does(
    bundle: Bundle, device_python: Path, tmp_path: Path
) -> None:
    rising = np.arange(40 * 40).reshape(40, 40)
    deep = {"a.png": (rising * 40).astype(np.uint16), "b.tif": (rising / 1600).astype(np.float32)}
    deep |= {"c.tif": (rising * 4000).astype(np.int32), "d.png": (51_600 + rising // 8).astype(np.uint16)}
    for name, values in deep.items():
        Image.fromarray(values).save(tmp_path / name)
    files = [tmp_path / name for name in deep]
    command = [device_python, "-I", bundle.out / "predict.py", *files]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    predicted = Predictor(bundle.out).predict(files)
    assert lines == [f"{each.name}\t{each.label}\t{each.probability:.3f}" for each in predicted]


def test_a_bundle_is_checked_against_torch_and_says_what_it_is(bundle: Bundle, embedded_run: Path) -> None:
    assert bundle.parity is not None
    assert (bundle.parity.images, bundle.parity.same_class, bundle.parity.holds) == (1000, 1000, True)
    assert {file.name for file in bundle.out.iterdir()} == {"model.onnx", "labels.json", "card.md", "predict.py"}
    card = (bundle.out / "card.md").read_text()
    [row] = [json.loads(line) for line in (embedded_run / "metrics.jsonl").read_text().splitlines()]
    for fact in (
        "T-shirt/top, Trouser",
        f"{100 * row['test_accuracy']:.1f}% (95% interval",
        "fashion-mnist, 2 labelled images per class",
        "builtin (fingerprint",
        "Apache-2.0",
        f"{row['bytes_up']:,} bytes up",
        f"{row['bytes_down']:,} bytes down (60 image-vector pairs",
        "| seed | 0 |",
        f"torch {torch.__version__.partition('+')[0]}",
        "opset 18",
    ):
        assert fact in card, fact
    assert "{{" not in card


def test_a_zip_holds_the_same_files(bundle: Bundle, embedded_run: Path, tmp_path: Path) -> None:
    zipped = write_bundle(embedded_run, tmp_path / "clothes.zip", check=False)
    assert zipped.parity is None
    with zipfile.ZipFile(zipped.out) as archive:
        assert archive.namelist() == [f"clothes/{file.name}" for file in sorted(bundle.out.iterdir())]
        for file in bundle.out.iterdir():
            assert archive.read(f"clothes/{file.name}") == file.read_bytes()


def test_predictor_takes_a_bundle_and_refuses_other_labels(bundle: Bundle, embedded_run: Path, tmp_path: Path) -> None:
    Image.new("L", (28, 28), 80).save(tmp_path / "a.png")
    [from_bundle] = Predictor(bundle.out).predict([tmp_path / "a.png"])
    [from_run] = Predictor(embedded_run).predict([tmp_path / "a.png"])
    assert from_bundle == from_run
    other = write_bundle(embedded_run, tmp_path / "other", check=False)
    labels = json.loads((other.out / "labels.json").read_text())
    (other.out / "labels.json").write_text(json.dumps([*labels[:9], "Hat"]))
    with pytest.raises(CheckpointError, match=r"calls class 9 'Ankle boot', but .*labels\.json names it 'Hat'"):
        Predictor(other.out)


def test_an_optimised_graph_is_the_same_model_with_fewer_nodes(
    bundle: Bundle, embedded_run: Path, tmp_path: Path
) -> None:
    optimised = write_bundle(embedded_run, tmp_path / "optimised", optimise=True)
    assert optimised.parity is not None
    assert optimised.parity.holds
    plain, fewer = (onnx.load(b.out / "model.onnx") for b in (bundle, optimised))
    assert len(fewer.graph.node) < len(plain.graph.node)
    assert Predictor(optimised.out).labels == Predictor(bundle.out).labels


@pytest.mark.parametrize("format_name", ["torchscript", "torch-export"])
def test_torch_formats_are_the_same_model_in_any_batch(
    finished: Comparison, small_task: FewShotTask, tmp_path: Path, format_name: str
) -> None:
    bundle = write_bundle(finished.ktl.out, tmp_path / "bundle", format_name=format_name)
    assert bundle.parity is not None
    assert bundle.parity.images == len(small_task.test_labels)
    assert bundle.parity.holds
    assert not (bundle.out / "predict.py").exists()


def test_safetensors_hold_the_weights_and_what_they_need(finished: Comparison, tmp_path: Path) -> None:
    bundle = write_bundle(finished.ktl.out, tmp_path / "bundle", format_name="safetensors")
    assert bundle.parity is None
    with safe_open(bundle.out / "model.safetensors", framework="np") as file:
        facts = json.loads(file.metadata()["ktl"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    assert (facts["model"], facts["image_size"], facts["labels"]) == ("cnn4", 16, ["blue", "green", "red"])
    trained = load_run(finished.ktl.out).model.state_dict()
    assert set(weights) == set(trained)
    assert all(np.array_equal(weights[name], tensor.numpy()) for name, tensor in trained.items())


def test_what_cannot_be_is_refused_before_anything_is_written(finished: Comparison, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(UsageError, match="unknown format 'tflite': choose one of onnx, torchscript, "):
        write_bundle(finished.ktl.out, out, format_name="tflite")
    with pytest.raises(UsageError, match="--int8 and --optimize are for --format onnx, not torchscript"):
        write_bundle(finished.ktl.out, out, format_name="torchscript", int8=True)
    with pytest.raises(CheckpointError, match=r"holds no finished run: record\.json is missing"):
        write_bundle(tmp_path, out)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(UsageError, match="exists: remove it or name another --out"):
        write_bundle(finished.ktl.out, out)


def test_the_model_says_its_opset(bundle: Bundle) -> None:
    model = onnx.load(bundle.out / "model.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert onnxruntime.InferenceSession(bundle.out / "model.onnx").get_inputs()[0].name == "images"
