"""All methods on the same clients: FedKTL against every baseline, paired by seed, as a markdown table.

Run: python benchmarks/federated.py run "dirichlet cnn4" ... --out federated.jsonl [--seeds 3] [--arms local fedktl ...]
     python benchmarks/federated.py table --out federated.jsonl

CIFAR-100's 20k subset: all 20,000 images pooled, shared out to 20 clients, and in each split 75/25 into train and test
images. A setting is a partition and a model or model group; all of its arms have the same clients, rounds and local
epochs, and ktl's tuned recipe unless they say `published`. Cells that `--out` already has are skipped, and a cell that
was stopped goes on from its last checkpoint, in a folder beside `--out`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

from cells import Cell, Row, fill, read, run_options
from seed_means import seed_mean

from ktl.data.settings import PartitionConfig
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS

DATA = "cifar100-20k.npz"
CLIENTS = 20
PUBLISHED_DOWNLOAD = 1_430_000  # bytes per round and client: 100 pairs as raw floats
OURS = "fedktl"
PER_ROUND = ["seconds", "bytes_up", "bytes_down", "bytes_broadcast", "numbers_up", "numbers_down"]
REMARKS = {"published": "published recipe and settings", "download": "1.43 MB a round"}

SETTINGS = {
    f"{kind} {models}": (kind, models) for models in ("cnn4", "HtFE2") for kind in ("dirichlet", "pathological")
}


def arms(base: FederationConfig) -> dict[str, FederationConfig]:
    """Every method in the tuned recipe; the published recipe, and the published download, beside."""
    tuned = {name: replace(base, method=name) for name in METHODS.names()}
    recipe = replace(RECIPES["published"], epochs=base.training.epochs)
    published = replace(
        base,
        training=recipe,
        transfer="mse",
        cloud=CloudConfig(base.cloud.generator, "published", pairs_per_class=1),
        download_budget=PUBLISHED_DOWNLOAD,
    )
    return tuned | {
        f"local, {REMARKS['published']}": replace(published, method="local"),
        f"fedktl, {REMARKS['published']}": published,
        f"fedktl, {REMARKS['download']}": replace(base, download_budget=PUBLISHED_DOWNLOAD),
    }


def base_config(setting: str, seed: int, args: argparse.Namespace) -> FederationConfig:
    """The tuned recipe with as many epochs for every client, however few images it has."""
    kind, models = SETTINGS[setting]
    return FederationConfig(
        source=str(args.data_root / DATA),
        partition=PartitionConfig(kind, CLIENTS, beta=0.1, classes_per_client=10),
        models=models,
        rounds=args.rounds,
        training=replace(RECIPES["tuned"], epochs=args.rounds * args.local_epochs, min_steps=0),
        transfer=federated_transfer(),
        seed=seed,
        device=args.device,
    )


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


def cells(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed, so that a stopped run has whole comparisons."""
    of_all_seeds = []
    for seed in range(args.seeds):
        for setting in args.settings or SETTINGS:
            of_setting = arms(base_config(setting, seed, args))
            for arm in args.arms or of_setting:
                key = {"setting": setting, "rounds": args.rounds, "local_epochs": args.local_epochs}
                key |= {"arm": arm, "seed": seed}
                arguments = (of_setting[arm], folder_of(args.out, key), args.workers)
                of_all_seeds.append(Cell(key, measure_federation, arguments))
    return of_all_seeds


def folder_of(out: Path, key: Row) -> Path:
    """Where a cell keeps its unfinished run."""
    return out.with_suffix(".runs") / re.sub(r"[^\w.-]+", "-", " ".join(map(str, key.values())))


def table(rows: list[Row]) -> str:
    """One line per arm: what it reaches, and what FedKTL's defaults reach more on the same seeds."""
    lines = [
        "| setting | method | seeds | best mean % | FedKTL's lead, points | last % | worst client % | s per round "
        "| up per round | down, all clients | down, broadcast once |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label in dict.fromkeys(label_of(row) for row in rows):
        of_setting = [row for row in rows if label_of(row) == label]
        ours = {row["seed"]: row["best"] for row in of_setting if row["arm"] == OURS}
        for arm in sorted({row["arm"] for row in of_setting}, key=ARMS.index):
            cell = [row for row in of_setting if row["arm"] == arm]
            best, last, worst = (seed_mean([row[key] for row in cell]) for key in ("best", "last", "worst"))
            leads = [ours[row["seed"]] - row["best"] for row in cell if row["seed"] in ours]
            lead = "" if arm == OURS or not leads else seed_mean(leads, sign="+")
            seconds, *traffic = (statistics.fmean(row[key] for row in cell) for key in PER_ROUND[:4])
            carried = " | ".join(f"{count:,.0f}" for count in traffic)
            lines.append(
                f"| {label} | {arm} | {len(cell)} | {best} | {lead} | {last} | {worst} | {seconds:.1f} | {carried} |"
            )
    return "\n".join(lines)


def label_of(row: Row) -> str:
    """A setting as the table names it."""
    return f"{row['setting']}, {row['rounds']} rounds x {row['local_epochs']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("settings", nargs="*", metavar="SETTING", help=f"all if none: {', '.join(SETTINGS)}")
    run_options(runs)
    federation_options(runs)
    runs.add_argument("--arms", nargs="*", choices=ARMS, metavar="ARM", help="of the table; all if none")
    runs.add_argument("--rounds", type=int, default=10)
    runs.add_argument("--local-epochs", type=int, default=1)
    commands.add_parser("table").add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "table":
        print(table(read(args.out)))
        return
    if unknown := [setting for setting in args.settings if setting not in SETTINGS]:
        runs.error(f"unknown setting {unknown[0]!r}: choose of {', '.join(SETTINGS)}")
    fill(args.out, cells(args), args.part)


def federation_options(parser: argparse.ArgumentParser) -> None:
    """--seeds, --device and --workers of a command that runs federations."""
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, help="client processes; one per core if not given")


ARMS = list(arms(FederationConfig()))

if __name__ == "__main__":
    main()
