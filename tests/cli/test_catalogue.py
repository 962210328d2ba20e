"""What can be chosen by name is listed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ktl.data import EMBEDDED
from ktl.data.vision import SOURCES
from ktl.models import MODELS

Ktl = Callable[..., subprocess.CompletedProcess[str]]


def first_words(text: str) -> list[str]:
    """Of the lines that begin a row of a table."""
    return [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]


def test_datasets_lists_every_source_that_data_accepts(ktl: Ktl) -> None:
    ended = ktl("datasets")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert first_words(ended.stdout) == ["--data", *EMBEDDED, *SOURCES, "FOLDER", "FILE.npz"]


def test_datasets_says_where_downloads_go(ktl: Ktl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KTL_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    rows = {line.split()[0]: line for line in ktl("datasets").stdout.splitlines()}
    assert rows["cifar10"].rstrip().endswith(f"torchvision's CIFAR10, 32 x 32 RGB; downloaded once to {tmp_path}")
    assert "28 x 28 grey" in rows["mnist"]


def test_models_lists_every_model_with_what_it_is(ktl: Ktl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    ended = ktl("models")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert first_words(ended.stdout) == ["--model", *MODELS.names()]
    assert all(MODELS.summary(name) in ended.stdout for name in MODELS.names())
