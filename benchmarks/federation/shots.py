"""Many edges with a few images of every class: FedKTL against every method with either classifier, paired by seed.

Run: python -m benchmarks.federation.shots run [cifar100 fashion-mnist] [--seeds 3] [--arms local ...]
         [--clients 1 2 5 10 20] [--shots 1 2 5] [--models cnn4,resnet4] [--rounds 1 5]
     python -m benchmarks.federation.shots table

CIFAR-100's 20k subset or Fashion-MNIST in the `shots` partition. Every client takes the same steps in all, in as many
rounds as `--rounds` says: one round lets no edge learn from what another reported after it, unless the method closes
rounds. The leads are those of FedKTL in as many rounds. Cells that `--out` already has are skipped, and a cell that was
stopped goes on from its last checkpoint, in a folder beside `--out`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.federations import DATA, comparison, federation_options, folder_of, measure_federation
from ktl.data.settings import PartitionConfig
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.methods.base import Method
from ktl.models.edge_model import CLASSIFIERS

STEPS, LONG = 200, 600  # of a client, over all rounds


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
            warm_start="edge",
            download_budget=self.download,
            seed=seed,
            device=args.device,
        )


SETTINGS = {
    "cifar100": Setting(DATA, rounds=1, warm_up=400, download=1_430_000),
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
        "fedktl, warm start": replace(base, warm_start="cloud"),
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


ARMS = list(arms(FederationConfig()))


def label_of(row: Row) -> str:
    """A setting as the table names it."""
    return f"{row['setting']}, {row['models']}, {row['clients']} x {row['shots']} shots, {row['rounds']} rounds"


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    federation_options(runs, SETTINGS, ARMS)
    runs.add_argument("--clients", type=int, nargs="+", default=[20])
    runs.add_argument("--shots", type=int, nargs="+", default=[2])
    runs.add_argument("--models", default="cnn4")
    runs.add_argument("--rounds", type=int, nargs="+", help="the setting's own if none")


TABLES = {"all": lambda rows: comparison(rows, label_of, ARMS)}

if __name__ == "__main__":
    command_line("federation/shots", __doc__, options, cells, TABLES)
