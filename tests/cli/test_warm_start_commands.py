"""`ktl warm-start train`, and an edge that begins with what it made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Ktl = Callable[..., subprocess.CompletedProcess[str]]


def test_it_takes_as_many_steps_as_its_images_passes_and_batch_make(ktl: Ktl, tiny_generator_file: Path) -> None:
    options = ["--image-size", 16, "--images", 40, "--passes", 3, "--batch", 8, "--threads", 1]
    made = ktl("warm-start", "train", "--generator", tiny_generator_file, *options)
    assert "warm start: 15 of 15 steps, loss" in made.stderr
    other = ktl("warm-start", "train", "--generator", tiny_generator_file, *options, "--seed", 1)
    files = [Path(each.stdout.split(": ")[1].split(", ")[0]) for each in (made, other)]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_one_made_ahead_is_found_by_an_edge_s_own_cloud(
    ktl: Ktl, small_bundle: Path, tiny_generator_file: Path, tmp_path: Path
) -> None:
    source = ["--generator", tiny_generator_file, "--threads", 1]
    made = ktl("warm-start", "train", "--image-size", 16, "--images", 64, *source)
    (kept,) = (tmp_path / "warm starts").glob("*.safetensors")
    assert made.stdout == f"warm start: {kept}, {kept.stat().st_size:,} bytes\n"
    assert "warm start: 2 of 2 steps, loss" in made.stderr
    options = ["--shots", 4, "--steps", 6, "--pairs-per-class", 4, "--set", "cloud.warm_start_images=64"]
    run = ["edge", "train", "--data", small_bundle, "--out", tmp_path / "run", *options, *source]
    trained = ktl(*run, "--warm-start", "cloud", "--json")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "wire" / "warm-start-cnn4.safetensors").read_bytes() == kept.read_bytes()
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["bytes_down"] > kept.stat().st_size
    refused = ktl(*run[:4], "--local-only", "--warm-start", "cloud")
    assert (refused.returncode, "exclude each other" in refused.stderr) == (2, True)
