"""What may be wrong inside an upload of prototypes whose envelope is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from support.refusal import refusal

from ktl.prototypes import Prototypes
from ktl.wire import decode_prototypes

CLASSES = 4


def prototypes_of(payload: bytes) -> Prototypes:
    return decode_prototypes(payload, CLASSES)


def prototypes_with(**changed: NDArray[Any] | None) -> bytes:
    arrays: dict[str, NDArray[Any] | None] = {
        "vectors": np.full((2, CLASSES), 60, np.int8),
        "scales": np.full(2, 0.008, np.float32),
        "classes": np.array([0, 1], np.int32),
        "counts": np.array([2, 2], np.int32),
    }
    kept = {name: array for name, array in (arrays | changed).items() if array is not None}
    return save(kept, metadata={"ktl": "prototypes/1"})


def test_the_prototypes_that_the_next_tests_change_are_valid() -> None:
    assert torch.allclose(prototypes_of(prototypes_with()).vectors, torch.full((2, CLASSES), 0.48))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"scales": np.array([0.008, np.nan], np.float32)}, "prototype of class 1 is not finite"),
        ({"scales": np.array([np.inf, 0.008], np.float32)}, "prototype of class 0 is not finite"),
        ({"scales": np.array([0.008, 1e30], np.float32)}, "prototype of class 1 has length"),
        ({"scales": np.array([0.008, 0.02], np.float32)}, "prototype of class 1 has length 2.4, not 1"),
        ({"scales": np.full(3, 0.008, np.float32)}, "3 scales for 2 prototypes"),
        ({"scales": np.full((2, 1), 0.008, np.float32)}, "scales of the prototypes is"),
        ({"vectors": np.full((2, CLASSES), 60, np.int16)}, "expected I8, n x n"),
        ({"vectors": np.full((2, CLASSES + 1), 60, np.int8)}, "prototypes of 5 numbers in a session of 4 classes"),
        ({"vectors": np.full(8, 60, np.int8)}, "expected I8, n x n"),
        ({"vectors": np.full((3, CLASSES), 60, np.int8), "scales": np.ones(3, np.float32)}, "3 vectors, 2 classes"),
        ({"vectors": None}, "['classes', 'counts', 'scales']: expected ['classes', 'counts', 'scales', 'vectors']"),
        ({"images": np.zeros(1, np.uint8)}, "'images'"),
        ({"classes": np.array([0, -1], np.int32)}, "class index -1 is outside 0..3"),
        ({"classes": np.array([0, CLASSES], np.int32)}, "class index 4 is outside 0..3"),
        ({"classes": np.array([1, 1], np.int32)}, "class index 1 appears twice"),
        ({"classes": np.array([0, 1], np.int64)}, "expected I32, n"),
        ({"classes": np.arange(5, dtype=np.int32)}, "5 prototypes in a session of 4 classes"),
        ({"counts": np.array([2, 0], np.int32)}, "a class of 0 samples"),
        ({"counts": np.array([2, -3], np.int32)}, "a class of -3 samples"),
        ({"counts": np.array([2, 2, 2], np.int32)}, "3 counts"),
        (
            {
                "vectors": np.zeros((0, CLASSES), np.int8),
                "scales": np.zeros(0, np.float32),
                "classes": np.zeros(0, np.int32),
                "counts": np.zeros(0, np.int32),
            },
            "0 vectors, 0 classes",
        ),
    ],
)
def test_wrong_prototypes_are_refused(changed: dict[str, NDArray[Any]], reason: str) -> None:
    assert reason in refusal(prototypes_of, prototypes_with(**changed))


def test_a_header_of_a_thousand_strange_names_is_named_in_short() -> None:
    strange = {f"name\n{i}": np.zeros(0, np.uint8) for i in range(900)}
    assert r"'name\n0'" in refusal(prototypes_of, prototypes_with(**strange))
