"""Partitions as folders: `train/0.npz`, `test/0.npz`, `train/1.npz` ... and what they mean in config.json.

A file holds arrays `x` and `y`, or, in the layout of the public federated-learning benchmarks, one pickled table
`data = {x, y}`. Of a pickle only arrays in a table are read: every other class or function in it is refused unrun.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from ktl.data.partition import ClientIndex, FederatedData
from ktl.data.photos import is_helper
from ktl.errors import DataError, UsageError
from ktl.files import write_atomically, write_json

CLASSES = "classes.txt"  # their names, one a line: what `ktl cloud session create` takes
MAX_CLIENTS = 10_000
MAX_CLASSES = 1000


def save_partition(data: FederatedData, folder: Path, *, public: bool = False) -> None:
    """Writes a folder that `load_partition` reads; with `public`, images as float32 in [-1, 1] in pickled tables.

    Raises UsageError if the folder is not empty.
    """
    if folder.exists() and any(not is_helper(entry.name, folder=False) for entry in folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name another --out")
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
        for client, share in enumerate(data.clients):
            index = share.train if part == "train" else share.test
            images, labels = data.images[index].numpy(), data.labels[index].numpy()
            file = io.BytesIO()
            if public:
                table: Any = {"x": images.astype(np.float32) / 127.5 - 1.0, "y": labels}
                np.savez_compressed(file, data=table)
            else:
                np.savez_compressed(file, x=images, y=labels)
            write_atomically(folder / part / f"{client}.npz", file.getvalue())
    facts = {"num_clients": len(data.clients), "num_classes": len(data.class_names), "class_names": data.class_names}
    write_json(folder / "config.json", facts)
    names = "".join(f"{name}\n" for name in data.class_names)
    write_atomically(folder / CLASSES, names.encode())


def load_partition(folder: Path) -> FederatedData:
    """Reads a partition's folder. Raises DataError for a missing, damaged or unsafe file, naming it."""
    files = partition_files(folder)
    if not files or len(files) > MAX_CLIENTS:
        raise DataError(
            f"{folder} has {len(files)} files train/*.npz: a partition has one per client, from train/0.npz"
        )
    images, labels, clients, start = [], [], [], 0
    for file in files:
        parts = []
        for path in (file, folder / "test" / file.name):
            x, y = _read(path)
            images.append(x)
            labels.append(y)
            parts.append(torch.arange(start, start + len(y)))
            start += len(y)
        clients.append(ClientIndex(*parts))
    shapes = {tuple(x.shape[1:]) for x in images if len(x)}
    if len(shapes) != 1:
        raise DataError(f"the clients of {folder} have images of shapes {sorted(shapes)}: all must have one")
    shape = shapes.pop()
    pool = torch.cat([x.reshape(-1, *shape) for x in images])
    every_label = torch.cat(labels)
    return FederatedData(_names(folder, int(every_label.max()) + 1), pool, every_label, clients)


def partition_files(folder: Path) -> list[Path]:
    """What each client trains on, in the order of their numbers."""
    found = (file for file in (folder / "train").glob("*.npz") if not is_helper(file.name, folder=False))
    return sorted(found, key=lambda file: file.stem.zfill(8))


def _names(folder: Path, classes: int) -> list[str]:
    """Class names of config.json, else the numbers."""
    facts: Any = {}
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder / 'config.json'} is damaged ({error}); remove it to number the classes") from error
    names = facts.get("class_names") if isinstance(facts, dict) else None
    if isinstance(names, list) and len(names) >= classes and all(isinstance(name, str) for name in names):
        return names
    known = facts.get("num_classes") if isinstance(facts, dict) else None
    total = known if isinstance(known, int) and classes <= known <= MAX_CLASSES else classes
    return [str(number) for number in range(max(total, 2))]


def _read(path: Path) -> tuple[Tensor, Tensor]:
    """uint8 images (n, c, h, w) and labels (n,) of one client's file."""
    try:
        with zipfile.ZipFile(path) as bundle:
            members = {name.removesuffix(".npy"): name for name in bundle.namelist()}
            if "data" in members:
                table = _table(bundle.read(members["data"]))
            else:
                table = {
                    name: npy.read_array(io.BytesIO(bundle.read(members[name])), allow_pickle=False) for name in "xy"
                }
        x, y = table["x"], table["y"]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: each client needs train/ and test/ files of one number") from error
    except Exception as error:  # zipfile's, numpy's and pickle's readers raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as a client's data: {reason}") from error
    return _images(x, path), _labels(y, len(x), path)


def _images(x: NDArray[Any], path: Path) -> Tensor:
    if len(x) == 0:
        return torch.empty(0, 1, 1, 1, dtype=torch.uint8)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3) or x.shape[2] != x.shape[3]:
        raise DataError(f"x of {path} has shape {x.shape}: expected (n, 1 or 3, size, size)")
    if x.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(x))
    if x.dtype.kind != "f" or not np.isfinite(x).all() or np.abs(x).max() > 1.001:
        raise DataError(f"x of {path} is {x.dtype} up to {x.max()}: expected uint8, or floats from -1 to 1")
    return torch.from_numpy(np.rint((x.astype(np.float32) + 1.0) * 127.5).clip(0, 255).astype(np.uint8))


def _labels(y: NDArray[Any], images: int, path: Path) -> Tensor:
    if y.shape != (images,) or (images and y.dtype.kind not in "iu"):
        raise DataError(f"y of {path} is {y.dtype} {y.shape}: expected {images} integers")
    if images and (int(y.min()) < 0 or int(y.max()) >= MAX_CLASSES):
        raise DataError(f"y of {path} has label {int(y.min())} or {int(y.max())}: expected 0 to {MAX_CLASSES - 1}")
    return torch.from_numpy(y.astype(np.int64))


def _table(content: bytes) -> dict[str, NDArray[Any]]:
    """The table in a pickled 0-d object array."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"data is {dtype} {shape}, not a table of x and y")
    array = _ArraysOnly(file).load()
    table = array.item() if isinstance(array, np.ndarray) and array.shape == () else array
    if not isinstance(table, dict) or not all(
        isinstance(table.get(name), np.ndarray) and not table[name].dtype.hasobject for name in "xy"
    ):
        raise ValueError("data is not a table of arrays x and y")
    return table


def _empty_array(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    """What numpy's pickles begin an array with; its contents are set afterwards, checked by numpy against its shape."""
    return np.empty(0, dtype=np.uint8)


def _latin1(text: Any, encoding: Any) -> bytes:
    """How pickles of protocol 2 and less write bytes."""
    return str(text).encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """Admits what numpy arrays are pickled with, by name; nothing else is looked up, so nothing else can run."""

    ADMITTED: dict[tuple[str, str], Any] = {  # noqa: RUF012 - never changed
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy._core.multiarray", "_reconstruct"): _empty_array,
        ("numpy", "ndarray"): "only passed on, never called",
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only arrays are read")
        return self.ADMITTED[module, name]
