"""The benchmark's own arithmetic; its measurements take minutes."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Printed


def test_an_edge_s_seconds_are_a_share_of_those_with_pairs(printed: Printed, tmp_path: Path) -> None:
    rows = [
        {"arm": "pairs, latent", "accuracy": 10.0, "edge_seconds": 200.0, "bytes_down": 1_400_000},
        {"arm": "warm start, latent, 0 steps", "accuracy": 11.0, "edge_seconds": 50.0, "bytes_down": 1_430_000},
    ]
    rows[1]["images"] = 20_000
    rows = [row | {"seed": seed, "cloud_seconds": 1.0} for seed in (100, 101) for row in rows]
    out = tmp_path / "results.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = printed("warm_start", "table", "--out", out)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["pairs, latent", "", "", "2", "10.00 ± 0.00", "200", "1.00", "1,400,000"],
        ["warm start, latent, 0 steps", "", "20000", "2", "11.00 ± 0.00", "50", "0.25", "1,430,000"],
    ]
