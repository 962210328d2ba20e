"""The benchmark's own arithmetic; its measurements take minutes."""

from __future__ import annotations

from support.markdown_table import cells

from benchmarks.accuracy import warm_start


def test_leads_are_over_local_training_on_the_same_seeds() -> None:
    rows = [
        {"arm": "local", "accuracy": 8.0, "edge_seconds": 20.0, "bytes_down": 0},
        {"arm": "warm start, latent, 0 steps", "accuracy": 12.0, "edge_seconds": 30.0, "bytes_down": 1_430_000},
        {"arm": "warm start, latent, 0 steps", "accuracy": 10.0, "edge_seconds": 30.0, "bytes_down": 1_430_000}
        | {"images": 20_000},
    ]
    rows = [row | {"seed": seed, "shots": 2, "cloud_seconds": 1.0} for seed in (101, 102) for row in rows]
    rows[1]["accuracy"] = 14.0
    assert cells(warm_start.table(rows)) == [
        ["2", "local", "2", "8.00 ± 0.00", "", "", "20", "0"],
        ["2", "warm start, latent, 0 steps", "2", "13.00 ± 12.71", "+5.00 ± 12.71", "+62%", "30", "1,430,000"],
        [
            "2",
            "warm start, latent, 0 steps, 20,000 images",
            "2",
            "10.00 ± 0.00",
            "+2.00 ± 0.00",
            "+25%",
            "30",
            "1,430,000",
        ],
    ]
