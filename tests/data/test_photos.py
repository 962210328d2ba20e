"""Which files are photographs, and what is said of the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ktl.data.collection import read_collection
from ktl.data.images import read_image
from ktl.data.partition_files import load_partition
from ktl.data.photos import LeftOut, holds_runs, photos_under
from ktl.edge.inference.sources import picture_files
from ktl.errors import DataError

Fill = Callable[..., list[Path]]
HEIC = b"\0\0\0\x18ftypheic" + bytes(100)


@pytest.fixture
def helped(tmp_path: Path, fill: Fill) -> Path:
    """Two photographs, and what systems put beside them."""
    fill(tmp_path, 1)
    fill(tmp_path / "red", 1)
    for folder in (".ipynb_checkpoints", "@eaDir/000.jpg", "__MACOSX/red", "red/000.png.jpg"):
        fill(tmp_path / folder, 1)
    for name in ("._000.jpg", "Thumbs.db", "red/.hidden.png"):
        (tmp_path / name).write_bytes(b"helper")
    return tmp_path


def test_helpers_are_not_photos_anywhere(helped: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = [helped / "000.png", helped / "red/000.png"]
    left_out = LeftOut()
    assert photos_under(helped, left_out) == photos
    assert str(left_out) == "7 helper files"
    assert picture_files([str(helped)]) == photos
    assert picture_files([f"{helped}/**/*"]) == photos
    assert picture_files([f"{helped}/@eaDir/000.jpg/*"]) == [helped / "@eaDir/000.jpg/000.png"]  # named as such
    assert len(read_collection(helped, 8)) == 2
    assert f"left out of {helped}: 7 helper files" in caplog.text


def test_pictures_are_told_by_content_whatever_they_are_called(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16), (200, 100, 50))
    for index, (suffix, kind) in enumerate(
        [
            *(("jfif", "JPEG"), ("jpe", "JPEG"), ("jp2", "JPEG2000"), ("txt", "PNG"), ("bin", "BMP"), ("mpo", "MPO")),
            *(("ico", "ICO"), ("tga", "TGA"), ("pcx", "PCX"), ("Jpg_large", "JPEG"), ("x", "GIF"), ("tiff", "TIFF")),
        ]
    ):
        picture.save(tmp_path / f"{index:02}.{suffix}", kind)
    picture.save(tmp_path / "no-suffix", "WEBP")
    left_out = LeftOut()
    photos = photos_under(tmp_path, left_out)
    assert (len(photos), str(left_out)) == (13, "")
    assert all(abs(int(read_image(photo, 8, 3)[4, 4, 0]) - 200) < 30 for photo in photos)


def test_what_is_left_out_is_counted_by_kind_with_the_way_to_read_it(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path, 1)
    for name in ("a.HEIC", "b.heic"):
        (tmp_path / name).write_bytes(HEIC)
    for name in ("notes.txt", "list.txt", "Makefile"):
        (tmp_path / name).write_text("text")
    (tmp_path / "raw.nef").write_bytes(b"MM\0*" + bytes(60))
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round").symlink_to(tmp_path)
    left_out = LeftOut()
    assert len(photos_under(tmp_path, left_out)) == 1
    assert str(left_out) == (
        "2 .heic (install pillow-heif), 1 .nef (convert to JPEG or PNG), 2 .txt, "
        "2 special files (a link to nowhere or to its own folder, or no plain file), 1 without a suffix"
    )


def test_a_damaged_file_with_a_pictures_name_is_a_picture(tmp_path: Path) -> None:
    for name, content in (("page.jpg", b"<!DOCTYPE html>"), ("empty.png", b""), ("phone.jpg", HEIC)):
        (tmp_path / name).write_bytes(content)
    assert [file.name for file in photos_under(tmp_path, LeftOut())] == ["empty.png", "page.jpg", "phone.jpg"]


def test_what_can_start_programs_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    left_out = LeftOut()
    assert photos_under(tmp_path, left_out) == []
    assert str(left_out) == "1 .eps"


def test_runs_and_bundles_are_known_and_other_folders_are_not(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "photos" / "own", 1)
    (tmp_path / "photos" / "config.json").write_text('{"name": "mine"}')
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.json").write_text('{"steps": 3}')
    (tmp_path / "runs" / "a" / "metrics.jsonl").write_text("")
    (tmp_path / "bundle").mkdir()
    for name in ("labels.json", "card.md"):
        (tmp_path / "bundle" / name).write_text("[]")
    assert [holds_runs(tmp_path / name) for name in ("photos", "runs", "bundle")] == [False, True, True]


def test_names_that_are_no_text_are_found(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / os.fsdecode(b"caf\xe9"), 1)
    assert [os.fsencode(file.parent.name) for file in photos_under(tmp_path, LeftOut())] == [b"caf\xe9"]


def test_a_partition_is_read_without_helpers(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "._0.npz").write_bytes(b"helper")
    with pytest.raises(DataError, match="has 0 files train"):
        load_partition(tmp_path)
