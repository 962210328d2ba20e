"""Warm starts that lie ready come before those that would have to be made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from ktl.errors import UsageError
from ktl.generators.network import NetworkGenerator
from ktl.models.edge_model import extractor_weights
from ktl.spaces import space_of
from ktl.warm_start.ready import ready_name
from ktl.warm_start.settings import Architecture, WarmStartConfig
from ktl.warm_start.warm_starts import WarmStarts
from ktl.wire import encode_warm_start

CNN = Architecture("cnn4", 3, 16)


@pytest.fixture
def ready_file() -> Path:
    """In the user's folder of warm starts."""
    from ktl.warm_start.ready import cache_folder

    cache_folder().mkdir()
    ones = {name: torch.ones(weight.shape) for name, weight in extractor_weights("cnn4", 3, 16).items()}
    file = cache_folder() / ready_name(CNN)
    file.write_bytes(encode_warm_start(ones))
    return file


def test_a_ready_one_is_offered_in_place_of_a_training(ready_file: Path, tiny_generator: NetworkGenerator) -> None:
    offering = WarmStarts(tiny_generator, space_of(tiny_generator))
    payload = ready_file.read_bytes()
    assert offering.offer(CNN).fingerprint == hashlib.sha256(payload).hexdigest()
    assert offering.offer(CNN).size == len(payload)
    assert offering.kept(CNN) == payload
    assert offering.make(CNN, lambda *_: pytest.fail("trained one")) == payload


def test_whoever_names_a_number_of_images_has_one_made(ready_file: Path, tiny_generator: NetworkGenerator) -> None:
    config = WarmStartConfig(images=16, chunk=16, passes=1, batch=16)
    offering = WarmStarts(tiny_generator, space_of(tiny_generator), config)
    assert offering.kept(CNN) is None
    assert offering.make(CNN) != ready_file.read_bytes()


def test_a_file_of_another_network_is_named(ready_file: Path, tiny_generator: NetworkGenerator) -> None:
    ready_file.write_bytes(encode_warm_start({"weight": torch.ones(2, 2)}))
    with pytest.raises(UsageError, match=r"cnn4-3x16\.safetensors in .* is no such warm start"):
        WarmStarts(tiny_generator, space_of(tiny_generator)).offer(CNN)


def test_a_cloud_with_a_folder_of_its_own_looks_there(
    ready_file: Path, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    own = tmp_path / "own" / ready_name(CNN)
    own.parent.mkdir()
    zeros = {name: torch.zeros(weight.shape) for name, weight in extractor_weights("cnn4", 3, 16).items()}
    own.write_bytes(encode_warm_start(zeros))
    offering = WarmStarts(tiny_generator, space_of(tiny_generator), folder=own.parent)
    assert offering.make(CNN) == own.read_bytes() != ready_file.read_bytes()
    announced = offering.offer(CNN).fingerprint
    own.write_bytes(ready_file.read_bytes())
    assert hashlib.sha256(offering.make(CNN)).hexdigest() == announced  # what was announced is what is sent
