"""`ktl encoder show` and `train`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ktl.encoders import load_encoder

Ktl = Callable[..., subprocess.CompletedProcess[str]]


def test_an_encoder_is_trained_by_another_and_shown(
    ktl: Ktl, tiny_generator_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    random = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(images / f"{index}.png")
    (tmp_path / "pixels.py").write_text(
        "from ktl.encoders.base import Encoder\n\n"
        "class Pixels(Encoder):\n"
        "    dimension, image_size, fingerprint = 363, 11, '1'\n"
        "    def features(self, images):\n"
        "        return images.flatten(1)\n"
    )
    options = ["--images", images, "--teacher", "pixels:Pixels", "--out", out, "--licence", "CC0-1.0"]
    options += ["--generator", tiny_generator_file, "--generated", 3, "--count", 130]
    monkeypatch.chdir(tmp_path)
    trained = ktl("encoder", "train", *options)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert trained.stdout.splitlines()[:2] == ["4 images embedded", "7 images embedded"]
    assert json.loads((out / "config.json").read_text())["images"] == 130
    again = ktl("encoder", "train", *options)
    assert again.returncode != 0
    assert "already holds a training; go on with --resume" in again.stderr

    ended = ktl("encoder", "show", out / "encoder.safetensors")
    shown = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in ended.stdout.splitlines())
    assert shown["embedding"] == "256 numbers"
    assert shown["licence"] == "CC0-1.0"
    assert shown["fingerprint"] == load_encoder(str(out / "encoder.safetensors")).fingerprint
