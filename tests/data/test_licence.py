"""The licence that lies beside images."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ktl.data.licence import stated_licence


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("LICENSE", "MIT License\n\nCopyright", "MIT License"),
        ("licence.txt", "\n  \nCC BY 4.0", "CC BY 4.0"),
        ("COPYING.md", "# CC0 1.0 Universal\n", "CC0 1.0 Universal"),
        ("LICENSE", "x" * 500, "x" * 120),
        ("LICENSE", "\x1b[2J\nCC0", "CC0"),  # a line for no terminal
        ("LICENSE", "\n", None),
        ("LICENSE.py", "CC0", None),
        ("notes.txt", "CC0", None),
    ],
)
def test_the_first_line_of_a_licence_file_counts(tmp_path: Path, name: str, text: str, expected: str | None) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / name).write_text(text)
    with tarfile.open(tmp_path / "top.tar", "w") as tar:
        tar.add(folder / name, name)
    with tarfile.open(tmp_path / "inside.tar.gz", "w:gz") as tar:
        tar.add(folder, "images")
    for path in (folder, tmp_path / "top.tar", tmp_path / "inside.tar.gz"):
        assert stated_licence(path) == expected


def test_one_that_lies_deep_in_a_tar_file_is_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("MIT")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "LICENSE", "images/tools/LICENSE")
    assert stated_licence(tmp_path / "images.tar") is None


def test_what_cannot_be_read_states_none(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"no tar file")
    assert stated_licence(tmp_path / "images.tar") is None
    assert stated_licence(tmp_path / "nowhere") is None
