"""The files of a run's folder, by the names that every reader knows. Nothing here imports torch.

`config.json` says how a run was made. `LAYOUT` is its version; runs of ktl 0.1.0 have none, and are read as if they
were made today, as far as their settings go.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ktl.errors import CheckpointError

LAYOUT = 2
CONFIG, CHECKPOINT, METRICS = "config.json", "checkpoint.safetensors", "metrics.jsonl"
DATA = "data.json"  # what a run was made of
SETUP = "setup.msgpack"  # of a run that a device of a fleet takes part in
DRAWINGS = "drawings.safetensors"  # of a federation that pooled: what its cloud could draw
TRANSFER_SETTINGS = (  # that ktl 0.1.0 had for every objective on pairs
    "warmup_steps",
    "warmup_batch",
    "joint_batch",
    "weight",
    "learning_rate",
    "body_rate",
    "anew_each_round",
)


def settings_table(run: Path) -> dict[str, Any]:
    """A run's settings as nested tables, those of a run of ktl 0.1.0 in today's form.

    `transfer` is None where no cloud helped; a federation's has a `method`. Raises CheckpointError for a missing or
    damaged file.
    """
    path = run / CONFIG
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError("it is no table")
        layout = table.pop("layout", 1)
        if layout not in (1, LAYOUT):
            raise ValueError(f"its layout is {layout!r}, this ktl reads 1 and {LAYOUT}")
        if "transfer" in table:
            table.setdefault("warm_start", "edge")  # of a run from before there were others
        return table if layout == LAYOUT else _upgraded(table)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no run at {run}: {path.name} is missing") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or from another ktl ({error}); start the run anew") from error


def is_resumable(run: Path) -> bool:
    """Whether this ktl can go on with a run: one of ktl 0.1.0 can be evaluated, exported and reported, no more."""
    return bool(_config(run).get("layout") == LAYOUT)


def is_federation(run: Path) -> bool:
    """Whether the folder holds one run of `ktl federate`."""
    return "partition" in _config(run)


def is_node_folder(folder: Path) -> bool:
    """Whether a folder is what a device of a fleet over Flower keeps, of one run or of several."""
    return any(any(folder.glob(pattern)) for pattern in (SETUP, f"*/{SETUP}"))


def to_export_first(folder: Path) -> str | None:
    """What to do before a folder's model can be used, where that takes `ktl export`."""
    if is_federation(folder):
        return f"{folder} is the run of a federation: write a bundle of one client by `ktl export {folder} --client 0`"
    if is_node_folder(folder):
        return f"{folder} is what a device of a fleet keeps: write a bundle by `ktl export {folder}`"
    return None


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run of any kind, begun or finished, or a bundle: none of its files are anyone's data."""
    if is_bundle(folder):
        return True
    table = _config(folder)
    return table.get("layout") == LAYOUT or bool(
        table and any((folder / name).is_file() for name in (METRICS, CHECKPOINT))
    )


def is_bundle(folder: Path) -> bool:
    """Whether a folder is what `ktl export` wrote."""
    return (folder / "labels.json").is_file() and (folder / "card.md").is_file()


def _config(run: Path) -> dict[str, Any]:
    """The table in config.json, empty where there is none."""
    try:
        table = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """Settings of ktl 0.1.0, where the settings of every objective on pairs were those of all, and no other choice had
    any.
    """
    table = {name: value for name, value in old.items() if name not in ("head", "local_only")}
    transfer = old["transfer"]
    settings = {name: transfer[name] for name in TRANSFER_SETTINGS}
    if transfer["task"] != "mse":
        settings["temperature"] = transfer["temperature"]
    table["transfer"] = None if old.get("local_only") else {"name": transfer["task"], "settings": settings}
    choices = {name: {"name": old["cloud"][name], "settings": {}} for name in ("generator", "alignment")}
    table["cloud"] = old["cloud"] | choices
    training = dict(old["training"])
    training["min_steps"] = training.pop("least_steps")
    table["training"] = training
    if "method" in old:
        table["method"] = {"name": old["method"], "settings": {}}
    return table
