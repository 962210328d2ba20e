"""Files that a test of generators may spoil, and what tells that code of theirs was run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.official_files import OfficialWriter

from ktl.errors import CheckpointError
from ktl.generators.official.pickles import read_official


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Exists if code of a file was run."""
    return tmp_path / "canary"


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch, canary: Path) -> OfficialWriter:
    return OfficialWriter(monkeypatch, canary)


@pytest.fixture
def refused(tmp_path: Path, canary: Path) -> Callable[..., str]:
    """refused(payload) is the one-line error; nothing of the payload was run, and it took little time."""

    def refuse(payload: bytes, which: str = "G_ema") -> str:
        path = tmp_path / "hostile.pkl"
        path.write_bytes(payload)
        started = time.monotonic()
        with pytest.raises(CheckpointError) as caught:
            read_official(path, which)
        assert time.monotonic() - started < 60
        assert not canary.exists()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
        return str(caught.value)

    return refuse


@pytest.fixture
def copy(tiny_pipeline: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pipeline that a test may change."""
    return shutil.copytree(tiny_pipeline, tmp_path / "copy")
