"""The training of a latent flow: what decoder and flow learn, and that it goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.feature_network import Convolutional

from ktl.errors import UsageError
from ktl.generators import load_generator
from ktl.generators.base import sample_latents
from ktl.generators.network import NetworkGenerator
from ktl.generators.networks.latent_flow import LatentFlow, LatentFlowConfig
from ktl.generators.training.autoencoder import LatentFlowTrainer
from ktl.generators.training.features import FeatureMaps
from ktl.generators.training.projected import ProjectedAdversary
from ktl.generators.training.run import train_generator
from ktl.generators.training.settings import LatentFlowTrainingConfig, ProjectedConfig
from ktl.seeds import initialising, stream

CONFIG = LatentFlowTrainingConfig(
    images=48, batch=8, log_every=2, save_every=2, average_half_life=16, feature_size=32, pixel_images=16
)
SIZES = LatentFlowConfig(8, 16, channels=(16, 16, 16), flow_width=32, flow_layers=2)


def test_what_is_drawn_comes_to_look_like_the_images() -> None:
    """Images are red above and dark below, or green the other way round; the flow draws both, as does no mean image."""
    shape = (64, 16, 16, 3)
    images = np.random.default_rng(0).integers(0, 30, shape, dtype=np.uint8)
    images[:32, :8, :, 0] += 200
    images[32:, 8:, :, 1] += 200
    with initialising(0, "test"):
        network = LatentFlow(SIZES)
        adversary = ProjectedAdversary(FeatureMaps(Convolutional(), 32), 16, 0.002, augment=False)
        config = replace(
            CONFIG, images=160 * 16, pixel_images=0, batch=16, log_every=20, average_half_life=200, generator_rate=3e-3
        )
        trainer = LatentFlowTrainer(images, network, adversary, config, torch.device("cpu"))
    rows: list[dict[str, float]] = []
    trainer.train(rows.append)
    assert rows[-1]["unlikeness"] < rows[0]["unlikeness"] / 4
    assert rows[-1]["flow_loss"] < rows[0]["flow_loss"] * 0.9
    generator = NetworkGenerator(trainer.generator, name="", licence="", fingerprint="")
    drawn = generator.images(sample_latents(generator, 64, stream(0, "z"))).float()
    red, green = drawn[:, 0, :8].mean(dim=(1, 2)), drawn[:, 1, 8:].mean(dim=(1, 2))
    is_red = red > green
    assert 16 <= is_red.sum() <= 48
    assert red[is_red].mean() > 150
    assert green[is_red].mean() < 80
    assert green[~is_red].mean() > 150
    assert red[~is_red].mean() < 80


def test_a_stopped_training_goes_on_to_the_same_weights(photographs: Path, tmp_path: Path) -> None:
    def train(out: str, stop: int = 9) -> Path:
        stops = iter(range(9))
        return train_generator(
            photographs,
            tmp_path / out,
            CONFIG,
            size=16,
            features=Convolutional(),
            licence="CC0",
            resume=True,
            should_stop=lambda: next(stops) >= stop,
        )

    whole = train("whole")
    for stop in (1, 2):  # after 1 of 6 steps, by pixels alone, and after 3
        train("parts", stop)
    assert train("parts").read_bytes() == whole.read_bytes()
    generator = load_generator(str(whole))
    assert (generator.family, generator.image_size, generator.licence) == ("LatentFlow", 16, "CC0")
    rows = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [16, 32, 48]
    assert set(rows[0]) == {"images", "pixel_loss", "diversity", "images_per_second"}
    for row in rows[1:]:
        assert row["flow_loss"] > 0
        assert row["unlikeness"] > 0
        assert row["discriminator_loss"] > 0


def test_a_training_of_another_family_or_with_a_start_is_refused(
    photographs: Path, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train_generator(photographs, out, CONFIG, size=16, features=Convolutional())
    for config in (ProjectedConfig(images=48, batch=8, feature_size=32), CONFIG):
        start = tiny_generator if config is CONFIG else None
        with pytest.raises(UsageError) as refused:
            train_generator(photographs, out, config, size=16, features=Convolutional(), start=start, resume=True)
        assert (
            str(refused.value)
            == {
                True: "a latent flow learns beside an encoder, which tiny has not: leave --start out",
                False: "a training starts from a StyleGAN2 without classes, but out is a LatentFlow",
            }[config is CONFIG]
        )
    with pytest.raises(UsageError, match="a projected discriminator looks through an encoder: give its features"):
        train_generator(photographs, tmp_path / "b", CONFIG, size=16)
