"""Many edges with a few images of every class: FedKTL against every method with either classifier, paired by seed.

Run: python benchmarks/shots.py run [cifar100 fashion-mnist] --out shots.jsonl [--seeds 3] [--arms local ...]
         [--clients 1 2 5 10 20] [--shots 1 2 5] [--models cnn4,resnet4] [--rounds 1 5]
     python benchmarks/shots.py table --out shots.jsonl

CIFAR-100's 20k subset or Fashion-MNIST in the `shots` partition. Every client takes the same steps in all, in as many
rounds as `--rounds` says: one round lets no edge learn from what another reported after it, unless the method closes
rounds. The leads are those of FedKTL in its setting's own rounds. Cells that `--out` already has are skipped,
and a cell that was stopped goes on from its last checkpoint, in a folder beside `--out`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from cells import Cell, Row, fill, read, run_options
from federated import federation_options, folder_of, measure_federation
from seed_means import seed_mean

from ktl.data.settings import PartitionConfig
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.methods.base import Method
from ktl.models.edge_model import CLASSIFIERS

STEPS, LONG = 200, 600  # of a client, over all rounds
OURS = "fedktl"


@dataclass(frozen=True)
class Setting:
    """Rounds of its own, warm-up steps on pairs, and bytes down per round and client."""

    source: str
    rounds: int
    warm_up: int
    download: int

    def config(self, args: argparse.Namespace, seed: int, clients: int, shots: int, rounds: int) -> FederationConfig:
        """What all arms share."""
        transfer, file = federated_transfer(), args.data_root / self.source
        return FederationConfig(
            source=str(file) if file.suffix else self.source,
            partition=PartitionConfig("shots", clients, shots=shots),
            models=args.models,
            rounds=rounds,
            training=replace(RECIPES["tuned"], steps=STEPS, epochs=None, min_steps=0),
            transfer=replace(transfer, settings=replace(transfer.settings, warmup_steps=self.warm_up)),
            download_budget=self.download,
            seed=seed,
            device=args.device,
        )


SETTINGS = {
    "cifar100": Setting("cifar100-20k.npz", rounds=1, warm_up=400, download=1_430_000),
    "fashion-mnist": Setting("fashion-mnist", rounds=5, warm_up=200, download=143_000),
}


def arms(base: FederationConfig) -> dict[str, FederationConfig]:
    """Every method with its own classifier and with the other kind; longer local training; FedKTL's parts."""
    found = {}
    for name in METHODS.names():
        found[name] = replace(base, method=name)
        for classifier in other_classifiers(METHODS.load(name)):
            found[f"{name}, {classifier}"] = replace(base, method=name, classifier=classifier)
    longer = replace(found["local"], training=replace(base.training, steps=LONG))
    alone = replace(base, method=METHODS.choose("fedktl", pool="none"))
    return found | {
        f"local, {LONG} steps": longer,
        f"local, {LONG} steps, linear": replace(longer, classifier="linear"),
        "fedktl, ETF prototypes, nothing pooled": replace(alone, cloud=CloudConfig(alignment="robust")),
        "fedktl, random latents, nothing pooled": replace(alone, cloud=CloudConfig(alignment="random")),
    }


def other_classifiers(method: type[Method]) -> list[str]:
    """The kinds that a method can have in place of its own: none where its own is part of it."""
    own = method.classifier
    return [name for name, kind in CLASSIFIERS.items() if own in CLASSIFIERS.values() and kind is not own]


def cells(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed, so that a stopped run has whole comparisons."""
    found = []
    for seed in range(args.seeds):
        for name in args.settings or SETTINGS:
            setting = SETTINGS[name]
            for clients, shots, rounds in (
                (c, s, r) for c in args.clients for s in args.shots for r in args.rounds or [setting.rounds]
            ):
                of_setting = arms(setting.config(args, seed, clients, shots, rounds))
                for arm in args.arms or of_setting:
                    key = {"setting": name, "models": args.models, "clients": clients, "shots": shots}
                    key |= {"rounds": rounds, "arm": arm, "seed": seed}
                    arguments = (of_setting[arm], folder_of(args.out, key), args.workers)
                    found.append(Cell(key, measure_federation, arguments))
    return found


def table(rows: list[Row]) -> str:
    """One line per arm and number of rounds: what it reaches, and what FedKTL reaches more on the same seeds."""
    lines = [
        "| setting | arm | rounds | seeds | best mean % | FedKTL's lead, points | last % | up per round |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label in dict.fromkeys(label_of(row) for row in rows):
        of_setting = [row for row in rows if label_of(row) == label]
        ours = {
            row["seed"]: row["best"]
            for row in of_setting
            if (row["arm"], row["rounds"]) == (OURS, SETTINGS[row["setting"]].rounds)
        }
        kinds = {(row["arm"], row["rounds"]) for row in of_setting}
        for arm, rounds in sorted(kinds, key=lambda kind: (ARMS.index(kind[0]), kind[1])):
            cell = [row for row in of_setting if (row["arm"], row["rounds"]) == (arm, rounds)]
            best, last = (seed_mean([row[key] for row in cell]) for key in ("best", "last"))
            leads = [ours[row["seed"]] - row["best"] for row in cell if row["seed"] in ours]
            lead = seed_mean(leads, sign="+") if leads else ""
            up = sum(row["bytes_up"] for row in cell) / len(cell)
            lines.append(f"| {label} | {arm} | {rounds} | {len(cell)} | {best} | {lead} | {last} | {up:,.0f} |")
    return "\n".join(lines)


def label_of(row: Row) -> str:
    """A setting as the table names it."""
    return f"{row['setting']}, {row['models']}, {row['clients']} x {row['shots']} shots"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("settings", nargs="*", metavar="SETTING", help=f"all if none: {', '.join(SETTINGS)}")
    run_options(runs)
    federation_options(runs)
    runs.add_argument("--arms", nargs="*", choices=ARMS, metavar="ARM", help="of the table; all if none")
    runs.add_argument("--clients", type=int, nargs="+", default=[20])
    runs.add_argument("--shots", type=int, nargs="+", default=[2])
    runs.add_argument("--models", default="cnn4")
    runs.add_argument("--rounds", type=int, nargs="+", help="the setting's own if none")
    commands.add_parser("table").add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "table":
        print(table(read(args.out)))
        return
    if unknown := [setting for setting in args.settings if setting not in SETTINGS]:
        runs.error(f"unknown setting {unknown[0]!r}: choose of {', '.join(SETTINGS)}")
    fill(args.out, cells(args), args.part)


ARMS = list(arms(FederationConfig()))

if __name__ == "__main__":
    main()
