"""A cloud in the edge's own process, spoken to in bytes alone."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.errors import KtlError, UsageError, WireError
from ktl.generators.stylegan import StyleGANGenerator
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionReply, SessionRequest, decode_message, decode_pairs, encode_message, encode_prototypes

REQUEST = SessionRequest(
    num_classes=3,
    image_size=16,
    channels=3,
    pairs_per_class=4,
    download_bytes=1_000_000,
    alignment="robust",
    image_format="webp",
    seed=3,
)
ALIGNMENTS = pytest.mark.parametrize("alignment", ["robust", "published"])


def upload(round_index: int) -> bytes:
    """The prototypes that an edge would send in a round; their embeddings move a little from round to round."""
    embeddings = torch.randn(9, 3, generator=stream(0, "embeddings"))
    embeddings = embeddings + 0.3 * torch.randn(9, 3, generator=stream(round_index, "change"))
    return encode_prototypes(class_prototypes(embeddings, torch.arange(3).repeat_interleave(3)))


def session(generator: StyleGANGenerator, request: SessionRequest, rounds: int) -> list[bytes]:
    """Everything that comes down in an unbroken session."""
    cloud = EmbeddedCloud(generator)
    return [cloud.open(encode_message(request), []), *(cloud.exchange(upload(r)) for r in range(rounds))]


@ALIGNMENTS
def test_the_same_session_gives_the_same_bytes(tiny_generator: StyleGANGenerator, alignment: str) -> None:
    request = replace(REQUEST, alignment=alignment)
    first = session(tiny_generator, request, rounds=2)
    assert session(tiny_generator, request, rounds=2) == first
    reseeded = session(tiny_generator, replace(request, seed=4), rounds=2)
    assert all(a != b for a, b in zip(reseeded, first, strict=True))


@ALIGNMENTS
@pytest.mark.parametrize("done", [1, 2])
def test_after_a_restart_the_session_goes_on_with_the_same_bytes(
    tiny_generator: StyleGANGenerator, alignment: str, done: int
) -> None:
    request = replace(REQUEST, alignment=alignment)
    unbroken = session(tiny_generator, request, rounds=3)
    assert len(set(unbroken)) == 4
    restarted = EmbeddedCloud(tiny_generator)
    assert restarted.open(encode_message(request), [upload(r) for r in range(done)]) == unbroken[0]
    assert [restarted.exchange(upload(r)) for r in range(done, 3)] == unbroken[1 + done :]


def test_the_published_alignment_depends_on_the_rounds_before(tiny_generator: StyleGANGenerator) -> None:
    request = replace(REQUEST, alignment="published")
    forgetful = EmbeddedCloud(tiny_generator)
    forgetful.open(encode_message(request), [])
    assert forgetful.exchange(upload(2)) != session(tiny_generator, request, rounds=3)[-1]


def test_opening_again_starts_a_new_session(tiny_generator: StyleGANGenerator) -> None:
    cloud = EmbeddedCloud(tiny_generator)
    request = encode_message(replace(REQUEST, alignment="published"))
    cloud.open(request, [])
    first = cloud.exchange(upload(0))
    cloud.open(request, [])
    assert cloud.exchange(upload(0)) == first


def test_the_payloads_are_those_of_the_wire(tiny_generator: StyleGANGenerator) -> None:
    opening, download = session(tiny_generator, REQUEST, rounds=1)
    reply = decode_message(opening, SessionReply)
    assert (reply.generator, reply.etf_seed) == ("tiny", 3)
    pairs = decode_pairs(download, REQUEST, reply.latent_dim)
    assert pairs.classes.tolist() == [0, 1, 2] * 4
    assert pairs.images.shape == (12, 3, 16, 16)


def test_a_round_before_the_opening_is_refused(tiny_generator: StyleGANGenerator) -> None:
    with pytest.raises(UsageError, match=r"call open\(\) before exchange\(\)"):
        EmbeddedCloud(tiny_generator).exchange(upload(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1: must be between 2 and"),
        ({"pairs_per_class": 0}, "pairs_per_class is 0: must be between 1 and"),
        ({"channels": 4}, "channels is 4: choose one of 1, 3"),
        ({"image_format": "gif"}, "image_format is 'gif': choose one of webp, png"),
        ({"alignment": "perfect"}, "unknown alignment 'perfect': choose one of robust, random, published"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    tiny_generator: StyleGANGenerator, change: dict[str, int | str], message: str
) -> None:
    request = SessionRequest(**(asdict(REQUEST) | change))
    with pytest.raises(KtlError, match=message):
        EmbeddedCloud(tiny_generator).open(encode_message(request), [])


def test_prototypes_of_another_session_are_refused(tiny_generator: StyleGANGenerator) -> None:
    cloud = EmbeddedCloud(tiny_generator)
    cloud.open(encode_message(replace(REQUEST, num_classes=4)), [])
    with pytest.raises(WireError, match="vectors of the prototypes"):
        cloud.exchange(upload(0))
    with pytest.raises(WireError, match="cut short"):
        cloud.exchange(upload(0)[:5])
