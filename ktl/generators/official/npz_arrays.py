"""Reads a network from an .npz of plain arrays: `state/NAME` for each tensor and `meta_json` for what it was made with.

It is the neutral form of an official network: no classes, no pickles. `meta_json` holds the UTF-8 bytes of a table with
`config`, the constructor's arguments, and `attributes`, those of each module by its dotted name.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
import torch

from ktl.errors import CheckpointError
from ktl.files import why_unreadable
from ktl.generators.official.pickles import OfficialNetwork

STATE = "state/"
MAX_EXPANSION = 4  # of compressed weights: numbers hardly compress
MAX_EXTRA_BYTES = 2**24


def read_arrays(path: Path) -> OfficialNetwork:
    """The network in `path`. Raises CheckpointError in one line if the file is missing, damaged or of another kind."""
    if not path.is_file():
        raise CheckpointError(f"there is no network file {path}; give an .npz of arrays")
    try:
        with zipfile.ZipFile(path) as packed:
            claimed = sum(member.file_size for member in packed.infolist())
        if claimed > MAX_EXPANSION * path.stat().st_size + MAX_EXTRA_BYTES:
            raise CheckpointError(f"its arrays claim {claimed:,} bytes, more than weights ever expand to")
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["meta_json"].tobytes())
            state = {name.removeprefix(STATE): torch.from_numpy(file[name]) for name in file if name.startswith(STATE)}
        return _network(about, state)
    except (CheckpointError, LookupError, ValueError, TypeError, OSError, zipfile.BadZipFile, RecursionError) as error:
        raise CheckpointError(f"{path} is no network that ktl can read: {why_unreadable(path, error)}") from error


def _network(about: Any, state: dict[str, torch.Tensor]) -> OfficialNetwork:
    if type(about) is not dict or type(about.get("config")) is not dict:
        raise CheckpointError(f"its meta_json is {shortened(about)}: expected a table with a config")
    attributes: Any = about.get("attributes", {})
    if type(attributes) is not dict or not all(type(values) is dict for values in attributes.values()):
        raise CheckpointError(f"its attributes are {shortened(attributes)}: expected a table of tables")
    config = about["config"]
    modules = {"": "SuperresGenerator" if "superres" in config else "Generator"}
    for name in state:
        parts = name.split(".")[:-1]
        modules |= {".".join(parts[: i + 1]): "a module" for i in range(len(parts))}
    return OfficialNetwork(
        class_name=modules[""],
        init_args=(),
        init_kwargs=config,
        state=state,
        attributes={name: attributes.get(name, {}) for name in modules},
        classes=modules,
    )
