"""The benchmark's own arithmetic; its measurements take hours."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from support.markdown_table import cells

from benchmarks.accuracy import transfer

TASK = "fashion 10-way 2-shot"


def test_gains_are_paired_by_seed_with_their_interval() -> None:
    rows = []
    for seed, (local, ktl) in enumerate([(50.0, 54.0), (52.0, 58.0), (48.0, 56.0)]):
        for arm, accuracy, down in (("local only", local, 0), ("KTL by pairs", ktl, 1_400_000)):
            rows.append({"task": TASK, "arm": arm, "seed": seed, "accuracy": accuracy, "seconds": 10.0})
            rows[-1] |= {"bytes_up": 0, "bytes_down": down, "peak_mib": 800 + seed}
    rows.append(rows[-1] | {"arm": "random latents", "seed": 9, "accuracy": 99.0})  # no local run to compare with
    assert cells(transfer.table(rows)) == [
        [TASK, "local only", "3", "50.00 ± 4.97", "", "", "10", "0", "0", "802"],
        # gains 4, 6, 8: mean 6, standard deviation 2, so 4.30 * 2 / sqrt(3) either way
        [TASK, "KTL by pairs", "3", "56.00 ± 4.97", "+6.00 ± 4.97", "+12%", "10", "0", "1,400,000", "802"],
    ]


@pytest.mark.parametrize(("arms", "seeds"), [(None, None), (["published", "contrastive"], 2)])
def test_a_suite_has_its_own_arms_and_seeds_unless_others_are_named(arms: list[str] | None, seeds: int | None) -> None:
    args = argparse.Namespace(suite="ablation", arms=arms, seeds=seeds, first_seed=100, data_root=Path(), threads=1)
    keys = [cell.key for cell in transfer.cells(args)]
    every = arms or ["local only", "KTL by pairs", "random latents", "aligned, 2 rounds"]
    wanted = [(task, arm, 100 + seed) for seed in range(seeds or 5) for task in TASKS for arm in every]
    assert sorted((key["task"], key["arm"], key["seed"]) for key in keys) == sorted(wanted)


TASKS = (TASK, "cifar100 100-way 2-shot")
