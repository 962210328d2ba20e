"""What an official file may name: stand-ins run nothing, and a tensor gets no more than the bytes that came."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.official_files import OfficialWriter, Rebuilt, Reduced, legacy_storage


def test_a_partial_runs_nothing(writer: OfficialWriter, canary: Path, refused: Callable[..., str]) -> None:
    network = writer.record("Generator", act=partial(os.system, f"touch {canary}"))
    assert "'posix.system', which is not admitted" in refused(pickle.dumps({"G_ema": network}))


def test_a_storage_that_holds_a_pickle_is_refused(refused: Callable[..., str], canary: Path) -> None:
    evil = Reduced(os.system, f"touch {canary}")
    for payload in (pickle.dumps(evil, 2), legacy_storage(evil), legacy_storage(torch.FloatStorage, reference=evil)):
        message = refused(pickle.dumps({"G_ema": Reduced(torch.storage._load_from_bytes, payload)}))
        assert "'posix.system', which is not admitted" in message


@pytest.mark.parametrize(
    ("storage", "claim", "message"),
    [
        ({"length": 2_500_000_000}, (0, (2,), (1,)), "claims 2500000000 numbers, but 8 bytes came"),
        ({"length": 2_500_000_000, "counted": 2_500_000_000}, (0, (2,), (1,)), "claims 2500000000 numbers"),
        ({"length": -1, "counted": -1}, (0, (2,), (1,)), "claims -1 numbers"),
        ({}, (0, (2_500_000_000,), (1,)), "does not fit its 2 numbers"),
        ({}, (0, (2_500_000_000,), (0,)), "does not fit its 2 numbers"),
        ({}, (1, (2,), (1,)), "does not fit its 2 numbers"),
        ({}, (-1, (2,), (1,)), "a tensor's offset is"),
        ({}, (0, (2,), (-1,)), "a tensor's stride is"),
        ({}, (0, (1,) * 100, (1,) * 100), "a tensor's size is"),
    ],
)
def test_a_tensor_that_claims_more_than_it_has_is_refused(
    refused: Callable[..., str], storage: dict[str, Any], claim: Any, message: str
) -> None:
    assert message in refused(pickle.dumps({"G_ema": Rebuilt(legacy_storage(torch.FloatStorage, **storage), *claim)}))


def test_one_large_tensor_repeated_is_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    tensor = torch.zeros(2**20)
    network = writer.record("Generator", _buffers={f"b{i}": tensor for i in range(1000)})
    assert "take more bytes than the file has" in refused(pickle.dumps({"G_ema": network}))


@pytest.mark.parametrize("version", [0, 7, "6", None, True])
def test_other_versions_are_refused(refused: Callable[..., str], writer: OfficialWriter, version: Any) -> None:
    message = refused(pickle.dumps({"G_ema": writer.record("Generator", version)}))
    assert f"persistence version {version!r} is not supported: ktl reads 1 to 6" in message
