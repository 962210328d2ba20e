"""What benchmarks share that run whole federations."""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from benchmarks.lib.cells import Row
from benchmarks.lib.command_line import one_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_gain, seed_mean
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig

DATA = "cifar100-20k.npz"
CLIENTS = 20
OURS = "fedktl"
PER_ROUND = ["seconds", "bytes_up", "bytes_down", "bytes_broadcast", "numbers_up", "numbers_down"]


def measure_federation(config: FederationConfig, folder: Path, workers: int | None) -> Row:
    """Accuracies in percent; seconds, bytes and numbers are means per round. Goes on with what `folder` holds."""
    result = federate(config, folder, workers=workers, resume=True)
    shutil.rmtree(folder)  # its checkpoint may be large
    rows, last = result.rows, result.rows[-1]
    means = {key: statistics.fmean(row[key] for row in rows) for key in PER_ROUND}
    return {
        "best": 100 * result.best,
        "last": 100 * last["accuracy"],
        "worst": 100 * last["worst"],
        "by_round": [round(100 * row["accuracy"], 2) for row in rows],
        "left_out": sum(len(row["left_out"]) for row in rows),
        "device": config.device,
    } | means


def folder_of(out: Path, key: Row) -> Path:
    """Where a cell keeps its unfinished run."""
    return out.with_suffix(".runs") / re.sub(r"[^\w.-]+", "-", " ".join(map(str, key.values())))


def comparison(rows: Sequence[Row], label: Callable[[Row], str], arms: Sequence[str]) -> str:
    """A line per arm of each setting: what it reaches, and what FedKTL's defaults reach more on the same seeds."""
    lines = []
    for setting in dict.fromkeys(map(label, rows)):
        of_setting = [row for row in rows if label(row) == setting]
        ours = [row for row in of_setting if row["arm"] == OURS]
        for arm in sorted({row["arm"] for row in of_setting}, key=arms.index):
            cell = [row for row in of_setting if row["arm"] == arm]
            best, last, worst = (seed_mean([row[key] for row in cell]) for key in ("best", "last", "worst"))
            lead = "" if arm == OURS else seed_gain(ours, cell, "best")
            seconds, *traffic = (statistics.fmean(row[key] for row in cell) for key in PER_ROUND[:4])
            carried = [f"{count:,.0f}" for count in traffic]
            lines.append([setting, arm, len(cell), best, lead, last, worst, f"{seconds:.1f}", *carried])
    return markdown(COMPARED, lines)


COMPARED = ["setting", "method", "seeds", "best mean %", "FedKTL's lead, points", "last %", "worst client %"]
COMPARED += ["s per round", "up per round", "down, all clients", "down, broadcast once"]


def federation_options(
    parser: argparse.ArgumentParser, settings: Collection[str] = (), arms: Collection[str] = ()
) -> None:
    """SETTING, --arms, --seeds, --device and --workers of a command that runs federations."""
    if settings:
        parser.add_argument(
            "settings", nargs="*", type=one_of(settings), metavar="SETTING", help=f"all if none: {', '.join(settings)}"
        )
    if arms:
        parser.add_argument(
            "--arms", nargs="+", type=one_of(arms), metavar="ARM", help=f"all if none: {', '.join(arms)}"
        )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, help="client processes; one per core if not given")
