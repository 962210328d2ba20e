"""What a round costs: bytes within what was asked for, and the table's rate from a row's own numbers."""

from __future__ import annotations

from benchmarks.speed import cloud_round


def test_a_row_has_what_came_of_a_round() -> None:
    row = cloud_round.measure("random", 3, 16, 1, 5_000)
    assert 1_000 < row["bytes_down"] <= 5_000
    assert row["pairs"] > 3
    assert row["seconds"] > 0
    line = cloud_round.table([row | {"kind": "small", "pairs": 1_500, "seconds": 0.5}]).splitlines()[-1]
    assert line == f"| small | 1,500 | {row['bytes_down']:,} | 0.50 | 3,000 |"
