from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ktl.checkpoint import load_checkpoint
from ktl.errors import DataError, UsageError
from ktl.generators import load_generator
from ktl.generators.networks.discriminator import Discriminator
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.training.relativistic import RelativisticAdversary
from ktl.generators.training.run import train_generator
from ktl.generators.training.settings import RelativisticConfig
from ktl.generators.training.trainer import StyleGAN2Trainer
from ktl.seeds import initialising, stream

CONFIG = RelativisticConfig(images=48, batch=8, log_every=2, save_every=2, average_half_life=16)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(16):
        pixels = np.full((20, 24, 3), random.integers(0, 255, 3), dtype=np.uint8)
        pixels[5:15, 5:15] = random.integers(0, 255, 3)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return folder


def test_training_writes_weights_that_load_and_figures_of_every_row(photographs: Path, tmp_path: Path) -> None:
    weights = train_generator(photographs, tmp_path / "out", CONFIG, size=16, licence="CC0")
    generator = load_generator(str(weights))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert (generator.image_size, generator.licence) == (16, "CC0")
    assert [row["images"] for row in rows] == [16, 32, 48]
    for row in rows:
        assert row["discriminator_loss"] > 0
        assert row["generator_loss"] > 0
        assert row["r1"] > 0
        assert row["r2"] > 0
        assert 0 < row["diversity"] < 20
    assert Image.open(tmp_path / "out" / "samples.png").size == (128, 128)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["size"] == 16


def test_with_enough_images_some_are_held_out_and_measured_against_when_all_is_saved(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(20 * 64):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    train_generator(folder, tmp_path / "out", replace(CONFIG, log_every=1, save_every=3), size=8)
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert ["distance" in row for row in rows] == [False, False, True, False, False, True]
    for row in rows[2::3]:
        assert row["distance"] > 0.01
        assert 0.0 <= row["precision"] <= 1.0
        assert 0.0 <= row["recall"] <= 1.0


def test_a_stopped_training_goes_on_to_the_same_weights(photographs: Path, tmp_path: Path) -> None:
    whole = train_generator(photographs, tmp_path / "whole", CONFIG, size=16)
    stops = iter([False, False, False, True])
    train_generator(photographs, tmp_path / "parts", CONFIG, size=16, should_stop=lambda: next(stops))
    partial, _ = load_checkpoint(tmp_path / "parts" / "checkpoint.safetensors")
    assert int(partial["step"]) == 3
    parts = train_generator(photographs, tmp_path / "parts", CONFIG, size=16, resume=True)
    assert parts.read_bytes() == whole.read_bytes()


def test_with_a_cooldown_both_players_learn_less_and_less() -> None:
    images = np.random.default_rng(0).integers(0, 255, (16, 16, 16, 3), dtype=np.uint8)
    config = replace(CONFIG, cooldown=0.5, log_every=1)  # six steps, the last three of them slower
    with initialising(0, "test"):
        generator = StyleGAN2(StyleGAN2Config(8, 8, 16, channel_base=64, channel_max=4))
        adversary = RelativisticAdversary(generator.config, config, torch.device("cpu"))
        trainer = StyleGAN2Trainer(images, generator, adversary, config, torch.device("cpu"))
    rates: list[tuple[float, float]] = []
    trainer.train(
        lambda row: rates.append(
            (
                trainer.optimizer.param_groups[0]["lr"] / config.generator_rate,
                adversary.optimizer.param_groups[0]["lr"] / config.discriminator_rate,
            )
        )
    )
    assert rates == [pytest.approx((share, share)) for share in (1.0, 1.0, 1.0, 1.0, 2 / 3, 1 / 3)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images", 0, "images is 0: give a whole number of at least 1"),
        ("batch", 2.5, "batch is 2.5: give a whole number of at least 1"),
        ("generator_rate", 0.0, "generator_rate is 0.0: give a number above 0 and at most 1"),
        ("gamma", float("nan"), "gamma is nan: give a finite number of at least 0"),
        ("log_every", -1, "log_every is -1: give a whole number of at least 1"),
        ("seed", 2**31, "seed is 2147483648: give a whole number of at least 0 and below 2147483648"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        replace(CONFIG, **{name: value})
    assert str(refused.value) == message


def test_a_training_is_not_overwritten(photographs: Path, tmp_path: Path) -> None:
    train_generator(photographs, tmp_path / "out", CONFIG, size=16)
    with pytest.raises(UsageError, match="already holds a training; go on with --resume"):
        train_generator(photographs, tmp_path / "out", CONFIG, size=16)


def test_a_tar_file_trains_like_its_folder(photographs: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photographs.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(photographs, arcname="photographs")
    from_tar = train_generator(archive, tmp_path / "a", CONFIG, size=16)
    from_folder = train_generator(photographs, tmp_path / "b", CONFIG, size=16)
    assert from_tar.read_bytes() == from_folder.read_bytes()


@pytest.mark.parametrize("size", [4, 20, 0, 256])
def test_a_size_that_the_network_cannot_have_is_refused(photographs: Path, tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError, match=f"--size is {size}: choose one of 8, 16, 32, 64, 128"):
        train_generator(photographs, tmp_path / "out", CONFIG, size=size)


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a whole tar file"):
        train_generator(tmp_path / "absent", tmp_path / "out", CONFIG, size=16)


def test_discriminator_sees_a_batch_without_variety() -> None:
    """The batch's deviation is an input: equal images score otherwise than the same image among different ones."""
    with initialising(0, "test"):
        discriminator = Discriminator(StyleGAN2Config(resolution=16, channel_base=128, channel_max=8))
    varied = torch.randn(4, 3, 16, 16, generator=stream(0, "images"))
    equal = varied[:1].expand(4, -1, -1, -1)
    assert discriminator(varied).shape == (4,)
    assert (discriminator(varied)[0] - discriminator(equal)[0]).abs() > 1e-3
