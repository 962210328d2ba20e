"""`ktl generator show`, `sample`, `quality`, `train` and `convert`."""

from __future__ import annotations

import json
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

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
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


def test_show_tells_whose_images_a_pool_holds(ktl: Ktl, photographs: Path) -> None:
    ended = ktl("generator", "show", f"pool:{photographs}")
    shown = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in ended.stdout.splitlines())
    assert (shown["family"], shown["images"], shown["licence"]) == ("pool", "40", "CC0 1.0 Universal")


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


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def test_sample_draws_the_official_images_of_given_noise(ktl: Ktl, path: Path, tmp_path: Path) -> None:
    network, z, classes, out = (tmp_path / name for name in ("network.safetensors", "z.npy", "c.npy", "out.npy"))
    assert ktl("generator", "convert", path, network).returncode == 0
    with np.load(path) as golden:
        np.save(z, golden["z"])
        command = ["generator", "sample", network, "--z", z, "--npy", out]
        if "c" in golden:
            np.save(classes, golden["c"])
            command += ["--classes", classes]
        for truncation in ("1", "0.7"):
            ended = ktl(*command, "--truncation", truncation)
            assert (ended.returncode, ended.stdout) == (0, f"3 images, float32: {out}\n")
            drawn = np.load(out)
            assert drawn.dtype == np.float32
            assert np.abs(drawn - golden[f"img_psi{truncation}"]).max() < 1e-4
    assert not (tmp_path / "samples.png").exists()


def test_sample_draws_given_noise_and_classes_out_of_an_official_file(ktl: Ktl, tmp_path: Path) -> None:
    path, z, classes = GOLDEN / "stylegan-xl-superres-32.npz", tmp_path / "z.npy", tmp_path / "c.npy"
    np.save(z, np.random.default_rng(0).normal(size=(5, 16)))
    np.save(classes, np.array([0, 6, 1, 1, 2], dtype=np.uint8))
    files = [tmp_path / "out.png", tmp_path / "out.npy"]
    options = ["--columns", 3, "--out", files[0], "--npy", files[1]]
    ended = ktl("generator", "sample", path, "--z", z, "--classes", classes, *options)
    assert ended.returncode == 0
    picture, images = np.asarray(Image.open(files[0])), np.load(files[1])
    assert picture.shape == (64, 96, 3)
    assert images.shape == (5, 3, 32, 32)
    last = np.clip(np.rint((images[4] + 1) * 127.5), 0, 255)
    assert np.array_equal(picture[32:, 32:64], last.transpose(1, 2, 0))
    assert not picture[32:, 64:].any()
    shown = ktl("generator", "show", path).stdout
    assert re.search(r"classes +7 *\n", shown)
    assert re.search(r"licence +not stated: many releases forbid commercial use", shown)


@pytest.mark.parametrize(
    ("z", "classes", "message"),
    [
        (np.zeros((2, 17)), [0, 1], r"--z .* holds float64 of shape \(2, 17\): expected floats of shape \(n, 16\)"),
        (np.zeros(16), [0], r"of shape \(16,\): expected floats"),
        (np.zeros((0, 16)), [], r"of shape \(0, 16\): expected floats"),
        (np.zeros((1, 16), dtype=complex), [0], "holds complex128"),
        (np.full((2, 16), np.nan), [0, 1], "not finite in row 0"),
        (np.full((2, 16), 1e300), [0, 1], "not finite in row 0"),
        (np.array([["a"]], dtype=object), [0], "is no .npy file of numbers"),
        (b"", [0], "is no .npy file of numbers"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'", [0], "is no .npy file of numbers"),
        (None, [0], "there is no such file"),
        (np.zeros((2, 16)), None, "has 7 classes: give --classes"),
        (np.zeros((2, 16)), [0, 7], "holds the class 7: expected 0 to 6"),
        (np.zeros((2, 16)), [-1, 0], "holds the class -1: expected 0 to 6"),
        (np.zeros((2, 16)), [0.5, 1.0], r"holds float64 of shape \(2,\): expected 2 integers"),
        (np.zeros((2, 16)), [1], r"holds int64 of shape \(1,\): expected 2 integers"),
        (np.zeros((2, 16)), np.eye(7)[:2] * 2, "has no one-hot row at row 0"),
        (np.zeros((2, 16)), np.zeros((2, 8)), r"expected 2 integers, .* or one-hot rows of shape \(2, 7\)"),
    ],
)
def test_sample_refuses_bad_noise_and_classes_in_one_line(
    ktl: Ktl, z: object, classes: object, message: str, tmp_path: Path
) -> None:
    command = ["generator", "sample", GOLDEN / "stylegan-xl-stem-16.npz", "--z", tmp_path / "z.npy"]
    if isinstance(z, bytes):
        (tmp_path / "z.npy").write_bytes(z)
    elif z is not None:
        np.save(tmp_path / "z.npy", np.asarray(z))
    if classes is not None:
        np.save(tmp_path / "c.npy", np.asarray(classes))
        command += ["--classes", tmp_path / "c.npy"]
    ended = ktl(*command, "--npy", tmp_path / "out.npy")
    assert ended.returncode == 2
    assert re.fullmatch(rf"error: .*{message}.*\n", ended.stderr)
    assert not (tmp_path / "out.npy").exists()


def test_sample_refuses_options_that_do_not_go_together(ktl: Ktl, tiny_generator_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((1, 16)))
    np.save(tmp_path / "c.npy", np.zeros(1, dtype=int))
    with_classes = ["--z", tmp_path / "z.npy", "--classes", tmp_path / "c.npy"]
    assert (
        "has no classes: leave --classes out" in ktl("generator", "sample", tiny_generator_file, *with_classes).stderr
    )
    ended = ktl("generator", "sample", tiny_generator_file, "--npy", tmp_path / "out.npy")
    assert (ended.returncode, "go with --z" in ended.stderr) == (2, True)
    for option in (["--compile"], ["--products", "bfloat16"]):
        ended = ktl("generator", "sample", tiny_generator_file, "--z", tmp_path / "z.npy", *option)
        assert (ended.returncode, "leave out --products and --compile" in ended.stderr) == (2, True)


def test_sample_multiplies_in_bfloat16_where_asked(ktl: Ktl, tiny_generator_file: Path, tmp_path: Path) -> None:
    pictures = []
    for products in ("float32", "bfloat16"):
        out = tmp_path / f"{products}.png"
        assert ktl("generator", "sample", tiny_generator_file, "--out", out, "--products", products).returncode == 0
        pictures.append(np.asarray(Image.open(out)).astype(float))
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 2.0


def test_quality_is_best_against_the_generators_own_images(
    ktl: Ktl, tiny_generator_file: Path, own_images: Path
) -> None:
    ended = ktl("generator", "quality", tiny_generator_file, "--images", own_images)
    figures = {name: float(value) for name, value in (line.split() for line in ended.stdout.splitlines())}
    assert list(figures) == ["distance", "precision", "recall", "diversity"]
    assert figures["precision"] > 0.8
    assert figures["recall"] > 0.8
    assert figures["diversity"] == pytest.approx(1.0, abs=0.2)


def test_quality_by_an_encoder_is_measured_in_its_space(ktl: Ktl, tiny_generator_file: Path, own_images: Path) -> None:
    ended = ktl("generator", "quality", tiny_generator_file, "--images", own_images, "--features", "builtin")
    figures = {name: float(value) for name, value in (line.split() for line in ended.stdout.splitlines())}
    assert 0 < figures["distance"] < 1  # of unit vectors
    assert figures["precision"] > 0.8


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


def test_train_looks_through_an_encoder_and_starts_from_a_generator(
    ktl: Ktl, tiny_generator_file: Path, own_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--features", "builtin", "--feature-size", 32, "--no-augment", "--start", tiny_generator_file]
    ended = ktl("generator", "train", "--images", own_images, "--out", out, "--count", 64, "--size", 16, *options)
    assert ended.returncode == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["feature_size"], config["images"], config["size"]) == (32, 64, 16)
    assert config["augment"] is False
    assert load_generator(str(out / "generator.safetensors")).latent_dim == 16


def test_train_makes_a_latent_flow_and_says_what_does_not_go_with_it(
    ktl: Ktl, own_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train = ["generator", "train", "--images", own_images, "--out", out, "--size", 16, "--family", "LatentFlow"]
    ended = ktl(*train, "--features", "builtin", "--feature-size", 32, "--count", 64, "--cooldown", 0.5)
    assert ended.returncode == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["images"], config["cooldown"], config["code_noise"], config["size"]) == (64, 0.5, 0.3, 16)
    generator = load_generator(str(out / "generator.safetensors"))
    assert (generator.family, generator.latent_dim) == ("LatentFlow", 128)
    shown = ktl("generator", "show", out / "generator.safetensors").stdout
    assert re.search(r"family +LatentFlow ", shown)
    for options, message in {
        (): "a LatentFlow learns by the features of an encoder: give --features",
        ("--features", "builtin", "--augment"): "--augment changes images, but a LatentFlow learns to draw them as",
    }.items():
        refused = ktl(*train, *options)
        assert (refused.returncode, message in refused.stderr) == (2, True)


def test_train_refuses_options_of_features_without_them(ktl: Ktl, own_images: Path, tmp_path: Path) -> None:
    for option in (["--no-augment"], ["--feature-size", 32]):
        ended = ktl("generator", "train", "--images", own_images, "--out", tmp_path / "out", *option)
        assert ended.returncode == 2
        assert "are for a discriminator that looks through --features: give one" in ended.stderr


def test_convert_refuses_in_one_line_what_it_cannot_read(ktl: Ktl, tmp_path: Path) -> None:
    path = tmp_path / "official.pkl"
    path.write_bytes(pickle.dumps({"G_ema": os.system}))
    ended = ktl("generator", "convert", path, tmp_path / "out.safetensors")
    assert ended.returncode == 1
    assert re.fullmatch(r"error: .* names 'posix.system', which is not admitted\n", ended.stderr)
    ended = ktl("generator", "convert", path, tmp_path / "out.pt")
    assert (ended.returncode, ended.stderr[:20]) == (2, "error: the output '/")
