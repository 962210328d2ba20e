"""Pairs whose vectors are an encoder's embedding of their images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.encoders.small import SmallEncoderConfig, SmallEncoderNetwork, save_small_encoder
from ktl.errors import UsageError
from ktl.generators.base import sample_latents
from ktl.generators.network import NetworkGenerator
from ktl.prototypes import bare_prototypes
from ktl.seeds import initialising, stream
from ktl.spaces import SPACES, encoder, space_of
from ktl.spaces.base import SharedSpace
from ktl.wire import SessionReply, SessionRequest, decode_message, decode_pairs, encode_message, encode_prototypes

REQUEST = SessionRequest(
    num_classes=2,
    image_size=16,
    channels=3,
    pairs_per_class=3,
    download_bytes=100_000,
    alignment="pooled",
    image_format="png",
    seed=0,
)


@pytest.fixture
def make(tmp_path: Path, tiny_generator: NetworkGenerator, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(encoder, "FITTED_ON", 150)
    return Make(tmp_path, tiny_generator)


class Make:
    """Spaces of the tiny generator and an encoder with random weights."""

    def __init__(self, folder: Path, generator: NetworkGenerator) -> None:
        self.folder = folder
        self.generator = generator

    def __call__(self, dimension: int = 8, seed: int = 0) -> SharedSpace:
        file = self.folder / f"{seed}.safetensors"
        with initialising(seed, "encoder"):
            network = SmallEncoderNetwork(SmallEncoderConfig(image_size=16, widths=(4, 8), dimension=24))
        save_small_encoder(file, network, licence="CC0-1.0")
        return space_of(self.generator, SPACES.choose("encoder", encoder=str(file), dimension=dimension))


def test_vectors_are_the_directions_in_which_embeddings_of_generated_images_vary_most(make: Make) -> None:
    space = make()
    latents = sample_latents(make.generator, 150, stream(0, "encoder space"))  # those that it is fitted on
    with torch.no_grad():
        images = make.generator.images(latents)
        vectors, embeddings = space.vectors(latents, images), space.encoder.embed(images)
    assert vectors.shape == (150, 8)
    torch.testing.assert_close(vectors.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    covariance = vectors.T @ vectors / 150
    expected = torch.linalg.eigvalsh(embeddings.T.cov(correction=0)).flip(0)[:8]
    torch.testing.assert_close(covariance, expected.diag(), atol=1e-6, rtol=1e-3)
    assert torch.equal(vectors, make().vectors(latents, images))


def test_a_fingerprint_is_of_the_encoder_the_dimension_and_the_generator(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = [make(), make(dimension=9), make(seed=1)]
    assert make().fingerprint == spaces[0].fingerprint
    monkeypatch.setattr(make.generator, "fingerprint", "another")
    spaces.append(make())
    assert len({space.fingerprint for space in spaces}) == 4


def test_a_session_says_that_its_vectors_are_a_metric_and_sends_them(make: Make) -> None:
    cloud = EmbeddedCloud(make.generator, make())
    reply = decode_message(cloud.open(encode_message(REQUEST), []), SessionReply)
    assert (reply.space, reply.latent_dim, reply.metric) == ("encoder", 8, True)
    assert reply.space_fingerprint == make().fingerprint
    payload = cloud.exchange({0: encode_prototypes(bare_prototypes(torch.tensor([0, 1])))})
    pairs = decode_pairs(payload, REQUEST, 8)  # as drawn: images are PNG and not resized
    torch.testing.assert_close(pairs.vectors, make().vectors(torch.empty(0), pairs.images), atol=1e-3, rtol=1e-3)


def test_more_numbers_than_an_embedding_has_are_refused(make: Make) -> None:
    with pytest.raises(UsageError, match=r"a dimension of 25, but an embedding of .* has 24 numbers: give at most"):
        make(dimension=25)
    with pytest.raises(UsageError, match="unknown encoder 'lite0'"):
        space_of(make.generator, SPACES.choose("encoder", encoder="lite0"))
