"""A cloud in the edge's own process, spoken to in bytes alone."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.cloud.knowledge import KnowledgeCloud
from ktl.errors import KtlError, UsageError, WireError
from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator
from ktl.generators.network import NetworkGenerator
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import (
    SessionReply,
    SessionRequest,
    decode_message,
    decode_pairs,
    decode_prototypes,
    encode_message,
    encode_pairs,
    encode_prototypes,
)

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


def session(generator: ImageGenerator, request: SessionRequest, rounds: int) -> list[bytes]:
    """Everything that comes down in an unbroken session."""
    cloud = EmbeddedCloud(generator)
    return [cloud.open(encode_message(request), []), *(cloud.exchange({0: upload(r)}) for r in range(rounds))]


@ALIGNMENTS
def test_the_same_session_gives_the_same_bytes(tiny_generator: NetworkGenerator, alignment: str) -> None:
    request = replace(REQUEST, alignment=alignment)
    first = session(tiny_generator, request, rounds=2)
    assert session(tiny_generator, request, rounds=2) == first
    reseeded = session(tiny_generator, replace(request, seed=4), rounds=2)
    assert all(a != b for a, b in zip(reseeded, first, strict=True))


@ALIGNMENTS
@pytest.mark.parametrize("done", [1, 2])
def test_after_a_restart_the_session_goes_on_with_the_same_bytes(
    tiny_generator: NetworkGenerator, alignment: str, done: int
) -> None:
    request = replace(REQUEST, alignment=alignment)
    unbroken = session(tiny_generator, request, rounds=3)
    assert len(set(unbroken)) == 4
    restarted = EmbeddedCloud(tiny_generator)
    assert restarted.open(encode_message(request), [{0: upload(r)} for r in range(done)]) == unbroken[0]
    assert [restarted.exchange({0: upload(r)}) for r in range(done, 3)] == unbroken[1 + done :]


@pytest.mark.parametrize("alignment", ["robust", "random", "published"])
def test_a_pool_that_is_read_anew_goes_on_with_the_same_bytes(photographs: Path, alignment: str) -> None:
    request, source = replace(REQUEST, alignment=alignment), f"pool:{photographs}?size=16"
    unbroken = session(load_generator(source), request, rounds=2)
    restarted = EmbeddedCloud(load_generator(source))
    assert restarted.open(encode_message(request), [{0: upload(0)}]) == unbroken[0]
    assert restarted.exchange({0: upload(1)}) == unbroken[2]


def test_the_published_alignment_depends_on_the_rounds_before(tiny_generator: NetworkGenerator) -> None:
    request = replace(REQUEST, alignment="published")
    forgetful = EmbeddedCloud(tiny_generator)
    forgetful.open(encode_message(request), [])
    assert forgetful.exchange({0: upload(2)}) != session(tiny_generator, request, rounds=3)[-1]


def test_opening_again_starts_a_new_session(tiny_generator: NetworkGenerator) -> None:
    cloud = EmbeddedCloud(tiny_generator)
    request = encode_message(replace(REQUEST, alignment="published"))
    cloud.open(request, [])
    first = cloud.exchange({0: upload(0)})
    cloud.open(request, [])
    assert cloud.exchange({0: upload(0)}) == first


def test_the_payloads_are_those_of_the_wire(tiny_generator: NetworkGenerator) -> None:
    opening, download = session(tiny_generator, REQUEST, rounds=1)
    reply = decode_message(opening, SessionReply)
    assert (reply.generator, reply.etf_seed) == ("tiny", 3)
    pairs = decode_pairs(download, REQUEST, reply.latent_dim)
    assert pairs.classes.tolist() == [0, 1, 2] * 4
    assert pairs.images.shape == (12, 3, 16, 16)


def test_a_round_before_the_opening_is_refused(tiny_generator: NetworkGenerator) -> None:
    with pytest.raises(UsageError, match=r"call open\(\) first"):
        EmbeddedCloud(tiny_generator).exchange({0: upload(0)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1: expected a whole number of at least 2 and at most"),
        ({"pairs_per_class": 0}, "pairs_per_class is 0: expected a whole number of at least 1 and at most"),
        ({"channels": 4}, "channels is 4: expected one of 1, 3"),
        ({"image_format": "gif"}, "image_format is 'gif': expected one of webp, png"),
        ({"alignment": "perfect"}, "unknown alignment 'perfect': choose one of robust, pooled, random, published"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    tiny_generator: NetworkGenerator, change: dict[str, int | str], message: str
) -> None:
    request = SessionRequest(**(asdict(REQUEST) | change))
    with pytest.raises(KtlError, match=message):
        EmbeddedCloud(tiny_generator).open(encode_message(request), [])


def test_several_clients_are_pooled_in_the_order_of_their_numbers(tiny_generator: NetworkGenerator) -> None:
    request = replace(REQUEST, alignment="published")
    uploads = {client: upload(client) for client in range(3)}
    cloud, other = EmbeddedCloud(tiny_generator), EmbeddedCloud(tiny_generator)
    for each in (cloud, other):
        each.open(encode_message(request), [])
    payload = cloud.exchange(uploads)
    assert other.exchange(dict(reversed(uploads.items()))) == payload
    own = KnowledgeCloud(tiny_generator, request)
    pairs = own.pairs([decode_prototypes(uploads[client], 3) for client in range(3)])
    assert encode_pairs(pairs, request) == payload
    restarted = EmbeddedCloud(tiny_generator)
    restarted.open(encode_message(request), [uploads])
    assert restarted.exchange({1: upload(5)}) == cloud.exchange({1: upload(5)})


def test_a_round_without_uploads_is_refused(tiny_generator: NetworkGenerator) -> None:
    cloud = EmbeddedCloud(tiny_generator)
    cloud.open(encode_message(REQUEST), [])
    with pytest.raises(UsageError, match="let at least one client take part"):
        cloud.exchange({})


def test_settings_of_the_alignment_change_the_pairs_and_stay_within_bounds(tiny_generator: NetworkGenerator) -> None:
    (_, default), (_, wide) = (
        session(tiny_generator, replace(REQUEST, alignment_settings=settings), rounds=1)
        for settings in ({"spread": 0.8}, {"spread": 0.2})
    )
    assert default == session(tiny_generator, REQUEST, rounds=1)[1] != wide
    for settings, reason in (
        ({"spread": 1.5}, r"spread is 1.5: give a number of at least 0 and at most 1"),
        ({"colour": 1}, "'colour' is no setting of Settings"),
        ({"self": 1, "name": "x"}, "'name' is no setting of Settings"),
    ):
        with pytest.raises(UsageError, match=reason):
            session(tiny_generator, replace(REQUEST, alignment_settings=settings), rounds=0)


def test_an_alignment_of_this_program_needs_no_registration(
    tiny_generator: NetworkGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_alignment.py").write_text("from ktl.alignment.random import RandomLatents as Own\n")
    monkeypatch.chdir(tmp_path)
    own, random = (replace(REQUEST, alignment=name) for name in ("own_alignment:Own", "random"))
    assert session(tiny_generator, own, rounds=1)[1] == session(tiny_generator, random, rounds=1)[1]
    with pytest.raises(UsageError, match="unknown alignment 'own_alignment:Own': choose one of robust"):
        KnowledgeCloud(tiny_generator, own)
    with pytest.raises(UsageError, match=r"alignment 'os:system' is <.*>: give a class derived from .*Alignment"):
        session(tiny_generator, replace(REQUEST, alignment="os:system"), rounds=0)


def test_prototypes_of_another_session_are_refused(tiny_generator: NetworkGenerator) -> None:
    cloud = EmbeddedCloud(tiny_generator)
    cloud.open(encode_message(replace(REQUEST, num_classes=4)), [])
    with pytest.raises(WireError, match="prototypes of 3 numbers in a session of 4 classes"):
        cloud.exchange({0: upload(0)})
    with pytest.raises(WireError, match="cut short"):
        cloud.exchange({0: upload(0)[:5]})
