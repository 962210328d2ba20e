"""Files that are the old one or the new one, whatever fails."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ktl.errors import CheckpointError
from ktl.files import file_digest, read_rows, replace_atomically, write_atomically, write_json, write_rows


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("lasting", [True, False])
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path: Path, lasting: bool) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError) as refused:
        replace_atomically(tmp_path / "file", write, lasting=lasting)
    assert str(refused.value) == (
        f"cannot write {tmp_path / 'file'}: No space left on device; what it held before is intact: "
        "free space or choose another folder, and try again"
    )
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_kill_while_writing_leaves_the_old_file_and_at_most_one_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    class Killed(BaseException):
        pass

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"ha")
        raise Killed

    for _ in range(3):
        with pytest.raises(Killed):
            replace_atomically(tmp_path / "file", write)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names_in(tmp_path) == [".file.tmp", "file"]
    write_atomically(tmp_path / "file", b"new")
    assert names_in(tmp_path) == ["file"]


def test_what_lasts_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda file: (calls.append("sync"), sync(file)))
    monkeypatch.setattr("os.replace", lambda *names: (calls.append("rename"), rename(*names)))
    write_atomically(tmp_path / "file", b"content")
    assert calls == ["sync", "rename"]
    replace_atomically(tmp_path / "cached", lambda temporary: temporary.write_bytes(b"content"), lasting=False)
    assert calls == ["sync", "rename", "rename"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot write .*/none/file: No such file or directory; what it held"):
        write_atomically(tmp_path / "none" / "file", b"content")


def test_json_is_indented_and_ends_its_line(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"a": [1, None]})
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == {"a": [1, None]}
    assert text.startswith('{\n  "a"')
    assert text.endswith("}\n")


def test_rows_survive_exactly(tmp_path: Path) -> None:
    rows = [{"round": 1, "accuracy": 0.1 + 0.2, "left_out": {"3": "dropped out"}}, {"round": 2, "accuracy": None}]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl") == rows
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    write_rows(tmp_path / "rows.jsonl", [])
    assert read_rows(tmp_path / "rows.jsonl") == []


@pytest.mark.parametrize("content", [b'{"round": 1}\n{"rou', b"\xff\xfe", b"[" * 100_000])
def test_damaged_rows_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"rows\.jsonl is missing or damaged \(.*\); run it anew") as refused:
        read_rows(tmp_path / "rows.jsonl")
    assert "\n" not in str(refused.value)


def test_missing_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"rows\.jsonl is missing or damaged"):
        read_rows(tmp_path / "rows.jsonl")


def test_a_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    content = os.urandom(2**20 + 1)
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    with pytest.raises(OSError, match="No such file"):
        file_digest(tmp_path / "none")
