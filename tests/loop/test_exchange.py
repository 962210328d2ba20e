"""A run's session with a cloud: what lies in wire/ counts, and no round is asked for twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.recording import CountingCloud

from ktl.alignment import ALIGNMENTS
from ktl.cloud.embedded import EmbeddedCloud
from ktl.generators.network import NetworkGenerator
from ktl.learning.schedule import default_pairs_per_class
from ktl.loop.exchange import CloudExchange, session_request
from ktl.loop.settings import CloudConfig
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionReply, SessionRequest, decode_message, decode_pairs, encode_message, encode_prototypes

REQUEST = SessionRequest(
    num_classes=3,
    image_size=16,
    channels=3,
    pairs_per_class=4,
    download_bytes=100_000,
    alignment="published",  # the one with a memory: rounds that are answered count for the next
    image_format="webp",
    seed=3,
)


def upload(seed: int) -> bytes:
    embeddings = torch.randn(9, 3, generator=stream(seed, "embeddings"))
    return encode_prototypes(class_prototypes(embeddings, torch.arange(3).repeat_interleave(3)))


@pytest.fixture
def counting(tiny_generator: NetworkGenerator) -> CountingCloud:
    return CountingCloud(EmbeddedCloud(tiny_generator))


def test_a_round_is_asked_for_once_and_then_read(counting: CountingCloud, tmp_path: Path) -> None:
    exchange = CloudExchange(REQUEST, tmp_path / "wire", counting)
    first = exchange.answered(0, {0: upload(0), 2: upload(2)})
    assert exchange.answered(0, {0: upload(0), 2: upload(2)}) == first
    assert exchange.answered(0, {0: upload(5)}) == first  # what was sent first counts
    assert counting.asked == [{0: upload(0), 2: upload(2)}]
    assert sorted(file.name for file in (tmp_path / "wire").iterdir()) == [
        "round-001-pairs.safetensors",
        "round-001-prototypes-0.safetensors",
        "round-001-prototypes-2.safetensors",
        "session-reply.json",
    ]
    assert exchange.rounds() == [0]
    assert exchange.kept(0) == ({0: upload(0), 2: upload(2)}, first)
    assert len(decode_pairs(first, REQUEST, exchange.about.latent_dim)) == 12


def test_what_was_uploaded_before_a_kill_is_sent_again_and_not_what_is_new(
    counting: CountingCloud, tmp_path: Path
) -> None:
    folder = tmp_path / "wire"
    folder.mkdir()
    (folder / "round-001-prototypes-1.safetensors").write_bytes(upload(1))
    exchange = CloudExchange(REQUEST, folder, counting)
    assert exchange.rounds() == []
    exchange.answered(0, {0: upload(0), 1: upload(9)})
    assert counting.asked == [{0: upload(0), 1: upload(1)}]
    assert exchange.kept(0)[0] == {0: upload(0), 1: upload(1)}


def test_a_session_is_taken_up_again_to_the_same_bits(
    counting: CountingCloud, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    whole = CloudExchange(REQUEST, tmp_path / "whole", counting)
    answers = [whole.answered(index, {0: upload(index), 1: upload(10 + index)}) for index in range(3)]
    assert len(set(answers)) == 3
    parts = tmp_path / "parts"
    for index in range(3):
        again = CountingCloud(EmbeddedCloud(tiny_generator))
        exchange = CloudExchange(REQUEST, parts, again)
        assert again.opened == [[{0: upload(r), 1: upload(10 + r)} for r in range(index)]]
        assert exchange.reply == whole.reply
        assert exchange.answered(index, {0: upload(index), 1: upload(10 + index)}) == answers[index]
        assert exchange.rounds() == list(range(index + 1))


def test_other_files_in_wire_are_no_rounds(counting: CountingCloud, tmp_path: Path) -> None:
    for name in (".round-001-pairs.safetensors.tmp", "round-1-pairs.txt", "round-002-prototypes.safetensors", "notes"):
        (tmp_path / name).write_bytes(b"?")
    assert CloudExchange(REQUEST, tmp_path, counting).rounds() == []
    assert counting.opened == [[]]


def test_the_opening_is_counted_in_bytes(counting: CountingCloud, tmp_path: Path) -> None:
    exchange = CloudExchange(REQUEST, tmp_path / "wire", counting)
    assert exchange.opening == (len(encode_message(REQUEST)), len(exchange.reply))
    assert exchange.about == decode_message(exchange.reply, SessionReply)
    assert exchange.about.latent_dim == 16
    assert not (tmp_path / "wire").exists()  # before anything is kept


def test_a_request_says_what_is_asked_and_only_settings_that_are_not_the_defaults() -> None:
    facts = {"classes": 3, "channels": 1, "image_size": 28, "download_bytes": 50_000, "seed": 5}
    request = session_request(CloudConfig(), **facts)
    assert request == SessionRequest(
        num_classes=3,
        image_size=28,
        channels=1,
        pairs_per_class=default_pairs_per_class(3, 1, 50_000),
        download_bytes=50_000,
        alignment="robust",
        image_format="webp",
        seed=5,
        pairs_version=2,
    )
    chosen = CloudConfig(
        alignment=ALIGNMENTS.choose("published", epochs=3, batch=100), pairs_per_class=7, image_format="png"
    )
    expected = replace(request, alignment="published", pairs_per_class=7, image_format="png")
    assert session_request(chosen, **facts) == replace(expected, alignment_settings={"epochs": 3})
