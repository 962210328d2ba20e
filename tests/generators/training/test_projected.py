"""The discriminator that looks through an encoder: what it learns, and a training with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.feature_network import Convolutional

from ktl.encoders.base import Encoder
from ktl.errors import UsageError
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator
from ktl.generators.training.features import FeatureMaps
from ktl.generators.training.projected import ProjectedAdversary
from ktl.generators.training.run import train_generator
from ktl.generators.training.settings import ProjectedConfig, RelativisticConfig
from ktl.seeds import initialising, stream

CONFIG = ProjectedConfig(images=48, batch=8, log_every=2, save_every=2, average_half_life=16, feature_size=32)


def test_it_learns_to_tell_images_from_others_and_shows_what_to_change() -> None:
    with initialising(0, "critics"):
        adversary = ProjectedAdversary(FeatureMaps(Convolutional(), 32), 16, 0.002)
    rng = stream(0, "images")
    stripes = torch.where(torch.arange(16) < 8, 1.0, -1.0).expand(16, 3, 16, 16)
    grey = torch.zeros(16, 3, 16, 16, requires_grad=True)
    losses = []
    for step in range(40):
        sign = 2 * torch.randint(0, 2, (16, 1, 1, 1), generator=rng) - 1
        loss, row = adversary.teach(stripes * sign, lambda: grey + 0.0, rng, step)
        losses.append(row["discriminator_loss"])
    assert sum(losses[:10]) / 10 > 1.8
    assert sum(losses[-10:]) / 10 < 1.6
    assert row["diversity"] == 0
    loss.backward()
    assert grey.grad is not None
    assert (grey.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_what_the_network_does_not_see_its_critic_of_pixels_does() -> None:
    blind = Convolutional()
    for parameter in blind.network.parameters():
        parameter.data.zero_()
    with initialising(0, "critics"):
        adversary = ProjectedAdversary(FeatureMaps(blind, 32), 16, 0.01, augment=False)
    rng = stream(0, "images")
    bright, dark = torch.full((8, 3, 16, 16), 0.5), torch.full((8, 3, 16, 16), -0.5, requires_grad=True)
    for step in range(40):
        loss, row = adversary.teach(bright, lambda: dark + 0.0, rng, step)
    maps = len(adversary.critics) - 1
    assert row["discriminator_loss"] == pytest.approx(2 * maps / (maps + 1), abs=0.05)
    loss.backward()
    assert dark.grad is not None
    assert (dark.grad.sum(dim=(1, 2, 3)) < 0).all()  # brighter is more real


def test_without_changed_images_it_sees_those_that_there_are() -> None:
    """The same figures whatever is drawn for a change, where with changes they differ."""
    images = torch.rand(8, 3, 16, 16, generator=stream(0, "images")) * 2 - 1

    def first_loss(change: str, *, augment: bool) -> float:
        with initialising(0, "critics"):
            adversary = ProjectedAdversary(FeatureMaps(Convolutional(), 32), 16, 0.002, augment=augment)
        return adversary.teach(images, lambda: images.flip(0) * 0.5, stream(0, change), 0)[1]["discriminator_loss"]

    assert first_loss("a", augment=False) == first_loss("b", augment=False)
    assert first_loss("a", augment=True) != first_loss("b", augment=True)


def test_a_stopped_training_goes_on_to_the_same_weights_with_the_same_encoder(
    photographs: Path, tmp_path: Path
) -> None:
    def train(
        out: str, features: Encoder | None, config: ProjectedConfig | RelativisticConfig = CONFIG, stop: int = 9
    ) -> Path:
        stops = iter(range(9))
        return train_generator(
            photographs,
            tmp_path / out,
            config,
            size=16,
            features=features,
            resume=True,
            should_stop=lambda: next(stops) >= stop,
        )

    whole = train("whole", Convolutional())
    train("parts", Convolutional(), stop=3)
    with pytest.raises(
        UsageError, match="another discriminator or of another family: give the same --features and --family, or a new"
    ):
        train("parts", None, RelativisticConfig(images=48, batch=8))
    other = Convolutional()
    other.fingerprint = "other"
    with pytest.raises(UsageError, match="holds a training with another discriminator"):
        train("parts", other)
    assert train("parts", Convolutional()).read_bytes() == whole.read_bytes()
    with pytest.raises(UsageError, match="a projected discriminator looks through an encoder: give its features"):
        train("none", None)


def test_a_training_starts_from_weights_that_there_are(
    photographs: Path, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    weights = train_generator(
        photographs,
        tmp_path / "out",
        replace(CONFIG, generator_rate=1e-9),
        size=16,
        features=Convolutional(),
        start=tiny_generator,
    )
    trained, start = load_generator(str(weights)).network.state_dict(), tiny_generator.network.state_dict()
    for name, tensor in start.items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=1e-6)
    with pytest.raises(UsageError, match="tiny draws 16 pixels: give --size 16"):
        train_generator(photographs, tmp_path / "b", CONFIG, size=32, features=Convolutional(), start=tiny_generator)
    pool = load_generator(f"pool:{photographs}")
    with pytest.raises(UsageError, match=r"a training starts from a StyleGAN2 without classes, but .* is a pool"):
        train_generator(photographs, tmp_path / "c", CONFIG, size=16, features=Convolutional(), start=pool)
