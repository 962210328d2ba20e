"""The cells and the table; a measurement takes minutes."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.accuracy import budgets
from ktl.registry import chosen


def options(**changed: object) -> argparse.Namespace:
    given = {"data": "fashion-mnist", "data_root": Path("data"), "shots": 2, "first_seed": 100, "seeds": 2}
    given |= {"megabytes": [0.5, 8.0], "spaces": ["latent", "encoder?dimension=64"], "generator": "builtin"}
    return argparse.Namespace(**(given | {"warm_up": ["edge", "cloud"]} | changed))


def test_each_seed_is_trained_alone_and_by_who_warms_up_space_and_budget() -> None:
    cells = budgets.cells(options())
    spaces = ["latent", "encoder?dimension=64"]
    arms = [f"{space}, {budget} MB" for space in spaces for budget in ("0.5", "8")]
    arms += [f"{space}, 8 MB, warm start" for space in spaces]  # half a megabyte holds none
    assert [cell.key["arm"] for cell in cells] == 2 * ["local only", *arms]
    assert [cell.key["seed"] for cell in cells] == 7 * [100] + 7 * [101]
    assert cells[0].arguments[0].transfer is None
    (last,) = cells[-1].arguments
    assert (last.seed, last.cloud.download_budget, last.warm_start) == (101, 8_000_000, "cloud")
    assert chosen(last.cloud.space).settings.dimension == 64


def test_a_pool_is_an_arm_of_its_own() -> None:
    changed = {"megabytes": [4.0], "spaces": ["latent"], "warm_up": ["edge"], "generator": "pool:a.tar?licence=own"}
    _, cell = budgets.cells(options(seeds=1, **changed))
    assert cell.key["arm"] == "pool, latent, 4 MB"
    assert chosen(cell.arguments[0].cloud.generator).name == "pool:a.tar?licence=own"


def test_the_table_has_gains_and_seconds_against_local_training_of_the_same_seeds() -> None:
    rows = []
    for seed, local, gained in ((0, 8.0, 10.0), (1, 9.0, 12.0)):
        task = {"data": "cifar100-20k", "shots": 2, "seed": seed, "peak_mib": 900 + seed}
        none = {"cloud_seconds": 0.0, "pairs": 0, "bytes_down": 0}
        rows.append(task | none | {"arm": "local only", "accuracy": local, "seconds": 20.0 + 20 * seed})
        cost = {"cloud_seconds": 5.0, "pairs": 21_000 + seed, "bytes_down": 7_990_000}
        rows.append(task | cost | {"arm": "encoder, 8 MB", "accuracy": gained, "seconds": 60.0 + 40 * seed})
    rows.append(rows[-1] | {"seed": 9, "accuracy": 99.0})  # no local run to compare with
    assert budgets.table(rows).splitlines()[2:] == [
        "| cifar100-20k | 2 | local only | 2 | 8.50 ± 6.36 |  | 0 | 0.00 | 30 | 1.0 | 0 | 901 |",
        "| cifar100-20k | 2 | encoder, 8 MB | 2 | 11.00 ± 12.71 | +2.50 ± 6.36 | 21,000 | 7.99 | 80 | 2.8 | 5 | 901 |",
    ]
