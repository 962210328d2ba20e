"""Encoders by name, file, library or class; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ktl.encoders import ENCODERS, load_encoder
from ktl.encoders.base import Encoder
from ktl.errors import UsageError

OWN = """
from ktl.encoders.base import Encoder

class Shades(Encoder):
    dimension, image_size, fingerprint = 3, 8, "1"
    def features(self, images):
        return images.mean(dim=(2, 3))

class Nameless(Encoder):
    dimension = 3
    def features(self, images):
        return images

class Unfinished(Encoder):
    pass
"""


class Shades(Encoder):
    """The mean of each channel."""

    dimension, image_size, fingerprint = 3, 8, "1"
    mean, deviation = (0.0, 0.5, 1.0), (1.0, 0.5, 2.0)

    def features(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def test_images_of_any_size_are_scaled_and_normalised_batch_by_batch() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat_interleave(50)[:, None, None, None]
    for size in (8, 20):
        embeddings = Shades().embed(images.expand(-1, 3, size, size))
        assert embeddings.shape == (150, 3)
        assert embeddings.dtype == torch.float32
        torch.testing.assert_close(
            embeddings[::50], torch.tensor([[0.0, -1.0, -0.5], [0.2, -0.6, -0.4], [1.0, 1.0, 0.0]])
        )


def test_a_class_of_another_package_is_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_encoder.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    white = load_encoder("own_encoder:Shades").embed(torch.full((2, 3, 5, 5), 255, dtype=torch.uint8))
    torch.testing.assert_close(white, torch.ones(2, 3))
    with pytest.raises(UsageError, match="encoder 'own_encoder:Nameless' has no image_size, fingerprint: set it"):
        load_encoder("own_encoder:Nameless")
    with pytest.raises(UsageError, match=r"encoder 'own_encoder:Unfinished' lacks features\(\): define it"):
        load_encoder("own_encoder:Unfinished")
    with pytest.raises(UsageError, match="cannot load encoder 'own_encoder:Absent'"):
        load_encoder("own_encoder:Absent")


@pytest.mark.parametrize("source", ["", "lite0", "weights.pth", "onnx:file"])
def test_other_sources_are_refused_with_the_choices(source: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_encoder(source)
    if source == "onnx:file":  # reads module:Class
        assert "cannot load encoder 'onnx:file'" in str(refused.value)
    else:
        assert str(refused.value).startswith(f"unknown encoder '{source}': give 'builtin', the path of a .safetensors")


def test_every_choice_says_what_it_is() -> None:
    assert ENCODERS.builtin() == ["builtin", "torchvision", "timm"]
    assert all(len(ENCODERS.summary(name)) > 20 for name in ENCODERS.builtin())
