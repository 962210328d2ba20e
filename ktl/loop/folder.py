"""A run as a folder: opened once, refused or gone on with, and saved so that a crash costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.data.manifest import Manifest
from ktl.errors import CheckpointError, UsageError
from ktl.files import Row, write_json, write_rows
from ktl.run_folder import CHECKPOINT, CONFIG, LAYOUT, METRICS, is_resumable, settings_table
from ktl.settings import Settings, as_table, from_table, named_values

Config = TypeVar("Config", bound=Settings)


class RunFolder:
    """config.json, metrics.jsonl and checkpoint.safetensors of one run, and the folder that they are in."""

    def __init__(self, path: Path, resume_by: str = "--resume") -> None:
        """`resume_by`: what a user types to go on with the run in it."""
        self.path = path
        self.resume_by = resume_by

    def check(self, config: Settings, *, resume: bool) -> None:
        """Makes sure that the folder is free, or that the run in it is the one to go on with; nothing is written.

        Raises UsageError where a run is in it that was not to be resumed, or has other settings, naming them;
        CheckpointError where its settings are damaged.
        """
        if not self.begun:
            return
        if not resume:
            raise UsageError(f"{self.path} already holds a run: go on with {self.resume_by} or name another --out")
        kept = load_config(self.path, type(config))
        if not is_resumable(self.path):
            raise UsageError(
                f"{self.path} holds a run of ktl 0.1.0, which this ktl cannot resume: what it finished can be "
                "evaluated, exported and reported; train anew into another --out"
            )
        if kept != config:
            raise UsageError(
                f"{self.path} holds a run with other settings ({differences(kept, config)}): "
                "resume it with its own, or name another --out"
            )

    def start(self, config: Settings, manifest: Manifest | None = None) -> None:
        """Makes the folder and says in it how the run is made and, where that is not said yet, of what data.

        Raises UsageError where no folder can be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be a run directory ({error.strerror}): name another --out") from error
        if manifest is not None and not self.begun:
            manifest.write(self.path)  # first: a run that has begun has it
        write_json(self.path / CONFIG, {"layout": LAYOUT} | as_table(config))

    @property
    def begun(self) -> bool:
        """Whether there is a run in it."""
        return (self.path / CONFIG).exists()

    @property
    def checkpoint(self) -> Path:
        """The file that makes a run's progress count."""
        return self.path / CHECKPOINT

    def save(self, tensors: dict[str, Tensor], progress: Mapping[str, Any], rows: list[Row]) -> None:
        """Replaces the checkpoint, then the metrics that are written from it. Raises CheckpointError."""
        save_checkpoint(self.checkpoint, tensors, {"rows": rows, **progress})
        self.write_metrics(rows)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and progress (with its `rows`) as `save` got them. Raises CheckpointError."""
        return load_checkpoint(self.checkpoint)

    def write_metrics(self, rows: list[Row]) -> None:
        """A kill may come after a checkpoint and before its metrics: whoever loads one writes these again."""
        write_rows(self.path / METRICS, rows)

    def misfit(self, error: Exception) -> CheckpointError:
        """What to raise where a checkpoint turns out not to be this run's."""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return CheckpointError(f"{self.checkpoint} does not fit this run ({reason}); start the run anew")


def load_config(run: Path, kind: type[Config]) -> Config:
    """A run's settings. Raises CheckpointError for a missing or damaged file, or one of another kind of run."""
    try:
        return from_table(kind, settings_table(run))
    except UsageError as error:
        raise CheckpointError(f"{run / CONFIG} is damaged or from another ktl ({error}); start the run anew") from error


def differences(kept: Settings, wanted: Settings) -> str:
    """The settings in which two configurations differ, as `name: kept value, not wanted value`."""
    one, other = named_values(as_table(kept)), named_values(as_table(wanted))
    names = [name for name in one if name in other and one[name] != other[name]]  # others belong to choices that differ
    return "; ".join(f"{name}: {one[name]}, not {other[name]}" for name in names)
