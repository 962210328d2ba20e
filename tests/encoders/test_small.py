"""ktl's own encoder: its file and what it gives."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ktl.encoders import load_encoder
from ktl.encoders.small import SmallEncoderConfig, SmallEncoderNetwork, load_small_encoder, save_small_encoder
from ktl.errors import CheckpointError
from ktl.generators import load_generator
from ktl.generators.base import sample_latents
from ktl.seeds import initialising, stream

CONFIG = SmallEncoderConfig(image_size=16, widths=(4, 8, 8), dimension=12)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with initialising(0, "small encoder"):
        network = SmallEncoderNetwork(CONFIG)
    path = tmp_path / "small.safetensors"
    save_small_encoder(path, network, licence="CC0-1.0")
    return path


def pictures(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=stream(0, "pictures"))


def test_a_file_gives_unit_vectors_and_says_what_it_is(file: Path) -> None:
    encoder = load_encoder(str(file))
    assert (encoder.name, encoder.dimension, encoder.image_size, encoder.licence) == ("small", 12, 16, "CC0-1.0")
    assert len(encoder.fingerprint) == 64
    embeddings = encoder.embed(pictures(70, 20))
    assert embeddings.shape == (70, 12)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(70))
    assert torch.equal(embeddings[:64], encoder.embed(pictures(70, 20)[:64]))


def test_weights_of_a_file_survive_in_half_precision_and_other_weights_have_another_fingerprint(file: Path) -> None:
    encoder = load_small_encoder(file, "a")
    again = file.with_name("again.safetensors")
    save_small_encoder(again, encoder.network, licence="CC0-1.0")
    assert again.read_bytes() == file.read_bytes()
    encoder.network.head.bias[0] += 1
    save_small_encoder(again, encoder.network, licence="CC0-1.0")
    assert load_small_encoder(again, "a").fingerprint != encoder.fingerprint


def test_what_is_no_encoder_is_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no encoder file .*absent"):
        load_small_encoder(tmp_path / "absent.safetensors", "absent")
    content = file.read_bytes()
    arrays = load_file(file)
    for damage in (content[: len(content) // 2], b"", content.replace(b"ktl-encoder-1", b"ktl-encoder-9")):
        file.write_bytes(damage)
        refused(file)
    file.write_bytes(content.replace(b'\\"image_size\\": 16', b'\\"image_size\\": 99999999'.ljust(20)))
    refused(file)
    save_file(arrays, file)
    assert "is no encoder that ktl can read" in refused(file)
    file.write_bytes(content.replace(b'\\"dimension\\": 12', b'\\"dimension\\": 13'))
    assert "size mismatch" in refused(file)


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_small_encoder(path, "small")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_encoder_that_ships_is_small_and_knows_a_picture_in_the_mirror() -> None:
    encoder = load_encoder("builtin")
    assert (encoder.name, encoder.dimension, encoder.licence) == ("builtin", 256, "Apache-2.0")
    assert (files("ktl.encoders") / "weights" / "builtin.safetensors").stat().st_size <= 4e6
    generator = load_generator("builtin")
    images = generator.images(sample_latents(generator, 100, stream(0, "mirrored")))
    cosines = encoder.embed(images) @ encoder.embed(images.flip(3)).T
    assert (cosines.argmax(dim=1) == torch.arange(100)).float().mean().item() > 0.95
