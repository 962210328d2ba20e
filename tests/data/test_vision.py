from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray

from ktl.data import DATASETS, load_dataset
from ktl.data.vision import VisionSource, data_folder
from ktl.errors import DataError

UNREACHABLE = "http://127.0.0.1:9/"  # the discard port: refused at once


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    path.write_bytes(struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KTL_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def raw(folder: Path) -> Path:
    """MNIST's own files with 2 train and 1 test image of each digit d, filled with 10 d and 10 d + 5."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, copies, offset in (("train", 2, 0), ("t10k", 1, 5)):
        labels = np.tile(np.arange(10, dtype=np.uint8), copies)
        images = np.broadcast_to((labels * 10 + offset)[:, None, None], (len(labels), 28, 28))
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte", labels)
    return raw


@pytest.mark.usefixtures("raw")
def test_downloaded_digits_are_read_by_torchvision() -> None:
    mnist = load_dataset("mnist")
    assert (mnist.name, mnist.image_size, mnist.channels) == ("mnist", 28, 1)
    assert mnist.class_names[3] == "3 - three"
    assert mnist.train.labels.dtype == np.int64
    assert mnist.train.labels.tolist() == [*range(10), *range(10)]
    images = mnist.train.images[np.array([13, 2])]
    assert images.shape == (2, 28, 28, 1)
    assert (images[0] == 30).all()
    assert (images[1] == 20).all()
    assert (mnist.test.images[np.array([9])] == 95).all()


@pytest.mark.usefixtures("raw")
def test_downloaded_digits_are_resized_when_asked_for() -> None:
    mnist = load_dataset("mnist", 32)
    assert mnist.image_size == 32
    assert (mnist.train.images[np.array([4])] == np.full((1, 32, 32, 1), 40)).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08\x03", b"\xff" * 64, struct.pack(">4I", 0x0803, 20, 28, 28) + bytes(100)],
    ids=["empty", "header cut short", "garbage", "pixels cut short"],
)
def test_damaged_files_are_refused_by_their_folder(folder: Path, raw: Path, content: bytes) -> None:
    (raw / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError) as refused:
        load_dataset("mnist")
    assert str(refused.value).startswith("cannot get mnist (")
    assert str(refused.value).endswith(f"check the network and the files in {folder}")
    assert "\n" not in str(refused.value)


def test_digits_without_an_image_are_refused_by_name(raw: Path) -> None:
    write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(10, np.uint8))
    with pytest.raises(DataError, match="class '1 - one' of mnist has no test image"):
        load_dataset("mnist")


@pytest.mark.parametrize(
    ("name", "attribute", "mirrors"),
    [("mnist", "mirrors", [UNREACHABLE, UNREACHABLE]), ("kmnist", "mirrors", [UNREACHABLE]), ("cifar10", "url", None)],
)
def test_a_download_that_fails_is_one_line_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, attribute: str, mirrors: list[str] | None
) -> None:
    kind = getattr(torchvision.datasets, DATASETS.load(name).attribute)
    monkeypatch.setattr(kind, attribute, mirrors or UNREACHABLE + "data.tar.gz")
    with pytest.raises(DataError) as refused:
        load_dataset(name)
    text = str(refused.value)
    assert text.startswith(f"cannot get {name} (")
    assert "refused" in text
    assert str(folder) in text
    assert "\n" not in text


def test_a_missing_reader_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    content = b"a file in Matlab's format"
    (folder / "train_32x32.mat").write_bytes(content)
    entry = [UNREACHABLE, "train_32x32.mat", hashlib.md5(content).hexdigest()]
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "train", entry)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"svhn needs scipy(\.io)?: pip install scipy"):
        load_dataset("svhn")


@pytest.mark.parametrize("name", DATASETS.builtin()[1:])
def test_every_source_is_a_data_set_of_torchvision(name: str) -> None:
    source = DATASETS.load(name)
    assert isinstance(source, VisionSource)
    assert source.name == name
    kind = getattr(torchvision.datasets, source.attribute)
    assert issubclass(kind, torchvision.datasets.VisionDataset)
    colour = {1: "grey", 3: "RGB"}[source.channels]
    size = f"{source.size} x {source.size} {colour}"
    assert DATASETS.summary(name) == f"torchvision's {source.attribute}, {size}; downloaded once"


def test_downloads_are_kept_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KTL_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("KTL_DATA")
    assert data_folder() == Path.home() / ".cache" / "ktl"
