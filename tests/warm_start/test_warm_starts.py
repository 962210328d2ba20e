"""What is asked for is made once, kept, found again, and refused where no cloud may make it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ktl.errors import CheckpointError, Interrupted, UsageError
from ktl.generators.network import NetworkGenerator
from ktl.models.edge_model import extractor_weights
from ktl.spaces import SPACES, space_of
from ktl.warm_start import warm_starts
from ktl.warm_start.settings import Architecture, WarmStartConfig
from ktl.warm_start.warm_starts import WarmStarts
from ktl.wire import decode_warm_start

CONFIG = WarmStartConfig(images=32, chunk=32, passes=3, batch=16)
CNN = Architecture("cnn4", 3, 16)


@pytest.fixture
def made(tiny_generator: NetworkGenerator) -> WarmStarts:
    return WarmStarts(tiny_generator, space_of(tiny_generator), CONFIG)


def test_it_is_made_once_and_found_again(made: WarmStarts, tiny_generator: NetworkGenerator, tmp_path: Path) -> None:
    assert made.kept(CNN) is None
    steps: list[tuple[int, int]] = []
    payload = made.make(CNN, lambda step, of, loss: steps.append((step, of)))
    assert steps == [(step, 6) for step in range(1, 7)]
    assert len(payload) == made.offer(CNN).size
    assert decode_warm_start(payload, extractor_weights("cnn4", 3, 16))
    assert made.file(CNN).parent == tmp_path / "warm starts"
    again = WarmStarts(tiny_generator, space_of(tiny_generator), CONFIG)
    assert again.make(CNN, lambda *_: pytest.fail("made twice")) == payload
    elsewhere = WarmStarts(tiny_generator, space_of(tiny_generator), CONFIG, folder=tmp_path / "elsewhere")
    assert elsewhere.make(CNN) == payload  # the same bits, made anew


def test_all_that_it_is_made_with_is_in_its_fingerprint(made: WarmStarts, tiny_generator: NetworkGenerator) -> None:
    latent, metric = space_of(tiny_generator), space_of(tiny_generator, SPACES.choose("encoder", dimension=8))
    others = [
        made.offer(Architecture("resnet4", 3, 16)),
        made.offer(Architecture("cnn4", 1, 16)),
        made.offer(Architecture("cnn4", 3, 20)),
        WarmStarts(tiny_generator, metric, CONFIG).offer(CNN),
        WarmStarts(tiny_generator, latent, replace(CONFIG, images=33)).offer(CNN),
    ]
    assert len({offer.fingerprint for offer in [made.offer(CNN), *others]}) == 6


def test_a_damaged_file_is_made_anew(made: WarmStarts) -> None:
    payload = made.make(CNN)
    made.file(CNN).write_bytes(payload[:-1])
    assert made.kept(CNN) is None
    assert made.make(CNN) == payload


def test_a_stopped_one_goes_on_where_it_was(made: WarmStarts, tiny_generator: NetworkGenerator, tmp_path: Path) -> None:
    done: list[int] = []
    with pytest.raises(Interrupted, match="after 4 of 6 steps"):
        made.make(CNN, lambda step, steps, loss: done.append(step), lambda: len(done) == 4)
    assert made.kept(CNN) is None
    payload = made.make(CNN, lambda step, steps, loss: done.append(step))
    assert done == [1, 2, 3, 4, 5, 6]
    assert sorted(file.suffix for file in made.folder.iterdir()) == [".lock", ".safetensors"]
    whole = WarmStarts(tiny_generator, space_of(tiny_generator), CONFIG, folder=tmp_path / "whole")
    assert whole.make(CNN) == payload


def test_two_that_ask_at_once_wait_for_one_training(made: WarmStarts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_starts, "LOOK_EVERY", 0.01)
    steps: list[int] = []
    payloads: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: payloads.append(made.make(CNN, lambda step, *_: steps.append(step))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps == [1, 2, 3, 4, 5, 6]
    assert len(payloads) == 3
    assert len(set(payloads)) == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Architecture("perfect", 3, 16), "no warm start of model 'perfect': choose one of cnn4, resnet4"),
        (Architecture("torch.nn:Linear", 3, 16), "no warm start of model 'torch.nn:Linear'"),
        (Architecture("cnn4", 3, 8), "model cnn4 needs images of at least 16 x 16, not 8"),
        (Architecture("resnet18", 3, 16), "resnet18 for images of 16 pixels would have more than 8,000,000 bytes"),
        (Architecture("vit-b16", 3, 1024), "more than 8,000,000 bytes"),
    ],
)
def test_what_no_cloud_may_make_is_refused(
    tiny_generator: NetworkGenerator, wanted: Architecture, message: str
) -> None:
    offering = WarmStarts(tiny_generator, space_of(tiny_generator), CONFIG, most_bytes=8_000_000)
    for ask in (offering.offer, offering.make):
        with pytest.raises(UsageError, match=message):
            ask(wanted)


def test_a_folder_that_cannot_be_written_is_named(tiny_generator: NetworkGenerator, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = WarmStarts(tiny_generator, space_of(tiny_generator), CONFIG, folder=tmp_path / "file" / "in")
    with pytest.raises(CheckpointError, match="KTL_WARM_STARTS"):
        nowhere.make(CNN)


def test_the_random_state_is_left_alone(made: WarmStarts) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    made.make(CNN)
    assert torch.equal(torch.rand(3), expected)
