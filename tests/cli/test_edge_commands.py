"""`ktl edge train`, `evaluate` and `predict`: what they print, what they write, and how they refuse."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from ktl_cli import progress
from PIL import Image
from rich.console import Console
from support.official_files import OfficialWriter, golden_network
from support.tiny_pipeline import write_pipeline

from ktl.edge.compare import paired_gain
from ktl.edge.record import read_record
from ktl.formatting import in_counts, in_gain
from ktl.intervals import newcombe_interval, wilson_interval
from ktl.learning.schedule import Span

Ktl = Callable[..., subprocess.CompletedProcess[str]]


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


@pytest.fixture(scope="module")
def pictures(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The test images as PNG files, class after class."""
    folder = tmp_path_factory.mktemp("pictures")
    images = np.load(small_bundle)["x_test"]
    files = [folder / f"{index:02d}.png" for index in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    return files


def test_the_final_table_sets_ktl_beside_local_only(training: subprocess.CompletedProcess[str], trained: Path) -> None:
    rows, [alone] = rows_of(trained), rows_of(trained / "local-only")
    heading, with_cloud, without, gain, run, report, following = (line.split() for line in training.stdout.splitlines())
    assert " ".join(heading) == "right test accuracy 95% interval seconds up down"
    for line, row in ((with_cloud[1:], rows[-1]), (without[2:], alone)):
        right = round(60 * row["test_accuracy"])
        low, high = wilson_interval(right, 60)
        assert " ".join(line).startswith(
            f"{right} of 60 {percent(row['test_accuracy'])} {100 * low:.1f} to {100 * high:.1f} "
        )
    points = 100 * (rows[-1]["test_accuracy"] - alone["test_accuracy"])
    low, high = newcombe_interval(read_record(trained).right, read_record(trained / "local-only").right)
    assert " ".join(gain) == f"gain {points:+.1f} points {100 * low:+.1f} to {100 * high:+.1f}"
    up, down = sum(row["bytes_up"] for row in rows), sum(row["bytes_down"] for row in rows)
    assert with_cloud[-4:] == [str(up), "B", f"{down / 1000:.1f}", "kB"]
    assert without[-4:] == ["0", "B", "0", "B"]
    assert run == ["run:", str(trained)]
    assert report == ["report:", str(trained / "report.html")]
    assert "<title>run: ktl report</title>" in (trained / "report.html").read_text(encoding="utf-8")
    assert following[:5] == ["next:", "ktl", "edge", "predict", str(trained)]


def test_progress_is_plain_lines_where_there_is_no_terminal(
    training: subprocess.CompletedProcess[str], trained: Path
) -> None:
    first, last = rows_of(trained)
    expected = [
        r"KTL 1/2 warm-up: 10 steps",
        r"KTL 1/2 shots: 10 steps",
        rf"KTL 1/2: test accuracy {percent(first['test_accuracy'])}, loss on shots {first['shot_loss']:.3f}, .* s",
        r"KTL 2/2 shots: 10 steps",
        rf"KTL 2/2: test accuracy {percent(last['test_accuracy'])}, .*, {last['bytes_up']} B up, .* kB down, \d+ s",
        r"local only 1/1 shots: 20 steps",
        r"local only 1/1: test accuracy [\d.]+%, loss on shots [\d.]+, \d+ s",
    ]
    lines = training.stderr.splitlines()
    assert len(lines) == len(expected)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, lines, strict=True)), training.stderr


def test_json_agrees_with_the_metrics(ktl: Ktl, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    ended = ktl("edge", "train", "--resume", run, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    [line] = ended.stdout.splitlines()
    rows, [alone] = rows_of(run), rows_of(run / "local-only")
    right, right_alone = (round(60 * row["test_accuracy"]) for row in (rows[-1], alone))
    assert json.loads(line) == {
        "run": str(run),
        "right": right,
        "tested": 60,
        "interval": [*wilson_interval(right, 60)],
        "test_accuracy": rows[-1]["test_accuracy"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "bytes_up": sum(row["bytes_up"] for row in rows),
        "bytes_down": sum(row["bytes_down"] for row in rows),
        "local_only": {
            "right": right_alone,
            "tested": 60,
            "interval": [*wilson_interval(right_alone, 60)],
            "test_accuracy": alone["test_accuracy"],
            "seconds": round(alone["seconds"], 1),
            "bytes_up": 0,
            "bytes_down": 0,
        },
        "gain": rows[-1]["test_accuracy"] - alone["test_accuracy"],
        "gain_interval": [*paired_gain(run, run / "local-only")[1]],
        "report": str(run / "report.html"),
        "weights": "",
    }
    assert rows == rows_of(trained)


@pytest.mark.parametrize("network", [pytest.param("stylegan3-t-32", marks=pytest.mark.slow), "stylegan-xl-stem-16"])
def test_an_edge_learns_from_a_cloud_with_a_converted_network(
    ktl: Ktl, options: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: str
) -> None:
    writer = OfficialWriter(monkeypatch, canary=tmp_path / "canary")
    official = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(*golden_network(network))})
    converted = tmp_path / "converted.safetensors"
    assert ktl("generator", "convert", official, converted).returncode == 0
    ended = ktl("edge", "train", *options, "--generator", converted, "--out", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    rows = rows_of(tmp_path / "run")
    assert [row["round"] for row in rows] == [1, 2]
    assert all(row["pair_loss"] > 0 and row["bytes_down"] > 1000 for row in rows)
    assert not (tmp_path / "canary").exists()


@pytest.mark.slow
def test_an_edge_learns_from_a_cloud_with_a_diffusion_pipeline(
    ktl: Ktl, options: list[str], tiny_pipeline: Path, cache_folder: Path, tmp_path: Path
) -> None:
    source = f"diffusers:{tiny_pipeline}?prompt=a dog&preset=turbo"
    ended = ktl("edge", "train", *options, "--generator", source, "--out", tmp_path / "run", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["cloud"]["generator"]["name"] == source
    rows = rows_of(tmp_path / "run")
    assert all(row["pair_loss"] > 0 and row["bytes_down"] > 24 * 256 for row in rows)  # 24 latents a round
    drawn = {file.name: file.stat().st_ino for file in cache_folder.iterdir()}
    assert len(drawn) >= 24
    again = ktl("edge", "train", *options, "--generator", source, "--out", tmp_path / "again", "--json")
    assert json.loads(again.stdout)["test_accuracy"] == json.loads(ended.stdout)["test_accuracy"]
    assert {file.name: file.stat().st_ino for file in cache_folder.iterdir()} == drawn  # nothing was drawn again


@pytest.mark.slow
def test_a_latent_of_16384_numbers_is_projected_and_as_it_is_fills_a_download_with_a_few_pairs(
    ktl: Ktl, options: list[str], tmp_path: Path
) -> None:
    source = f"diffusers:{write_pipeline(tmp_path / 'pipeline', latent_size=64)}?preset=turbo"
    own = ["--transfer", "mse", "--weight", 100, "--generator", source, "--json"]
    projected = ktl("edge", "train", *options, *own, "--out", tmp_path / "short", "--download-budget", 300_000)
    assert json.loads(projected.stdout)["bytes_down"] < 60_000
    own += ["--space", "latent"]
    ended = ktl("edge", "train", *options, *own, "--out", tmp_path / "run", "--download-budget", 300_000)
    assert ended.returncode == 0, ended.stderr
    assert 240_000 < json.loads(ended.stdout)["bytes_down"] <= 300_000  # 2 rounds: 4 pairs of 16 kB, scales
    transfer = json.loads((tmp_path / "run" / "config.json").read_text())["transfer"]
    settings = transfer["settings"]
    assert (transfer["name"], settings["weight"], settings["warmup_steps"]) == ("mse", 100, 10)
    refused = ktl("edge", "train", *options, *own, "--out", tmp_path / "other", "--download-budget", 40_000)
    assert refused.returncode == 1
    assert "holds no image-vector pair: raise --download-budget" in refused.stderr


def test_local_only_trains_without_a_cloud_into_a_numbered_folder(
    ktl: Ktl, small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "colours-3shot-seed4").mkdir(parents=True)
    command = f"edge train --local-only --shots 3 --seed 4 --steps 2 --threads 1 --data {small_bundle}"
    ended = ktl(*command.split())
    assert ended.returncode == 0
    assert [line.split("  ")[0].strip() for line in ended.stdout.splitlines()[:2]] == ["", "local only"]
    assert "KTL" not in ended.stdout + ended.stderr
    folder = Path("runs") / "colours-3shot-seed4-2"
    assert f"run: {folder}" in ended.stdout.splitlines()
    assert rows_of(folder)[0]["bytes_down"] == 0
    assert not (folder / "wire").exists()


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100)
    monkeypatch.setattr(progress, "errors", terminal)
    with progress.RunProgress(quiet=False) as shown:
        observer = shown.observer("KTL", 2, Event())
        for step in range(1, 26):
            observer.on_step(1, Span("shots", 40, 0, 40), step, 0.5)
        time.sleep(0.3)  # the bar is redrawn ten times a second
        row = {"round": 2, "test_accuracy": 0.75, "shot_loss": 0.5, "pair_loss": None, "seconds": 3.2}
        observer.on_round(row)
    text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.file.getvalue())
    assert re.search(r"KTL 2/2 shots [━╸╺]+ +20/40 +loss 0\.500", text)
    assert "40 steps" not in text
    assert "KTL 2/2: test accuracy 75.0%, loss on shots 0.500, 3 s" in text


def test_a_long_run_says_how_long_it_takes_and_then_at_most_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, now = Console(file=io.StringIO(), width=100), 0.0
    monkeypatch.setattr(progress, "errors", plain)
    forecast = progress.Forecast(repeats=True, clock=lambda: now)
    forecast.say(None, "KTL")
    forecast.say(59.0, "KTL")
    for now in (1.0, 2.0, 60.0, 61.0, 62.0, 130.0):
        forecast.say(1000.0 - now, f"at {now:g}")
    forecast.say(30.0, "at the end")
    lines = ["at 1: about 17 minutes to go", "at 61: about 16 minutes to go", "at 130: about 14 minutes to go"]
    assert plain.file.getvalue().splitlines() == lines


def test_evaluate_agrees_with_the_last_row(ktl: Ktl, trained: Path) -> None:
    accuracy = rows_of(trained)[-1]["test_accuracy"]
    record = json.loads(ktl("edge", "evaluate", trained, "--json").stdout)
    confusion = np.array(record["confusion"])
    assert record["accuracy"] == accuracy == confusion.trace() / confusion.sum()
    assert confusion.sum(axis=1).tolist() == [20, 20, 20]
    assert list(record["class_accuracy"].values()) == (confusion.diagonal() / 20).tolist()
    right = round(60 * accuracy)
    assert (record["right"], record["tested"], record["interval"]) == (right, 60, [*wilson_interval(right, 60)])
    title, heading, *lines, gain = ktl("edge", "evaluate", trained).stdout.splitlines()
    assert title.strip() == f"test accuracy: {in_counts(right, 60)}"
    assert heading.split() == ["class", "right", "accuracy", "most", "often", "taken", "for"]
    assert gain == f"gain over local training: {in_gain(*paired_gain(trained, trained / 'local-only'))}"
    for index, (line, name) in enumerate(zip(lines, ["blue", "green", "red"], strict=True)):
        wrong = confusion[index] * (np.arange(3) != index)
        taken = [["blue", "green", "red"][wrong.argmax()], f"({wrong.max()}", "of", "20)"] if wrong.any() else []
        counts = [str(confusion[index, index]), "of", "20"]
        assert line.split() == [name, *counts, percent(confusion[index, index] / 20), *taken]


def test_predict_agrees_with_evaluate(ktl: Ktl, trained: Path, pictures: list[Path]) -> None:
    confusion = json.loads(ktl("edge", "evaluate", trained, "--json").stdout)["confusion"]
    ended = ktl("edge", "predict", trained, *pictures, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    records = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [record["file"] for record in records] == [str(file) for file in pictures]
    cells = np.zeros((3, 3), dtype=int)
    for index, record in enumerate(records):
        cells[index // 20, ["blue", "green", "red"].index(record["label"])] += 1
    assert cells.tolist() == confusion
    plain = ktl("edge", "predict", trained, pictures[0]).stdout
    assert plain == f"{pictures[0]}: {records[0]['label']} ({percent(records[0]['probability'])})\n"


def test_predict_reports_an_unreadable_file_and_goes_on(
    ktl: Ktl, trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "[bold]broken:dog:.png"
    broken.write_text("no picture")
    ended = ktl("edge", "predict", trained, pictures[0], broken, pictures[1])
    assert ended.returncode == 1
    assert [line.split(": ")[0] for line in ended.stdout.splitlines()] == [str(pictures[0]), str(pictures[1])]
    unreadable, summary = ended.stderr.splitlines()
    assert unreadable == f"cannot read the image {broken}: no image format that is known; remove or replace it"
    assert summary == "1 of 3 pictures could not be read"


@pytest.mark.slow
def test_a_time_budget_cuts_the_steps_and_the_run_remembers_them(ktl: Ktl, options: list[str], tmp_path: Path) -> None:
    long = [option for option in options if option not in ("--steps", "20", "--warmup-steps", "10")]
    command = ["edge", "train", *long, "--steps", 90_000, "--warmup-steps", 90_000, "--time-budget", 3]
    ended = ktl(*command, "--out", tmp_path / "run")
    told = re.findall(r"in 3 seconds: (\d+) steps on the pairs, (\d+) on the shots; that is only .* of", ended.stderr)
    assert told, ended.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for steps in (*map(int, told[0]), config["transfer"]["settings"]["warmup_steps"], config["training"]["steps"]):
        assert 2 <= steps < 90_000
    alone = json.loads((tmp_path / "run" / "local-only" / "config.json").read_text())
    assert alone["training"]["steps"] == config["training"]["steps"]


def test_the_download_budget_bounds_what_comes_down(ktl: Ktl, options: list[str], tmp_path: Path) -> None:
    many = [*options, "--pairs-per-class", 1000]
    ended = ktl("edge", "train", *many, "--download-budget", 60_000, "--json", "--out", tmp_path / "run")
    assert 50_000 < json.loads(ended.stdout)["bytes_down"] <= 60_000
    refused = ktl("edge", "train", *many, "--download-budget", 1000, "--out", tmp_path / "other")
    assert refused.returncode == 2
    assert refused.stderr == "error: cloud.download_budget is 1000: give a whole number of at least 20000\n"
