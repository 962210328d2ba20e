from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ktl.data.collection import read_collection
from ktl.errors import DataError

Fill = Callable[..., list[Path]]


def packed(tar: Path, files: dict[str, Path], mode: str = "w") -> Path:
    with tarfile.open(tar, mode) as archive:  # type: ignore[call-overload]
        for name, file in files.items():
            archive.add(file, name)
    return tar


def levels(path: Path) -> list[int]:
    images = read_collection(path, 8)
    assert images.shape[1:] == (8, 8, 3)
    return [int(image[0, 0, 0]) for image in images]


def test_a_folder_is_read_at_any_depth_in_the_order_of_names(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "b", 2, first=10)
    fill(tmp_path / "a" / "deep", 2, first=20)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    assert levels(tmp_path) == [20, 21, 10, 11]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_file_is_read_in_the_order_of_names(tmp_path: Path, fill: Fill, mode: str) -> None:
    files = fill(tmp_path / "source", 3, first=5)
    (tmp_path / "notes").write_text("no image")
    named = {
        "z/last.PNG": files[0],
        "a/first.png": files[1],
        "m/notes.txt": tmp_path / "notes",
        "m/middle.png": files[2],
    }
    assert levels(packed(tmp_path / "images.tar", named, mode)) == [6, 7, 5]


def test_nothing_is_extracted_from_a_tar_file(tmp_path: Path, fill: Fill) -> None:
    file = fill(tmp_path / "source", 1)[0]
    tar = packed(tmp_path / "images.tar", {"../../escaped.png": file, "link.png": file})
    before = sorted(tmp_path.rglob("*"))
    read_collection(tar, 8)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path / "../../escaped.png").exists()


def test_a_link_inside_a_tar_file_is_not_followed(tmp_path: Path, fill: Fill) -> None:
    inside, outside = fill(tmp_path / "source", 2, first=30)
    tar = packed(tmp_path / "images.tar", {"a.png": inside})
    link = tarfile.TarInfo("b.png")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    with tarfile.open(tar, "a") as archive:
        archive.addfile(link)
    assert levels(tar) == [30]


def test_images_are_scaled_to_the_size_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (1, 2, 3)).save(tmp_path / "a.png")
    images = read_collection(tmp_path, 16)
    assert images.shape == (1, 16, 16, 3)
    assert (images == (1, 2, 3)).all()


def test_what_is_neither_folder_nor_tar_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar file")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(DataError, match=f"{path} is neither a folder nor a whole tar file"):
            read_collection(path, 8)


def test_a_source_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    tar = packed(tmp_path / "images.tar", {"notes.txt": tmp_path / "notes.txt"})
    for path in (tmp_path / "empty", tar):
        with pytest.raises(DataError, match=rf"{path} holds no image \(\.bmp, "):
            read_collection(path, 8)


def test_an_unreadable_image_is_named_in_a_folder_and_in_a_tar_file(tmp_path: Path, fill: Fill) -> None:
    folder = tmp_path / "images"
    good = fill(folder, 1)[0]
    (folder / "bad.png").write_text("no image")
    with pytest.raises(DataError, match=f"cannot read the image {folder / 'bad.png'}: no image format"):
        read_collection(folder, 8)
    tar = packed(tmp_path / "images.tar", {"good.png": good, "x/bad.png": folder / "bad.png"})
    with pytest.raises(DataError, match=f"cannot read the image {tar}:x/bad.png: no image format"):
        read_collection(tar, 8)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_file_cut_short_anywhere_is_refused_by_name(tmp_path: Path, mode: str) -> None:
    picture = io.BytesIO()
    Image.effect_noise((100, 100), 90).save(picture, "BMP")
    (tmp_path / "a.bmp").write_bytes(picture.getvalue())
    tar = packed(tmp_path / "images.tar", {f"{i}.bmp": tmp_path / "a.bmp" for i in range(3)}, mode)
    whole = tar.read_bytes()
    for length in range(0, len(whole) * 4 // 5, len(whole) // 37):
        tar.write_bytes(whole[:length])
        with pytest.raises(DataError) as refused:
            read_collection(tar, 8)
        assert str(tar) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_damaged_header_in_the_middle_of_a_tar_file_is_refused(tmp_path: Path, fill: Fill) -> None:
    files = fill(tmp_path / "source", 3)
    tar = packed(tmp_path / "images.tar", {file.name: file for file in files})
    content = bytearray(tar.read_bytes())
    content[content.index(b"001.png")] ^= 1
    tar.write_bytes(content)
    with pytest.raises(
        DataError, match=r"is neither a folder nor a whole tar file \((bad checksum|its end is missing)\)"
    ):
        read_collection(tar, 8)
