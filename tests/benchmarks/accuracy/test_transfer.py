"""The benchmark's own arithmetic; its measurements take hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Printed

TASK = "fashion 10-way 2-shot"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = []
    for seed, (local, ktl) in enumerate([(50.0, 54.0), (52.0, 58.0), (48.0, 56.0)]):
        for arm, accuracy, down in (("local only", local, 0), ("KTL (default)", ktl, 1_400_000)):
            rows.append({"task": TASK, "arm": arm, "seed": seed, "accuracy": accuracy, "seconds": 10.0})
            rows[-1] |= {"bytes_up": 0, "bytes_down": down, "peak_mib": 800 + seed}
    rows.append(rows[-1] | {"arm": "random latents", "seed": 9, "accuracy": 99.0})  # no local run to compare with
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_gains_are_paired_by_seed_with_their_interval(results: Path, printed: Printed) -> None:
    lines = printed("transfer", "table", "--out", results)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        [TASK, "local only", "3", "50.00 ± 4.97", "", "", "10", "0", "0", "802"],
        # gains 4, 6, 8: mean 6, standard deviation 2, so 4.30 * 2 / sqrt(3) either way
        [TASK, "KTL (default)", "3", "56.00 ± 4.97", "+6.00 ± 4.97", "+12%", "10", "0", "1,400,000", "802"],
    ]


TASKS = (TASK, "cifar100 100-way 2-shot")


@pytest.mark.parametrize(
    ("arms", "seeds", "options"),
    [
        (["local only", "KTL (default)", "random latents", "aligned, 2 rounds"], 5, []),
        (["published", "contrastive"], 2, ["--arms", "published", "contrastive", "--seeds", "2"]),
    ],
)
def test_a_cell_that_is_there_is_not_measured_again(
    results: Path, tmp_path: Path, printed: Printed, arms: list[str], seeds: int, options: list[str]
) -> None:
    row = json.loads(results.read_text().splitlines()[0])
    suite = [row | {"task": task, "arm": arm, "seed": seed} for task in TASKS for arm in arms for seed in range(seeds)]
    results.write_text("".join(json.dumps(row) + "\n" for row in suite))
    before = results.read_bytes()
    lines = printed("transfer", "run", "ablation", "--out", results, "--data-root", tmp_path, *options)
    assert (lines, results.read_bytes()) == ([], before)
