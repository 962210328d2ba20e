"""An extractor on the wire: how near its weights stay, its size beforehand, and what is refused."""

from __future__ import annotations

import random

import pytest
import torch
from support.damage import damaged
from torch import Tensor

from ktl.errors import WireError
from ktl.models.edge_model import build_model, extractor_weights
from ktl.wire import decode_warm_start, encode_warm_start, warm_start_bytes
from ktl.wire.tensors import save_arrays


def weights(model: str = "cnn4", channels: int = 3, image_size: int = 16) -> dict[str, Tensor]:
    built = build_model(model, channels=channels, image_size=image_size, classes=2, seed=1, etf_seed=1)
    return dict(built.extractor.state_dict())


@pytest.mark.parametrize(("model", "channels"), [("cnn4", 1), ("resnet4", 3)])
def test_weights_come_back_within_a_254th_of_their_rows_maximum(model: str, channels: int) -> None:
    sent = weights(model, channels)
    like = extractor_weights(model, channels, 16)
    payload = encode_warm_start(sent)
    assert len(payload) == warm_start_bytes(like)
    back = decode_warm_start(payload, like).weights
    assert back.keys() == {name for name, weight in sent.items() if weight.is_floating_point()}
    for name, weight in back.items():
        if weight.ndim < 2:
            assert torch.equal(weight, sent[name])
            continue
        bound = sent[name].flatten(1).abs().amax(dim=1, keepdim=True) / 254
        assert ((weight - sent[name]).flatten(1).abs() <= bound * 1.001).all()


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_it_says_how_fast_it_is_to_be_trained(rate: float) -> None:
    payload, like = encode_warm_start(weights(), rate), extractor_weights("cnn4", 3, 16)
    assert decode_warm_start(payload, like).body_rate == rate
    assert len(payload) == warm_start_bytes(like)


def test_the_paper_s_cnn_takes_less_than_a_megabyte() -> None:
    assert 875_000 < warm_start_bytes(extractor_weights("cnn4", 3, 32)) < 885_000
    assert 570_000 < warm_start_bytes(extractor_weights("cnn4", 1, 28)) < 590_000


def test_a_kernel_with_its_channels_last_in_memory_has_the_same_bytes() -> None:
    sent = weights()
    kernels = {name: weight.to(memory_format=torch.channels_last) for name, weight in sent.items() if weight.ndim == 4}
    assert encode_warm_start(sent | kernels) == encode_warm_start(sent)


def test_what_an_architecture_looks_like_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    like = extractor_weights("resnet4", 1, 16)
    assert torch.equal(torch.rand(3), expected)
    own = weights("resnet4", 1)
    assert {name: weight.shape for name, weight in like.items()} == {name: w.shape for name, w in own.items()}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (encode_warm_start(weights("cnn4", channels=1)), "conv1.weight of the warm-start is .*expected I8, 32 x 3 x 5"),
        (encode_warm_start(weights("cnn4", image_size=20)), "dense.weight of the warm-start is"),
        (encode_warm_start(weights("resnet4")), "warm-start hold .*expected"),
        (save_arrays({}, "pairs"), "does not say that it holds warm-start"),
        (encode_warm_start(weights() | {"conv1.bias": torch.full((32,), torch.inf)}), "conv1.bias .* not finite"),
        (encode_warm_start(weights(), 1.5), "body_rate of the warm-start is 1.5, not from 0 to 1"),
        (encode_warm_start(weights(), -0.5), "body_rate of the warm-start is -0.5, not from 0 to 1"),
        (encode_warm_start(weights(), float("nan")), "body_rate of the warm-start .*not finite"),
        (encode_warm_start(weights())[:-1], "damaged or cut short"),
        (bytes(17 * 2**20), "at most 16777216 are read"),
    ],
    ids=["channels", "size", "model", "kind", "infinite", "fast", "backwards", "nan", "cut", "large"],
)
def test_another_network_s_weights_and_damaged_ones_are_refused(payload: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_warm_start(payload, extractor_weights("cnn4", 3, 16))


def test_damage_is_refused_or_gives_finite_weights_of_the_right_shapes() -> None:
    rng, like = random.Random(0), extractor_weights("cnn4", 1, 16)
    payload = encode_warm_start(weights("cnn4", channels=1))
    refused = 0
    for _ in range(300):
        try:
            found = decode_warm_start(damaged(payload, rng), like).weights
        except WireError:
            refused += 1
            continue
        assert all(found[name].shape == weight.shape for name, weight in like.items())
        assert all(bool(torch.isfinite(weight).all()) for weight in found.values())
    assert refused > 200
