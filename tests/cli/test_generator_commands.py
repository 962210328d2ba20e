"""`ktl generator show`, `sample`, `quality`, `train` and `convert`."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ktl.generators import load_generator
from ktl.generators.base import sample_latents
from ktl.seeds import stream

Ktl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def own_images(tiny_generator_file: Path, tmp_path: Path) -> Path:
    """80 images that the tiny generator drew."""
    generator = load_generator(str(tiny_generator_file))
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(generator.images(sample_latents(generator, 80, stream(1, "own")))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    return folder


def test_show_tells_what_a_file_holds(ktl: Ktl, tiny_generator_file: Path) -> None:
    ended = ktl("generator", "show", tiny_generator_file)
    generator = load_generator(str(tiny_generator_file))
    shown = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in ended.stdout.splitlines())
    assert shown["image size"] == "16 x 16"
    assert (shown["noise"], shown["latent"]) == ("16 numbers", "16 numbers")
    assert shown["parameters"] == f"{generator.parameters:,}"
    assert (shown["licence"], shown["fingerprint"]) == ("CC0-1.0", generator.fingerprint)


def test_sample_draws_a_grid_that_depends_on_the_seed(ktl: Ktl, tiny_generator_file: Path, tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = tmp_path / f"{name}.png"
        options = ["--out", out, "--rows", 2, "--columns", 3, "--seed", seed]
        ended = ktl("generator", "sample", tiny_generator_file, *options)
        assert (ended.returncode, ended.stdout) == (0, f"6 images: {out}\n")
        pictures.append(np.asarray(Image.open(out)))
    assert pictures[0].shape == (32, 48, 3)
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_quality_is_best_against_the_generators_own_images(
    ktl: Ktl, tiny_generator_file: Path, own_images: Path
) -> None:
    ended = ktl("generator", "quality", tiny_generator_file, "--images", own_images)
    figures = {name: float(value) for name, value in (line.split() for line in ended.stdout.splitlines())}
    assert list(figures) == ["distance", "precision", "recall", "diversity"]
    assert figures["precision"] > 0.8
    assert figures["recall"] > 0.8
    assert figures["diversity"] == pytest.approx(1.0, abs=0.2)


def test_quality_without_images_is_an_error_in_one_line(ktl: Ktl, tiny_generator_file: Path, tmp_path: Path) -> None:
    ended = ktl("generator", "quality", tiny_generator_file, "--images", tmp_path)
    assert ended.returncode == 1
    assert re.fullmatch(r"error: .* holds no image .*\n", ended.stderr)


def test_train_names_the_weights(ktl: Ktl, own_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = ktl("generator", "train", "--images", own_images, "--out", out, "--count", 64, "--size", 16)
    assert ended.returncode == 0
    *_, weights, following = ended.stdout.splitlines()
    assert weights == f"weights: {out}/generator.safetensors"
    assert following == f"next: ktl generator sample {out}/generator.safetensors"
    generator = load_generator(str(out / "generator.safetensors"))
    assert torch.isfinite(sample_latents(generator, 4, stream(0, "z"))).all()
    again = ktl("generator", "train", "--images", own_images, "--out", out, "--count", 64, "--size", 16)
    assert again.returncode == 2
    assert "already holds a training; go on with --resume" in again.stderr


def test_convert_refuses_in_one_line_what_it_cannot_read(ktl: Ktl, tmp_path: Path) -> None:
    path = tmp_path / "official.pkl"
    path.write_bytes(pickle.dumps({"G_ema": os.system}))
    ended = ktl("generator", "convert", path, tmp_path / "out.safetensors")
    assert ended.returncode == 1
    assert re.fullmatch(r"error: .* names 'posix.system', which is not admitted\n", ended.stderr)
    ended = ktl("generator", "convert", path, tmp_path / "out.pt")
    assert (ended.returncode, ended.stderr[:20]) == (2, "error: the output '/")
