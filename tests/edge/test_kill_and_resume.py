"""A crash costs nothing: however a run is stopped, it ends with the bits of a run that was left alone."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.served import Command

from ktl.checkpoint import load_checkpoint
from ktl.cloud.embedded import EmbeddedCloud
from ktl.edge.compare import Comparison, train_beside_local
from ktl.edge.run import train_edge
from ktl.edge.settings import RunConfig
from ktl.errors import Interrupted
from ktl.learning.settings import TrainingConfig
from ktl.loop.folder import load_config
from ktl.loop.rounds import Observer
from ktl.objectives import TRANSFERS

Contents = Callable[[Path], dict[str, Any]]

SAVE_AFTER_EVERY_STEP = {"ktl.edge.edge_run.CHECKPOINT_SECONDS": 0.0}


@pytest.fixture
def options(small_bundle: Path, tiny_generator_file: Path) -> list[str]:
    """`ktl edge train` with the settings of `small_config`."""
    numbers = "--shots 4 --rounds 3 --steps 45 --warmup-steps 15 --pairs-per-class 8 --threads 1"
    return ["edge", "train", "--data", str(small_bundle), "--generator", str(tiny_generator_file), *numbers.split()]


def wait_for(happened: Callable[[], bool], command: Command) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert command.process.is_alive(), command.output()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_for_checkpoints(run: Path, count: int, command: Command) -> None:
    """Until the process has saved at least `count` times; for none, until it has made the run directory."""

    def last() -> int:
        saved = [run / "checkpoint.safetensors", run / "local-only" / "checkpoint.safetensors"]
        return max(file.stat().st_mtime_ns if file.exists() else 0 for file in saved)

    wait_for((run / "config.json").exists, command)
    for _ in range(count):
        before = last()
        wait_for(lambda before=before: last() != before, command)


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(
    small_config: RunConfig,
    finished: Comparison,
    cloud: EmbeddedCloud,
    contents_of: Contents,
    options: list[str],
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    run = tmp_path / "run"
    arguments = [*options, "--out", str(run)]
    for count in (0, rng.randint(1, 40), rng.randint(1, 40)):  # of 105 steps and 4 ends of rounds
        command = Command(arguments, tmp_path / "edge.log", constants=SAVE_AFTER_EVERY_STEP)
        wait_for_checkpoints(run, count, command)
        time.sleep(rng.uniform(0.0, 0.03))
        command.kill()
        assert command.process.exitcode == -signal.SIGKILL
        arguments = ["edge", "train", "--resume", str(run)]
    assert not (run / "local-only" / "model.onnx").exists()
    assert load_config(run, RunConfig) == small_config
    resumed = train_beside_local(small_config, run, cloud, resume=True)
    assert contents_of(run) == contents_of(finished.ktl.out)
    assert contents_of(run / "local-only") == contents_of(finished.local.out)
    assert resumed.gain == finished.gain


def test_ctrl_c_saves_says_how_to_resume_and_resuming_completes(
    small_config: RunConfig,
    finished: Comparison,
    cloud: EmbeddedCloud,
    contents_of: Contents,
    options: list[str],
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    script = str(Path(sys.executable).with_name("ktl"))
    process = subprocess.Popen([script, *options, "--out", str(run)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "KTL 1/3 warm-up: 15 steps\n"
    process.send_signal(signal.SIGINT)
    _, after = process.communicate()
    assert process.returncode == 130
    assert "stopping after this step; once more to stop without saving" in after.splitlines()
    assert after.splitlines()[-1].endswith(f"; go on with: ktl edge train --resume {run}")
    assert "Traceback" not in after
    _, progress = load_checkpoint(run / "checkpoint.safetensors")
    edge = progress["clients"]
    assert (edge["round"], edge["round_step"]) != (0, 0)
    train_beside_local(small_config, run, cloud, resume=True)
    assert contents_of(run) == contents_of(finished.ktl.out)
    assert contents_of(run / "local-only") == contents_of(finished.local.out)


@pytest.mark.parametrize(
    ("alignment", "transfer", "optimizer"),
    [
        ("robust", "image-vector", "adamw"),
        ("published", "mse", "adamw"),
        pytest.param("published", "mse", "sgd", marks=pytest.mark.slow),
    ],
)
def test_stopped_at_every_seventh_step_it_ends_with_the_same_bits(
    small_config: RunConfig,
    cloud: EmbeddedCloud,
    contents_of: Contents,
    tmp_path: Path,
    alignment: str,
    transfer: str,
    optimizer: str,
) -> None:
    config = replace(
        small_config,
        training=TrainingConfig(optimizer=optimizer, steps=27),
        transfer=TRANSFERS.choose(transfer, warmup_steps=6),
        cloud=replace(small_config.cloud, alignment=alignment),
    )
    train_edge(config, tmp_path / "alone", cloud)
    asked = 0

    def stop_at_every_seventh() -> bool:
        nonlocal asked
        asked += 1
        return asked % 7 == 0

    messages: list[str] = []
    while not (tmp_path / "stopped" / "model.onnx").exists():
        try:
            train_edge(
                config,
                tmp_path / "stopped",
                EmbeddedCloud(cloud.generator),
                resume=bool(messages),
                observer=Observer(should_stop=stop_at_every_seventh),
            )
        except Interrupted as stop:
            messages.append(str(stop))
    rounds = [1, 1, 2, 3, 3]  # after 6, 12, 18, 24 and 30 of 33 steps; rounds begin after 0, 15 and 24
    assert messages == [
        f"stopped in round {number}; go on with: ktl edge train --resume {tmp_path / 'stopped'}" for number in rounds
    ]
    assert contents_of(tmp_path / "stopped") == contents_of(tmp_path / "alone")


def test_stopped_before_the_first_step_of_a_round_it_ends_with_the_same_bits(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, contents_of: Contents, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    rounds_done = 0

    def count_rounds(row: dict[str, Any]) -> None:
        nonlocal rounds_done
        rounds_done += 1

    with pytest.raises(Interrupted, match="stopped in round 2;"):
        train_edge(
            small_config, run, cloud, observer=Observer(on_round=count_rounds, should_stop=lambda: rounds_done == 1)
        )
    lost_on_the_way = run / "wire" / "round-002-pairs.safetensors"
    lost_on_the_way.unlink()
    train_edge(small_config, run, EmbeddedCloud(cloud.generator), resume=True)
    assert contents_of(run) == contents_of(finished.ktl.out)


def test_a_finished_run_resumes_to_itself_and_mends_what_a_kill_left_unwritten(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, contents_of: Contents, tmp_path: Path
) -> None:
    run = shutil.copytree(finished.ktl.out, tmp_path / "run")
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(rows[:-1]))
    (run / "model.onnx").unlink()
    result = train_edge(small_config, run, cloud, resume=True)
    assert contents_of(run) == contents_of(finished.ktl.out)
    assert result.rows == finished.ktl.rows
    assert (run / "metrics.jsonl").read_text() == "".join(rows)
    assert (run / "model.onnx").read_bytes() == (finished.ktl.out / "model.onnx").read_bytes()
