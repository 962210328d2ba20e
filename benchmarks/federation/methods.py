"""All methods on the same clients: FedKTL against every baseline, paired by seed.

Run: python -m benchmarks.federation.methods run "dirichlet cnn4" ... [--seeds 3] [--arms local fedktl ...]
     python -m benchmarks.federation.methods table

CIFAR-100's 20k subset: all 20,000 images pooled, shared out to 20 clients, and in each split 75/25 into train and test
images. A setting is a partition and a model or model group; all of its arms have the same clients, rounds and local
epochs, and ktl's tuned recipe unless they say `published`. Cells that `--out` already has are skipped, and a cell that
was stopped goes on from its last checkpoint, in a folder beside `--out`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.federations import CLIENTS, DATA, comparison, federation_options, folder_of, measure_federation
from ktl.data.settings import PartitionConfig
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS

PUBLISHED_DOWNLOAD = 1_430_000  # bytes per round and client: 100 pairs as raw floats
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


ARMS = list(arms(FederationConfig()))


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
        warm_start="edge",
        seed=seed,
        device=args.device,
    )


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


def label_of(row: Row) -> str:
    """A setting as the table names it."""
    return f"{row['setting']}, {row['rounds']} rounds x {row['local_epochs']}"


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    federation_options(runs, SETTINGS, ARMS)
    runs.add_argument("--rounds", type=int, default=10)
    runs.add_argument("--local-epochs", type=int, default=1)


TABLES = {"all": lambda rows: comparison(rows, label_of, ARMS)}

if __name__ == "__main__":
    command_line("federation/methods", __doc__, options, cells, TABLES)
