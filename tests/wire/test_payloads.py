from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from support.refusal import refusal

from ktl.errors import WireError
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import Prototypes
from ktl.wire import (
    MAX_HEADER_BYTES,
    MAX_PAIR_BYTES,
    MAX_PROTOTYPE_BYTES,
    PAIRS_HEADER_BYTES,
    SessionRequest,
    count_pairs,
    decode_pairs,
    decode_prototypes,
    encode_pairs,
    encode_prototypes,
)

CLASSES, SIZE, LATENT_DIM = 4, 16, 8
REQUEST = SessionRequest(
    CLASSES,
    SIZE,
    3,
    pairs_per_class=2,
    download_bytes=1_000_000,
    alignment="robust",
    image_format="png",
    seed=7,
)
GREY_REQUEST = replace(REQUEST, channels=1)
SESSIONS = [
    pytest.param(replace(session, pairs_version=version), id=f"{name} {version}")
    for name, session in (("colour", REQUEST), ("grey", GREY_REQUEST))
    for version in (1, 2)
]

Decoder = Callable[[bytes], object]


def prototypes_of(payload: bytes) -> Prototypes:
    return decode_prototypes(payload, CLASSES)


def pairs_of(payload: bytes) -> ImageVectorPairs:
    return decode_pairs(payload, REQUEST, LATENT_DIM)


def some_prototypes() -> Prototypes:
    vectors = torch.nn.functional.normalize(torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(0)))
    return Prototypes(vectors, torch.tensor([0, 2, 3]), torch.tensor([5, 1, 2_000_000]))


def some_pairs(channels: int = 3) -> ImageVectorPairs:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, channels, SIZE, SIZE), generator=rng, dtype=torch.uint8)
    vectors = torch.randn(3, LATENT_DIM, generator=rng).half().float()
    return ImageVectorPairs(images, vectors, torch.tensor([1, 1, 3]))


def encoded(pairs: ImageVectorPairs, image_format: str, version: int) -> bytes:
    return encode_pairs([pairs], replace(REQUEST, image_format=image_format, pairs_version=version))


PAYLOADS = [
    pytest.param(prototypes_of, encode_prototypes(some_prototypes()), id="prototypes"),
    *(
        pytest.param(pairs_of, encoded(some_pairs(), image_format, version), id=f"{image_format} pairs {version}")
        for image_format in ("png", "webp")
        for version in (1, 2)
    ),
]


def with_header(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def test_prototypes_survive_to_within_a_254th_of_each_rows_maximum() -> None:
    sent = some_prototypes()
    received = prototypes_of(encode_prototypes(sent))
    bound = sent.vectors.abs().amax(dim=1, keepdim=True) / 254 * 1.001
    assert ((received.vectors - sent.vectors).abs() <= bound).all()
    assert torch.equal(received.classes, sent.classes)
    assert torch.equal(received.counts, sent.counts)


def test_a_zero_prototype_stays_zero() -> None:
    sent = Prototypes(torch.zeros(1, CLASSES), torch.tensor([1]), torch.tensor([2]))
    assert torch.equal(prototypes_of(encode_prototypes(sent)).vectors, sent.vectors)


@pytest.mark.parametrize("session", SESSIONS)
def test_png_images_and_classes_survive_exactly(session: SessionRequest) -> None:
    sent = some_pairs(session.channels)
    received = decode_pairs(encode_pairs([sent], session), session, LATENT_DIM)
    assert torch.equal(received.images, sent.images)
    assert torch.equal(received.classes, sent.classes)


def test_half_precision_vectors_survive_exactly_in_version_1() -> None:
    sent = some_pairs()
    assert torch.equal(pairs_of(encoded(sent, "png", 1)).vectors, sent.vectors)


def test_vectors_survive_to_within_a_254th_of_each_directions_maximum_in_version_2() -> None:
    sent = some_pairs()
    sent = replace(sent, vectors=sent.vectors * torch.logspace(-6, 3, LATENT_DIM))
    received = pairs_of(encoded(sent, "png", 2)).vectors
    assert ((received - sent.vectors).abs() <= sent.vectors.abs().amax(dim=0) / 254 * 1.001).all()
    assert torch.equal(pairs_of(encoded(replace(sent, vectors=received), "png", 2)).vectors, received)


@pytest.mark.parametrize("session", SESSIONS)
def test_webp_pairs_survive_nearly(session: SessionRequest) -> None:
    ramp = torch.arange(SIZE, dtype=torch.uint8) * 15
    images = torch.stack([ramp.expand(SIZE, SIZE), ramp[:, None].expand(SIZE, SIZE), 255 - ramp.expand(SIZE, SIZE)])
    images = images[:, None].expand(-1, session.channels, -1, -1).contiguous()
    sent = replace(some_pairs(), images=images)
    received = decode_pairs(encode_pairs([sent], replace(session, image_format="webp")), session, LATENT_DIM)
    assert received.images.shape == images.shape
    assert (received.images.float() - images.float()).abs().max() <= 32
    assert (received.images.float() - images.float()).abs().mean() <= 6


@pytest.mark.parametrize(("size", "count"), [(SIZE, 1100), (300, 3)])
def test_pairs_of_several_sheets_come_in_order(size: int, count: int) -> None:
    """1,024 images of 16 pixels fill a sheet, one of more than 256 has it to itself."""
    session = replace(REQUEST, image_size=size, pairs_per_class=1000, download_bytes=3_000_000, pairs_version=2)
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=rng, dtype=torch.uint8)
    images = torch.nn.functional.interpolate(images, size)
    sent = ImageVectorPairs(images, torch.ones(count, LATENT_DIM), torch.arange(count) % CLASSES)
    payload = encode_pairs([sent], session)
    assert count_pairs(payload) == count
    received = decode_pairs(payload, session, LATENT_DIM)
    assert torch.equal(received.images, sent.images)
    assert torch.equal(received.classes, sent.classes)


def test_a_pair_of_32_pixels_in_colour_takes_half_the_bytes_in_version_2() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(128, 3, 8, 8, generator=rng), 32, mode="bicubic")
    images = (images * 255).clamp(0, 255).to(torch.uint8)
    pairs = ImageVectorPairs(images, torch.randn(128, 128, generator=rng), torch.zeros(128, dtype=torch.int64))
    session = replace(REQUEST, image_size=32, image_format="webp")
    before, now = (len(encode_pairs([pairs], replace(session, pairs_version=version))) for version in (1, 2))
    assert now < 0.6 * before


def pairs_like(count: int) -> ImageVectorPairs:
    one = some_pairs().first(1)
    return ImageVectorPairs(
        *(tensor.expand(count, *tensor.shape[1:]) for tensor in (one.images, one.vectors, one.classes))
    )


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("budget", [3_000, 5_000, 50_000])
def test_pairs_fill_a_budget_and_never_exceed_it(budget: int, version: int) -> None:
    request = replace(REQUEST, pairs_per_class=1000, download_bytes=budget, pairs_version=version)
    payload = encode_pairs([pairs_like(3)] * 100, request)
    received = decode_pairs(payload, request, LATENT_DIM)
    one_more = len(payload) / len(received)  # bytes of a pair, and its share of the header
    assert budget - one_more - PAIRS_HEADER_BYTES < len(payload) <= budget
    assert 1 < len(received) < 300


@pytest.mark.parametrize("version", [1, 2])
def test_no_more_batches_are_drawn_than_a_budget_holds(version: int) -> None:
    drawn = []

    def batches() -> Iterator[ImageVectorPairs]:
        for number in range(100):
            drawn.append(number)
            yield pairs_like(3)

    request = replace(REQUEST, pairs_per_class=1000, download_bytes=10_000, pairs_version=version)
    received = decode_pairs(encode_pairs(batches(), request), request, LATENT_DIM)
    assert len(drawn) == len(received) // 3 + 1 < 20


def test_a_budget_too_small_for_one_pair_is_refused_with_the_option_to_raise() -> None:
    with pytest.raises(WireError, match="a download of 700 bytes holds no image-vector pair: raise --download-budget"):
        encode_pairs([some_pairs()], replace(REQUEST, download_bytes=700))


@pytest.mark.parametrize(("decode", "payload"), PAYLOADS)
def test_a_payload_cut_short_at_any_byte_is_refused(decode: Decoder, payload: bytes) -> None:
    for length in range(len(payload)):
        refusal(decode, payload[:length])


@pytest.mark.parametrize(("decode", "payload"), PAYLOADS)
def test_random_bit_flips_give_a_valid_object_or_a_wire_error(decode: Decoder, payload: bytes) -> None:
    accepted: list[object] = []
    refused: list[str] = []
    for seed in range(600):
        rng = random.Random(seed)
        damaged = bytearray(payload)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            accepted.append(decode(bytes(damaged)))
        except WireError as error:
            refused.append(str(error))
    assert accepted
    for result in accepted:
        assert isinstance(result, Prototypes | ImageVectorPairs)
        result.validate(CLASSES)
        assert result.vectors.dtype == torch.float32
    assert refused
    assert all("\n" not in text and len(text) < 400 for text in refused)


@pytest.mark.parametrize(("decode", "payload"), PAYLOADS)
def test_bytes_after_the_end_are_refused(decode: Decoder, payload: bytes) -> None:
    assert "send them again" in refusal(decode, payload + b"\0")


@pytest.mark.parametrize(
    ("decode", "limit"),
    [(prototypes_of, MAX_PROTOTYPE_BYTES), (pairs_of, MAX_PAIR_BYTES)],
    ids=["prototypes", "pairs"],
)
def test_an_oversized_payload_is_refused_with_both_sizes(decode: Decoder, limit: int) -> None:
    text = refusal(decode, bytes(limit + 1))
    assert f"{limit + 1} bytes" in text
    assert f"at most {limit} are read" in text


@pytest.mark.parametrize("length", [10 * 10**9, 2**64 - 1, MAX_HEADER_BYTES + 1])
def test_a_header_that_claims_more_than_came_is_refused(length: int) -> None:
    assert f"claim a header of {length} bytes" in refusal(prototypes_of, struct.pack("<Q", length) + b"{}")


def test_arrays_that_claim_ten_gigabytes_are_refused() -> None:
    rows = 10 * 10**9 // CLASSES
    header = (
        '{"__metadata__":{"ktl":"prototypes/1"},'
        f'"vectors":{{"dtype":"I8","shape":[{rows},{CLASSES}],"data_offsets":[0,{rows * CLASSES}]}},'
        '"scales":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
        '"classes":{"dtype":"I32","shape":[0],"data_offsets":[0,0]},'
        '"counts":{"dtype":"I32","shape":[0],"data_offsets":[0,0]}}'
    )
    assert "damaged or cut short" in refusal(prototypes_of, with_header(header.encode()))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"{", "header of the prototypes is damaged"),
        (b"\xff\xfe\xfd", "header of the prototypes is damaged"),
        (b"[1]", "is no table"),
        (b"{}", "does not say that it holds prototypes"),
        (b'{"__metadata__":["ktl"]}', "does not say that it holds prototypes"),
        (b'{"__metadata__":{"ktl":"prototypes"}}', "wire version '' is not supported"),
        (b"[" * 30_000 + b"]" * 30_000, "header of the prototypes is damaged"),
        (b'{"__metadata__":{"ktl":"prototypes/1"}}', "expected ['classes', 'counts', 'scales', 'vectors']"),
    ],
)
def test_a_header_that_is_no_header_is_refused(header: bytes, reason: str) -> None:
    assert reason in refusal(prototypes_of, with_header(header))


@pytest.mark.parametrize("place", ['"ktl":"prototypes/1"},"vectors":NEST', '"ktl":NEST},"vectors":1'])
def test_values_nested_deep_in_a_header_are_refused_in_short(place: str) -> None:
    for depth in range(1, 1_200):
        nest = "[" * depth + "]" * depth
        header = '{"__metadata__":{' + place.replace("NEST", nest)
        refusal(prototypes_of, with_header((header + ',"scales":1,"classes":1,"counts":1}').encode()))


def test_another_version_is_refused_with_both_versions() -> None:
    arrays = {"vectors": np.zeros((1, CLASSES), np.int8)}
    text = refusal(prototypes_of, save(arrays, metadata={"ktl": "prototypes/2"}))
    assert text == "wire version '2' is not supported: this ktl speaks version 1"


def test_pairs_are_no_prototypes() -> None:
    assert "does not say that it holds prototypes" in refusal(prototypes_of, encode_pairs([some_pairs()], REQUEST))


@pytest.mark.parametrize("encode", [encode_prototypes, lambda _: encode_pairs([some_pairs()], REQUEST)])
def test_equal_contents_are_equal_bytes(encode: Callable[[Prototypes], bytes]) -> None:
    assert len({encode(some_prototypes()) for _ in range(20)}) == 1
