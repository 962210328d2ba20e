from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from support.refusal import refusal

from ktl.class_statistics import ClassStatistics, class_statistics
from ktl.seeds import stream
from ktl.wire import decode_pooled, decode_statistics, encode_pooled, encode_statistics

CLASSES, DIMENSION = 4, 3


def statistics(classes: int, dimension: int, images: int) -> ClassStatistics:
    points = torch.nn.functional.normalize(torch.randn(images, dimension, generator=stream(0, "points")), dim=1)
    return class_statistics(points, torch.arange(images) % classes)


def test_statistics_arrive_as_they_were_but_for_rounding() -> None:
    sent = statistics(6, 16, 40)
    found = decode_statistics(encode_statistics(sent), 6, 16)
    assert found.classes.tolist() == sent.classes.tolist()
    assert found.counts.tolist() == sent.counts.tolist()
    largest = sent.means.abs().amax(dim=1, keepdim=True)
    assert ((found.means - sent.means).abs() <= largest / 254 * 1.001).all()
    diagonal = sent.moment.diagonal()
    torch.testing.assert_close(found.moment.diagonal(), diagonal)
    assert ((found.moment - sent.moment).abs() <= torch.outer(diagonal, diagonal).sqrt() / 254 * 1.001).all()
    assert torch.equal(found.moment, found.moment.T)


def test_an_upload_of_a_hundred_classes_takes_less_than_thirty_thousand_bytes() -> None:
    assert len(encode_statistics(statistics(100, 128, 200))) < 24_000


def test_a_single_image_travels() -> None:
    sent = statistics(1, DIMENSION, 1)
    torch.testing.assert_close(
        decode_statistics(encode_statistics(sent), CLASSES, DIMENSION).sums, sent.sums, atol=0.01, rtol=0
    )


def payload(**changed: NDArray[Any] | None) -> bytes:
    arrays: dict[str, NDArray[Any] | None] = {
        "means": np.full((2, DIMENSION), 60, np.int8),
        "scales": np.full(2, 0.008, np.float32),
        "classes": np.array([0, 1], np.int32),
        "counts": np.array([2, 1], np.int32),
        "diagonal": np.ones(DIMENSION, np.float32),
        "correlations": np.array([0, 127, -127], np.int8),
        "architecture": np.arange(8, dtype=np.uint8),
    }
    kept = {name: array for name, array in (arrays | changed).items() if array is not None}
    return save(kept, metadata={"ktl": "statistics/1"})


def decoded(body: bytes) -> ClassStatistics:
    return decode_statistics(body, CLASSES, DIMENSION)


def test_the_statistics_that_the_next_tests_change_are_valid() -> None:
    found = decoded(payload())
    torch.testing.assert_close(found.sums, torch.tensor([[0.96] * 3, [0.48] * 3]))
    assert found.moment.tolist() == [[1, 0, 1], [0, 1, -1], [1, -1, 1]]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"scales": np.array([0.008, np.nan], np.float32)}, "not finite"),
        ({"scales": np.array([0.008, 0.02], np.float32)}, "mean of class 1 has length 2.08, more than 1"),
        ({"scales": np.full(3, 0.008, np.float32)}, "3 scales and 2 counts for 2 means"),
        ({"counts": np.ones(1, np.int32)}, "2 scales and 1 counts for 2 means"),
        ({"means": np.full((2, DIMENSION + 1), 60, np.int8)}, "expected I8, n x 3"),
        ({"classes": np.array([0, CLASSES], np.int32)}, "class index 4 is outside 0..3"),
        ({"classes": np.array([1, 1], np.int32)}, "class index 1 appears twice"),
        ({"classes": np.arange(5, dtype=np.int32)}, "statistics of 5 classes in a session of 4"),
        ({"counts": np.array([2, 0], np.int32)}, "a class of 0 images"),
        ({"counts": np.array([2, 100], np.int32)}, "trace is 3 where 102 unit vectors make 102"),
        ({"diagonal": np.array([4, -1, 0], np.float32)}, "diagonal has -1: squares are not negative"),
        ({"diagonal": np.array([3, np.nan, 0], np.float32)}, "not finite"),
        ({"diagonal": np.ones(DIMENSION + 1, np.float32)}, "expected F32, 3"),
        ({"correlations": np.zeros(2, np.int8)}, "expected I8, 3"),
        ({"architecture": np.zeros(9, np.uint8)}, "expected U8, 8"),
        ({"correlations": None}, "expected ['architecture', 'classes', 'correlations'"),
        ({"images": np.zeros(1, np.uint8)}, "'images'"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, NDArray[Any] | None], reason: str) -> None:
    assert reason in refusal(decoded, payload(**changed))


def test_sums_of_several_architectures_travel_together() -> None:
    sent = [replace(statistics(2, DIMENSION, 4 + i), architecture=bytes([i] * 8)) for i in range(3)]
    found = decode_pooled(encode_pooled(sent), CLASSES, DIMENSION)
    assert [part.architecture for part in found] == [part.architecture for part in sent]
    for one, other in zip(found, sent, strict=True):
        alone = decode_statistics(encode_statistics(other), CLASSES, DIMENSION)
        assert torch.equal(one.sums, alone.sums)
        assert torch.equal(one.moment, alone.moment)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "statistics of 0 architectures: 1 to 16 are pooled apart"),
        ({f"{i}.means": np.zeros((1, DIMENSION), np.int8) for i in range(17)}, "statistics of 17 architectures"),
        ({"0.means": np.zeros((1, DIMENSION), np.int8)}, "expected ['0.architecture', '0.classes'"),
        ({"1.means": np.zeros((1, DIMENSION), np.int8)}, "expected ['0.architecture', '0.classes'"),
    ],
)
def test_what_is_wrong_with_pooled_ones_is_named(parts: dict[str, NDArray[Any]], reason: str) -> None:
    body = save(parts or {"other": np.zeros(1, np.uint8)}, metadata={"ktl": "pooled/1"})
    assert reason in refusal(lambda sent: decode_pooled(sent, CLASSES, DIMENSION), body)
