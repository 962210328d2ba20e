from __future__ import annotations

import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ktl.data.fewshot import draw_task
from ktl.data.npz import fashion_mnist, load_bundle
from ktl.errors import DataError

Arrays = dict[str, NDArray[Any]]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def bundle(folder: Path, arrays: Arrays) -> Path:
    np.savez_compressed(folder / "pets.npz", **arrays)
    return folder / "pets.npz"


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        load_bundle(path, None)
    text = str(refused.value)
    assert "\n" not in text
    assert str(path) in text or path.stem in text
    return text


def test_a_bundle_is_read_as_it_was_saved(tmp_path: Path, arrays: Arrays) -> None:
    pets = load_bundle(bundle(tmp_path, arrays), None)
    assert (pets.name, pets.class_names) == ("pets", ["cat", "dog", "owl"])
    assert (pets.image_size, pets.channels) == (8, 1)
    assert pets.train.labels.tolist() == arrays["y_train"].tolist()
    assert np.array_equal(pets.train.images[np.arange(12)][..., 0], arrays["x_train"])
    assert pets.test.images[np.array([5, 0])][:, 0, 0, 0].tolist() == [105, 100]


def test_a_bundle_without_names_numbers_its_classes(tmp_path: Path, arrays: Arrays) -> None:
    del arrays["class_names"]
    assert load_bundle(bundle(tmp_path, arrays), None).class_names == ["0", "1", "2"]


def test_a_bundle_is_resized_when_asked_for(tmp_path: Path, arrays: Arrays) -> None:
    pets = load_bundle(bundle(tmp_path, arrays), 20)
    assert pets.image_size == 20
    assert pets.train.images[np.array([7])].shape == (1, 20, 20, 1)
    assert (pets.train.images[np.array([7])] == 7).all()


def test_colour_images_of_uneven_sides_are_cropped_square(tmp_path: Path, arrays: Arrays) -> None:
    arrays["x_train"] = np.full((12, 10, 14, 3), 9, np.uint8)
    arrays["x_test"] = np.full((6, 10, 14, 3), 8, np.uint8)
    pets = load_bundle(bundle(tmp_path, arrays), None)
    assert (pets.image_size, pets.channels) == (10, 3)
    assert (pets.test.images[np.array([0])] == np.full((1, 10, 10, 3), 8)).all()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"x_train": np.zeros((12, 8, 8), np.float32)}, r"x_train of .* must be uint8 .* not float32 \(12, 8, 8, 1\)"),
        ({"x_train": np.zeros((12, 64), np.uint8)}, r"must be uint8 .* not uint8 \(12, 64\)"),
        ({"x_train": np.zeros((12, 8, 8, 4), np.uint8)}, r"must be uint8 .* not uint8 \(12, 8, 8, 4\)"),
        ({"x_test": np.zeros((0, 8, 8), np.uint8)}, r"x_test of .* not uint8 \(0, 8, 8, 1\)"),
        ({"x_test": np.zeros((6, 8, 8, 3), np.uint8)}, "1 and 3 channels; save both as grey or both as RGB"),
        ({"y_train": np.zeros(11, np.int64)}, r"y_train of .* must be 12 integers from 0, not int64 \(11,\)"),
        ({"y_train": np.zeros((12, 1), np.int64)}, r"not int64 \(12, 1\)"),
        ({"y_train": np.linspace(0, 2, 12)}, "must be 12 integers from 0, not float64"),
        ({"y_test": np.array([0, 1, 2, 0, 1, -1])}, "y_test of .* must be 6 integers from 0"),
        ({"y_test": np.array([0, 1, 2, 0, 1, 10**12])}, "y_test of .* has label 1000000000000: at most 999 is read"),
        ({"y_test": np.array([0, 1, 2, 0, 1, 2**63], np.uint64)}, "y_test of .* has label 9223372036854775808"),
        ({"y_test": np.array([0, 1, 2, 0, 1, 3])}, "pets has label 3 but only 3 class names"),
        ({"y_train": np.zeros(12, np.int64)}, "class 'dog' of pets has no train image"),
        ({"class_names": np.array(["cat", "dog", "owl", "fox"])}, "class 'fox' of pets has no train image"),
        ({"class_names": np.array("cat")}, r"class_names of .* must be a list of str, not <U3 \(\)"),
        ({"class_names": np.array([b"cat", b"dog", b"owl"])}, r"must be a list of str, not \|S3 \(3,\)"),
    ],
)
def test_a_bundle_with_a_wrong_array_is_refused(tmp_path: Path, arrays: Arrays, changed: Arrays, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_bundle(bundle(tmp_path, arrays | changed), None)


def test_a_bundle_of_one_class_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    one = arrays | {"y_train": np.zeros(12, int), "y_test": np.zeros(6, int), "class_names": np.array(["cat"])}
    assert "pets has 1 class: a classifier needs at least 2" in refusal(bundle(tmp_path, one))


def test_missing_arrays_are_named(tmp_path: Path, arrays: Arrays) -> None:
    del arrays["x_test"], arrays["y_train"]
    assert "lacks the arrays y_train, x_test;" in refusal(bundle(tmp_path, arrays))


@pytest.mark.parametrize("name", ["x_train", "y_test", "class_names"])
def test_a_pickled_array_is_refused_and_not_executed(tmp_path: Path, arrays: Arrays, name: str) -> None:
    trace = tmp_path / "executed"
    arrays[name] = np.array([Trap(trace)] * 3, dtype=object)
    assert "without objects" in refusal(bundle(tmp_path, arrays))
    assert not trace.exists()


def test_a_pickle_in_place_of_a_bundle_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, trace = tmp_path / "pets.npz", tmp_path / "executed"
    path.write_bytes(pickle.dumps(Trap(trace)))
    assert "is no whole .npz file: it is " in refusal(path)
    assert not trace.exists()


def test_a_single_array_in_place_of_a_bundle_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "pets.npz")
    assert "is no whole .npz file: it is " in refusal(tmp_path / "pets.npz")


def test_an_array_that_claims_terabytes_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    path = bundle(tmp_path, arrays)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 10000, 10000, 3), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert refusal(path).startswith("cannot read")


def test_a_bundle_cut_short_anywhere_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    path = bundle(tmp_path, arrays)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert "is no whole .npz file: it is " in refusal(path)


def test_random_bit_flips_give_the_same_arrays_or_a_data_error(tmp_path: Path, arrays: Arrays) -> None:
    path = bundle(tmp_path, arrays)
    whole = path.read_bytes()
    accepted: list[NDArray[np.uint8]] = []
    refused: list[str] = []
    for seed in range(300):
        rng = random.Random(seed)
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            accepted.append(load_bundle(path, None).train.images[np.arange(12)][..., 0])
        except DataError as error:
            refused.append(str(error))
    assert accepted
    assert all(np.array_equal(images, arrays["x_train"]) for images in accepted)
    assert refused
    assert not any("\n" in text for text in refused)


def test_the_embedded_data_set_has_ten_classes_of_clothing() -> None:
    fashion = fashion_mnist(None)
    assert fashion.name == "fashion-mnist"
    assert fashion.class_names[:2] == ["T-shirt/top", "Trouser"]
    assert np.bincount(fashion.train.labels).tolist() == [40] * 10
    assert np.bincount(fashion.test.labels).tolist() == [100] * 10


@pytest.mark.skipif(not (SHARED / "cifar100-20k.npz").is_file(), reason="needs shared/data/cifar100-20k.npz")
def test_a_bundle_of_a_hundred_classes_gives_a_task() -> None:
    task = draw_task(load_bundle(SHARED / "cifar100-20k.npz", None), shots=2, ways=100, seed=0)
    assert task.shot_images.shape == (200, 3, 32, 32)
    assert task.shot_labels.bincount().tolist() == [2] * 100
    assert task.test_labels.bincount().tolist() == [50] * 100
