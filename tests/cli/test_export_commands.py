"""`ktl export`, `bench` and `report`, and what `ktl edge predict` takes: what they print, write and refuse."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Ktl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def pictures(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six pictures, two in a folder of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for index, image in enumerate(np.load(small_bundle)["x_test"][::10]):
        Image.fromarray(image).save((folder / "more" if index > 3 else folder) / f"{index}.png")
    return folder


def files_of(stdout: str) -> list[str]:
    return [Path(line.split(": ")[0]).name for line in stdout.splitlines()]


def test_export_prints_parity_and_writes_what_predict_takes(
    ktl: Ktl, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    ended = ktl("export", trained, "--out", tmp_path / "bundle")
    parity, bundle, following = ended.stdout.splitlines()
    assert re.fullmatch(
        r"the same model as in torch: 60 of 60 test images in the same class, probabilities at most \d.\de-\d\d apart",
        parity,
    )
    assert bundle == f"bundle: {tmp_path / 'bundle'}"
    assert following == f"next: python {tmp_path / 'bundle'}/predict.py IMAGE..."
    from_bundle = ktl("edge", "predict", tmp_path / "bundle", pictures, "--json")
    assert from_bundle.stdout == ktl("edge", "predict", trained, pictures, "--json").stdout
    again = ktl("export", trained, "--out", tmp_path / "bundle")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == f"error: {tmp_path / 'bundle'} exists: remove it or name another --out\n"


def test_export_int8_prints_both_models_in_one_table(ktl: Ktl, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    ended = ktl("export", run, "--int8", "--max-drop", 100)
    heading, before, after, verdict, *_ = (line.split() for line in ended.stdout.splitlines())
    assert heading == ["test", "accuracy", "size", "one", "picture,", "p50", "p99"]
    assert (before[0], after[0]) == ("float32", "int8")
    assert before[2:4] == [f"{(run / 'model.onnx').stat().st_size / 1e3:.1f}", "kB"]
    assert float(after[2]) < 0.4 * float(before[2])  # of a model so small the graph itself is a part
    assert verdict[:4] == ["int8,", "calibrated", "on", "generated"]
    assert (run / "bundle" / "predict.py").is_file()


def test_predict_takes_folders_patterns_and_standard_input(
    ktl: Ktl, trained: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files_of(ktl("edge", "predict", trained, pictures).stdout) == [f"{i}.png" for i in range(6)]
    assert files_of(ktl("edge", "predict", trained, pictures / "*.png").stdout) == [f"{i}.png" for i in range(4)]
    assert files_of(ktl("edge", "predict", trained, pictures / "**/[35].png").stdout) == ["3.png", "5.png"]
    [one] = ktl("edge", "predict", trained, pictures / "2.png").stdout.splitlines()
    piped = io.TextIOWrapper(io.BytesIO((pictures / "2.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", piped)
    [same] = ktl("edge", "predict", trained, "-").stdout.splitlines()
    assert same.removeprefix("standard input") == one.removeprefix(str(pictures / "2.png"))


def test_predict_shows_the_next_best_and_what_it_would_have_said(ktl: Ktl, trained: Path, pictures: Path) -> None:
    command = ["edge", "predict", trained, pictures / "0.png", "--top", 3]
    record = json.loads(ktl(*command, "--json").stdout)
    assert record["label"] == record["top"][0]["label"]
    assert [entry["probability"] for entry in record["top"]] == sorted(
        (entry["probability"] for entry in record["top"]), reverse=True
    )
    assert sum(entry["probability"] for entry in record["top"]) == pytest.approx(1.0)
    rejected = ktl(*command, "--reject-below", 0.9999).stdout
    assert rejected.startswith(f"{pictures / '0.png'}: unknown; at best {record['label']} (")
    assert json.loads(ktl(*command, "--reject-below", 0.9999, "--json").stdout)["label"] == "unknown"


def test_predict_takes_a_video_frame_by_frame(
    ktl: Ktl, trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for level in (30, 90, 150, 210):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    ended = ktl("edge", "predict", trained, "--video", tmp_path / "film.avi", "--every", 2, "--json")
    assert ended.returncode == 0
    names = [json.loads(line)["file"] for line in ended.stdout.splitlines()]
    assert names == [f"{tmp_path / 'film.avi'} frame 0", f"{tmp_path / 'film.avi'} frame 2"]
    missing = ktl("edge", "predict", trained, "--video", tmp_path / "none.avi")
    assert (missing.returncode, missing.stderr) == (1, f"error: there is no video {tmp_path / 'none.avi'}\n")
    broken = ktl("edge", "predict", trained, "--video", pictures / "more")
    assert broken.returncode == 1
    monkeypatch.setitem(sys.modules, "cv2", None)
    absent = ktl("edge", "predict", trained, "--video", tmp_path / "film.avi")
    assert (absent.returncode, absent.stderr) == (
        2,
        "error: --video needs OpenCV: pip install opencv-python-headless\n",
    )


def test_predict_refuses_nothing_and_empty_folders(ktl: Ktl, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = ktl("edge", "predict", trained, tmp_path / "empty")
    assert (empty.returncode, empty.stdout) == (1, "")
    assert re.fullmatch(rf"error: {tmp_path}/empty holds no image \(.*\); name a folder with some\n", empty.stderr)
    unmatched = ktl("edge", "predict", trained, tmp_path / "*.jpg")
    assert (unmatched.returncode, unmatched.stderr) == (1, f"error: no image matches {tmp_path}/*.jpg\n")
    nothing = ktl("edge", "predict", trained)
    assert nothing.returncode == 2
    assert nothing.stderr == "error: give image files, folders, patterns or - ; or else --video\n"


@pytest.mark.slow
def test_bench_sets_torch_beside_onnx_runtime(ktl: Ktl, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktl.edge.export.measure.SECONDS", 0.0)
    rows = [
        json.loads(line) for line in ktl("bench", trained, "--threads", 1, "--batch", 2, "--json").stdout.splitlines()
    ]
    assert [row["runtime"] for row in rows] == ["torch", "onnxruntime", "int8"]
    for row in rows:
        assert (row["threads"], row["batch"]) == (1, 2)
        assert 0 < row["latency"]["p50"] <= row["latency"]["p99"]
        assert row["throughput"] == pytest.approx(2000 / row["latency"]["p50"])
    torch, float32, int8 = rows
    assert float32["size"] == (trained / "model.onnx").stat().st_size > 2 * int8["size"]
    assert 20e6 < float32["memory"] < torch["memory"]
    heading, *lines = ktl("bench", trained / "model.onnx", "--threads", 1, "--batch", "1,4").stdout.splitlines()
    assert heading.split()[:2] == ["threads", "batch"]
    assert [line.split()[:3] for line in lines] == [["onnxruntime", "1", "1"], ["onnxruntime", "1", "4"]]


def test_bench_refuses_what_it_cannot_time(ktl: Ktl, trained: Path, tmp_path: Path) -> None:
    wrong = ktl("bench", trained, "--threads", "one")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "error: --threads is 'one': give numbers from 1, with commas, such as 1,32\n",
    )
    nothing = ktl("bench", tmp_path)
    assert nothing.stderr == f"error: {tmp_path} is neither a finished run nor an .onnx file: train it to the end\n"
    (tmp_path / "other.onnx").write_bytes(b"no model")
    damaged = ktl("bench", tmp_path / "other.onnx")
    assert damaged.returncode == 1
    assert re.fullmatch(rf"error: {tmp_path}/other\.onnx is no model of ktl \(.*\); export it anew\n", damaged.stderr)


def test_report_goes_where_it_is_asked_to(ktl: Ktl, trained: Path, tmp_path: Path) -> None:
    ended = ktl("report", trained, trained / "local-only", "--out", tmp_path / "both.html")
    size = (tmp_path / "both.html").stat().st_size
    assert ended.stdout == f"report: {tmp_path / 'both.html'} ({size / 1000:.1f} kB)\n"
    refused = ktl("report", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"error: there is no run at {tmp_path}: config.json is missing\n"


def test_a_report_that_fails_costs_no_run(
    ktl: Ktl, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "none"))
    run = tmp_path / "run"
    (run / "report.html").mkdir(parents=True)  # nothing can be written there
    ended = ktl("edge", "train", *options, "--out", run)
    assert ended.returncode == 0
    assert re.search(rf"^no report was made \(.*\); try: ktl report {run}$", ended.stderr, flags=re.MULTILINE)
    assert "report:" not in ended.stdout


def test_tensorboard_gets_the_curves_of_both_trainings(ktl: Ktl, options: list[str], tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    run = tmp_path / "run"
    assert ktl("edge", "train", *options, "--tensorboard", "--out", run).returncode == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    board = accumulator.EventAccumulator(str(run / "tensorboard" / "ktl"))
    board.Reload()
    accuracies = board.Scalars("round/test_accuracy")
    assert [(event.step, event.value) for event in accuracies] == [
        (row["round"], pytest.approx(row["test_accuracy"])) for row in rows
    ]
    assert [event.step for event in board.Scalars("loss/shots")] == [10, 20]
    assert [event.step for event in board.Scalars("loss/warm-up")] == [10]
    local = accumulator.EventAccumulator(str(run / "tensorboard" / "local"))
    local.Reload()
    assert [event.step for event in local.Scalars("loss/shots")] == [10, 20]


@pytest.mark.slow
def test_export_takes_a_client_of_a_federation(
    ktl: Ktl, trained: Path, small_bundle: Path, tiny_generator_file: Path, tmp_path: Path
) -> None:
    numbers = "--method fedktl --clients 2 --beta 1 --rounds 1 --steps 4 --workers 0 --recipe published"
    options = ["--data", small_bundle, "--generator", tiny_generator_file, *numbers.split()]
    assert ktl("federate", *options, "--out", tmp_path / "runs").returncode == 0
    run = tmp_path / "runs" / "fedktl"
    parity, bundle, following = ktl("export", run, "--client", 1).stdout.splitlines()
    assert parity.startswith("the same model as in torch: ")
    assert bundle == f"bundle: {run}/bundle-client-1"
    assert following == f"next: python {run}/bundle-client-1/predict.py IMAGE..."
    int8 = ktl("export", run, "--client", 1, "--int8", "--max-drop", 100, "--out", tmp_path / "int8")
    assert "int8, calibrated on the client's own training images by" in int8.stdout
    for arguments, error in (
        ([run], f"{run} is the run of a federation: name one of its clients, as in --client 0"),
        ([trained, "--client", 1], f"{trained} is the run of one edge: leave --client out"),
        ([run, "--client", 9], f"--client is 9: {run} has clients 0 to 1"),
    ):
        ended = ktl("export", *arguments, "--out", tmp_path / "refused")
        assert (ended.returncode, ended.stderr) == (2, f"error: {error}\n")
