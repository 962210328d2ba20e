"""Runs that ktl 0.1.0 made: everything but going on with them works, and that is refused with what does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ktl_cli.main import app
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from ktl.edge.export.bundle import write_bundle
from ktl.edge.inference.predictor import Predictor
from ktl.edge.record import read_record
from ktl.edge.run import evaluate_run, train_edge
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw
from ktl.errors import CheckpointError, UsageError
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.loop.folder import load_config
from ktl.objectives import TRANSFERS
from ktl.registry import Choice
from ktl.report.page import write_report
from ktl.run_folder import is_resumable, settings_table

GOLDEN = Path(__file__).parents[1] / "golden" / "released"
RUNS = ["finished", "stopped", "federation/fedktl", "federation/fedproto"]


@pytest.fixture(autouse=True)
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with copies of the runs and their data: the runs name it by a relative path."""
    folder = tmp_path / "released"
    shutil.copytree(GOLDEN, folder)
    monkeypatch.chdir(folder)
    return folder


def accuracy_of(run: Path) -> float:
    """Of the last row of a run's metrics."""
    accuracy: float = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test_accuracy"]
    return accuracy


@pytest.mark.parametrize("run", ["finished", "finished/local-only"])
def test_a_run_evaluates_to_the_accuracy_of_its_metrics(run: str) -> None:
    evaluation, names = evaluate_run(Path(run))
    assert evaluation.accuracy == accuracy_of(Path(run))
    assert names == ["blue", "green", "red"]
    record = read_record(Path(run))
    confusion = np.zeros((3, 3), dtype=int)
    np.add.at(confusion, (record.arrays["labels"], record.arrays["predicted"]), 1)
    assert evaluation.confusion.tolist() == confusion.tolist()


def test_its_settings_are_read_in_todays_form() -> None:
    config = load_config(Path("finished"), RunConfig)
    assert config.transfer == TRANSFERS.choose("image-vector", warmup_steps=15, joint_batch=64, body_rate=1.0)
    assert isinstance(config.cloud.generator, Choice)
    assert config.cloud.generator.name == "tiny.safetensors"
    assert (config.model, config.warm_start) == ("cnn4", "edge")
    assert (config.data.source, config.data.shots, config.rounds) == ("colours.npz", 4, 2)
    assert (config.training.steps, config.training.min_steps) == (30, 600)
    alone = load_config(Path("finished/local-only"), RunConfig)
    assert alone == replace(config, transfer=None, rounds=1)
    federation = load_config(Path("federation/fedproto"), FederationConfig)
    assert isinstance(federation.method, Choice)
    assert federation.method.name == "fedproto"
    assert federation.transfer == TRANSFERS.choose("image-vector", warmup_steps=200, joint_batch=64, body_rate=1.0)


def test_settings_of_the_published_objective_are_read() -> None:
    path = Path("finished/config.json")
    table = json.loads(path.read_text())
    table["transfer"] |= {"task": "mse", "weight": 50.0, "anew_each_round": True, "joint_batch": 10, "warmup_steps": 0}
    table["training"] |= {"least_steps": 7}
    path.write_text(json.dumps(table))
    config = load_config(Path("finished"), RunConfig)
    assert config.transfer == TRANSFERS.choose("mse", body_rate=1.0)
    assert config.training.min_steps == 7


def test_it_predicts_as_its_record_says() -> None:
    task, record = draw(load_config(Path("finished"), RunConfig)), read_record(Path("finished"))
    images = task.test_images.permute(0, 2, 3, 1).contiguous().numpy()
    probabilities = Predictor(Path("finished")).probabilities(images)
    assert probabilities.argmax(axis=1).tolist() == record.arrays["predicted"].tolist()
    assert np.allclose(probabilities.max(axis=1), record.arrays["confidence"], atol=1e-4)


def test_the_command_predicts_a_picture() -> None:
    Image.new("RGB", (16, 16), (60, 60, 200)).save("blue.png")
    answer = CliRunner().invoke(app, ["edge", "predict", "finished", "blue.png", "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["label"] == "blue"


def test_it_exports_the_same_model_as_torch_has() -> None:
    bundle = write_bundle(Path("finished"), Path("bundle"))
    assert bundle.parity is not None
    assert bundle.parity.holds
    assert (bundle.parity.images, bundle.parity.same_class) == (60, 60)
    assert bundle.parity.largest_difference <= 1e-4
    assert Path("bundle/model.onnx").read_bytes() == Path("finished/model.onnx").read_bytes()
    card = Path("bundle/card.md").read_text()
    assert "colours.npz, 4 labelled images per class" in card
    assert "73.3%" in card  # of its twin without a cloud


def test_it_exports_int8_from_the_pairs_that_it_kept() -> None:
    bundle = write_bundle(Path("finished"), Path("bundle.zip"), int8=True, max_drop=0.1)
    assert bundle.quantisation is not None
    assert bundle.quantisation.calibration is not None
    assert bundle.quantisation.before.accuracy == accuracy_of(Path("finished"))
    assert bundle.quantisation.after.size < bundle.quantisation.before.size / 2


def test_it_exports_its_weights() -> None:
    write_bundle(Path("finished"), Path("bundle"), format_name="safetensors")
    exported, kept = load_file("bundle/model.safetensors"), load_file("finished/checkpoint.safetensors")
    assert {f"model/{name}" for name in exported} == set(kept)
    assert all(exported[name.removeprefix("model/")].equal(tensor) for name, tensor in kept.items())


def test_it_is_reported_beside_its_twin() -> None:
    write_report([Path("finished")], Path("report.html"))
    page = Path("report.html").read_text()
    assert "80.0%" in page
    assert "73.3%" in page
    assert "transfer.warmup_steps" in page
    assert "tiny.safetensors" in page


def test_a_federation_is_reported() -> None:
    write_report([Path("federation")], Path("report.html"))
    page = Path("report.html").read_text()
    rows = {
        method: [json.loads(line) for line in Path(f"federation/{method}/metrics.jsonl").read_text().splitlines()]
        for method in ("fedktl", "fedproto")
    }
    for method, own in rows.items():
        assert method in page
        assert f"{100 * max(row['accuracy'] for row in own):.1f}%" in page


@pytest.mark.slow
def test_it_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    answer = CliRunner().invoke(app, ["bench", "finished", "--threads", "1", "--batch", "1", "--json"])
    assert answer.exit_code == 0, answer.output
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [row["runtime"] for row in rows] == ["torch", "onnxruntime", "int8"]
    assert all(row["latency"]["p50"] > 0 for row in rows)


@pytest.mark.parametrize("run", RUNS)
def test_it_is_known_for_what_it_is(run: str) -> None:
    assert not is_resumable(Path(run))
    assert settings_table(Path(run))["training"]["min_steps"] == 600


@pytest.mark.parametrize("run", ["finished", "stopped"])
def test_going_on_with_it_is_refused_with_what_can_be_done(run: str) -> None:
    before = {file: file.read_bytes() for file in Path(run).rglob("*") if file.is_file()}
    config = load_config(Path(run), RunConfig)
    with pytest.raises(UsageError) as refused:
        train_edge(replace(config, transfer=None), Path(run), resume=True)
    refusal = f"{run} holds a run of ktl 0.1.0, which this ktl cannot resume: what it finished can be evaluated, "
    refusal += "exported and reported; train anew into another --out"
    assert str(refused.value) == refusal
    answer = CliRunner().invoke(app, ["edge", "train", "--resume", run])
    assert str(answer.exception) == refusal
    assert {file: file.read_bytes() for file in Path(run).rglob("*") if file.is_file()} == before


def test_going_on_with_a_federation_is_refused_with_what_can_be_done() -> None:
    run = Path("federation/fedktl")
    with pytest.raises(UsageError, match=r"fedktl holds a run of ktl 0\.1\.0, which this ktl cannot resume: what it"):
        federate(load_config(run, FederationConfig), run, workers=0, resume=True)


def test_training_into_its_folder_is_refused() -> None:
    config = replace(load_config(Path("finished"), RunConfig), transfer=None)
    with pytest.raises(UsageError, match="finished already holds a run"):
        train_edge(config, Path("finished"))


def test_an_unfinished_run_is_not_exported() -> None:
    with pytest.raises(CheckpointError, match=r"stopped holds no finished run: record\.json is missing"):
        write_report([Path("stopped")], Path("report.html"))
