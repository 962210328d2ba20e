"""The benchmark's own arithmetic; its measurements take minutes."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Printed

OTHER = "warm start, latent, 0 steps of 20,000 images"


def test_leads_are_over_local_training_on_the_same_seeds(printed: Printed, tmp_path: Path) -> None:
    rows = [
        {"arm": "local", "accuracy": 8.0, "edge_seconds": 20.0, "bytes_down": 0},
        {"arm": "warm start, latent, 0 steps", "accuracy": 12.0, "edge_seconds": 30.0, "bytes_down": 1_430_000},
        {"arm": "warm start, latent, 0 steps", "accuracy": 10.0, "edge_seconds": 30.0, "bytes_down": 1_430_000}
        | {"images": 20_000},
    ]
    rows = [row | {"seed": seed, "shots": 2, "cloud_seconds": 1.0} for seed in (101, 102) for row in rows]
    rows[1]["accuracy"] = 14.0
    out = tmp_path / "results.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = printed("warm_start", "table", "--out", out)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["2", "local", "2", "8.00 ± 0.00", "", "", "20", "0"],
        ["2", "warm start, latent, 0 steps", "2", "13.00 ± 12.71", "+5.00 ± 12.71", "+62%", "30", "1,430,000"],
        [
            "2",
            "warm start, latent, 0 steps of 20,000 images",
            "2",
            "10.00 ± 0.00",
            "+2.00 ± 0.00",
            "+25%",
            "30",
            "1,430,000",
        ],
    ]
