"""The benchmark's own arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Printed


def test_leads_are_over_the_same_network_s_local_training_by_seed(printed: Printed, tmp_path: Path) -> None:
    rows = [
        {"arm": arm, "seed": seed, "accuracy": accuracy + seed, "edge_seconds": 5.0, "bytes_down": 1000}
        | {"model_bytes": 5000, "milliseconds": 1.25}
        for seed in (1, 2)
        for arm, accuracy in (("small, local", 20.0), ("small, pairs", 22.0), ("local", 30.0), ("warm start", 45.0))
    ]
    rows.append({"arm": "nearest mean, builtin", "seed": 1, "accuracy": 50.0})
    out = tmp_path / "results.jsonl"
    out.write_text("".join(json.dumps(row | {"ways": 10, "shots": 5}) + "\n" for row in rows))
    lines = printed("photographs", "table", "--out", out)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [line[1:5] for line in cells] == [
        ["small, local", "2", "21.50 ± 6.36", ""],
        ["small, pairs", "2", "23.50 ± 6.36", "+2.00 ± 0.00"],
        ["local", "2", "31.50 ± 6.36", ""],
        ["warm start", "2", "46.50 ± 6.36", "+15.00 ± 0.00"],
        ["nearest mean, builtin", "1", "50.00", "+19.00"],
    ]
    assert cells[0][5:] == ["5", "1,000", "5,000", "1.2"]
    assert cells[-1][5:] == ["", "", "", ""]
