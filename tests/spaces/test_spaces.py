"""What pairs' vectors are, and how it is chosen and announced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl import BaseGenerator
from ktl.cloud.embedded import EmbeddedCloud
from ktl.errors import UsageError
from ktl.generators.network import NetworkGenerator
from ktl.prototypes import bare_prototypes
from ktl.seeds import stream
from ktl.settings import NoSettings
from ktl.spaces import SPACES, space_of
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
BARE = encode_prototypes(bare_prototypes(torch.tensor([0, 1])))


class Wide(BaseGenerator):
    """Latents of 2,000 numbers, of which an image shows the mean."""

    noise_dim = latent_dim = 2000
    image_size = 16

    def images(self, latents: Tensor) -> Tensor:
        grey = (128 + 1000 * latents.mean(dim=1)).clamp(0, 255).byte()
        return grey[:, None, None, None].expand(-1, 3, 16, 16)


class Brightness(SharedSpace):
    """A space that is known only once an image is drawn."""

    name = "brightness"
    dimension = 1

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        return images.float().mean(dim=(1, 2, 3))[:, None]


def test_small_latents_travel_as_they_are_and_the_reply_does_not_mention_it(tiny_generator: NetworkGenerator) -> None:
    opened = EmbeddedCloud(tiny_generator).open(encode_message(REQUEST), [])
    assert b"space" not in opened
    assert decode_message(opened, SessionReply).space == "latent"
    latents = torch.randn(3, tiny_generator.latent_dim)
    assert space_of(tiny_generator).of_latents(latents) is latents


def test_large_latents_are_projected_to_vectors_that_keep_their_angles() -> None:
    generator = Wide(NoSettings())
    space = space_of(generator)
    assert (space.name, space.dimension) == ("projection", 512)
    latents = torch.randn(40, 2000, generator=stream(0, "latents"))
    latents[20:] += latents[:20]  # as near to another as 45 degrees
    vectors = space.of_latents(latents)
    assert vectors is not None
    assert vectors.std().item() == pytest.approx(latents.std().item(), rel=0.05)
    cosines = [F.cosine_similarity(each[:20], each[20:]) for each in (latents, vectors)]
    assert (cosines[0] - cosines[1]).abs().max().item() < 4 / 512**0.5
    assert torch.equal(vectors, space.vectors(latents, torch.empty(0)))
    again = space_of(Wide(NoSettings())).of_latents(latents)
    assert again is not None
    assert torch.equal(vectors, again)
    assert space_of(generator, SPACES.choose("latent")).of_latents(latents) is latents


def test_a_session_announces_its_space_and_its_pairs_are_in_it() -> None:
    generator = Wide(NoSettings())
    for space, name, dimension in ((None, "projection", 512), (Brightness(generator), "brightness", 1)):
        cloud = EmbeddedCloud(generator, space)
        reply = decode_message(cloud.open(encode_message(REQUEST), []), SessionReply)
        assert (reply.space, reply.latent_dim) == (name, dimension)
        pairs = decode_pairs(cloud.exchange({0: BARE}), REQUEST, dimension)
        assert pairs.vectors.shape == (6, dimension)
    grey = pairs.images.float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(pairs.vectors[:, 0], grey, atol=0.1, rtol=0)


def test_a_space_of_another_package_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_space.py").write_text("from ktl.spaces.latent import LatentSpace as Own\n\nNothing = 3\n")
    monkeypatch.chdir(tmp_path)
    assert space_of(Wide(NoSettings()), SPACES.choose("own_space:Own")).dimension == 2000
    with pytest.raises(UsageError, match=r"space 'own_space:Nothing' is 3: give a class derived from .*SharedSpace"):
        SPACES.choose("own_space:Nothing")
    with pytest.raises(UsageError, match="dimension is 4: give"):
        SPACES.choose("projection", dimension=4)
    with pytest.raises(UsageError, match="unknown space 'none': choose one of latent, encoder, projection, or"):
        SPACES.choose("none")
