from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ktl.errors import CheckpointError, UsageError
from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.samples import sample_grid
from ktl.generators.stylegan import load_stylegan, save_stylegan
from ktl.seeds import initialising, stream


@pytest.fixture(scope="module")
def builtin() -> ImageGenerator:
    return load_generator("builtin")


def test_the_built_in_generator_draws_varied_images(builtin: ImageGenerator) -> None:
    images = builtin.images(sample_latents(builtin, 64, stream(0, "test")))
    assert images.shape == (64, 3, 32, 32)
    assert images.dtype == torch.uint8
    pixel_deviation = images.float().std(dim=0).mean()
    assert 40 < pixel_deviation < 90  # natural images at this size: about 65


def test_the_built_in_generator_says_what_it_is(builtin: ImageGenerator) -> None:
    assert (builtin.name, builtin.family) == ("builtin", "StyleGAN2")
    assert (builtin.noise_dim, builtin.latent_dim, builtin.image_size) == (128, 128, 32)
    assert builtin.parameters < 1_000_000
    assert "Apache-2.0" in builtin.licence
    assert len(builtin.fingerprint) == 64


def test_the_same_latents_give_the_same_images_in_any_batch(builtin: ImageGenerator) -> None:
    latents = sample_latents(builtin, 70, stream(0, "test"))
    together = builtin.images(latents)
    alone = torch.cat([builtin.images(latent[None]) for latent in latents[::10]])
    assert (together[::10].int() - alone.int()).abs().max() <= 1  # rounding of the last bit


def test_a_saved_generator_loads_as_it_was(tmp_path: Path) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(z_dim=8, w_dim=8, resolution=16, channel_base=128, channel_max=8))
    path = tmp_path / "tiny.safetensors"
    save_stylegan(path, network, licence="CC0")
    loaded = load_generator(str(path))
    z = torch.randn(3, 8, generator=stream(0, "z"))
    assert (loaded.name, loaded.licence, loaded.image_size) == ("tiny", "CC0", 16)
    torch.testing.assert_close(loaded.latents(z), network.half().float().mapping(z), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["stylegan9", "weights.pt", ""])
def test_an_unknown_generator_is_refused_with_the_choices(source: str) -> None:
    with pytest.raises(UsageError, match=r"give 'builtin', the path of a \.safetensors"):
        load_generator(source)


@pytest.mark.parametrize("suffix", ["safetensors", "pkl", "npz"])
def test_a_missing_file_of_any_kind_is_named(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"there is no .* file .*absent\.{suffix}"):
        load_generator(str(tmp_path / f"absent.{suffix}"))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(
        CheckpointError,
        match="is no generator that ktl can read: its format is missing: expected one of ktl-stylegan-1, ktl-",
    ):
        load_stylegan(path, "other")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(z_dim=8, w_dim=8, resolution=8, channel_base=64, channel_max=8))
    path = tmp_path / "cut.safetensors"
    save_stylegan(path, network, licence="CC0")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is no generator"):
        load_stylegan(path, "cut")


def test_weights_of_another_shape_are_refused_in_one_line(tmp_path: Path) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(z_dim=8, w_dim=8, resolution=8, channel_base=64, channel_max=8))
    network.config = StyleGAN2Config(z_dim=8, w_dim=16, resolution=8, channel_base=64, channel_max=8)
    path = tmp_path / "odd.safetensors"
    save_stylegan(path, network, licence="CC0")
    with pytest.raises(CheckpointError) as caught:
        load_stylegan(path, "odd")
    assert "\n" not in str(caught.value)


def test_the_sample_grid_is_a_picture_of_rows_and_columns(builtin: ImageGenerator) -> None:
    picture = sample_grid(builtin, rows=2, columns=3, seed=0)
    assert picture.size == (96, 64)
    first = builtin.images(sample_latents(builtin, 6, stream(0, "samples")))[0]
    corner = torch.tensor(np.asarray(picture)[:32, :32]).permute(2, 0, 1)
    assert torch.equal(corner, first)


@pytest.mark.timing
@pytest.mark.slow
def test_the_built_in_generator_is_quick() -> None:
    started = time.perf_counter()
    generator = load_generator("builtin")
    loading = time.perf_counter() - started
    latents = sample_latents(generator, 512, stream(0, "speed"))
    generator.images(latents)
    started = time.perf_counter()
    generator.images(latents)
    assert 512 / (time.perf_counter() - started) > 250
    assert loading < 0.6
