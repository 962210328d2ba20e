"""The benchmark's own arithmetic."""

from __future__ import annotations

from support.markdown_table import cells

from benchmarks.accuracy import photographs


def test_leads_are_over_the_same_network_s_local_training_by_seed() -> None:
    rows = [
        {"arm": arm, "seed": seed, "accuracy": accuracy + seed, "edge_seconds": 5.0, "bytes_down": 1000}
        | {"model_bytes": 5000, "milliseconds": 1.25}
        for seed in (1, 2)
        for arm, accuracy in (("small, local", 20.0), ("small, pairs", 22.0), ("local", 30.0), ("warm start", 45.0))
    ]
    rows.append({"arm": "nearest mean, builtin", "seed": 1, "accuracy": 50.0})
    found = cells(photographs.table([row | {"ways": 10, "shots": 5} for row in rows]))
    assert [line[1:5] for line in found] == [
        ["small, local", "2", "21.50 ± 6.36", ""],
        ["small, pairs", "2", "23.50 ± 6.36", "+2.00 ± 0.00"],
        ["local", "2", "31.50 ± 6.36", ""],
        ["warm start", "2", "46.50 ± 6.36", "+15.00 ± 0.00"],
        ["nearest mean, builtin", "1", "50.00", "+19.00"],
    ]
    assert found[0][5:] == ["5", "1,000", "5,000", "1.2"]
    assert found[-1][5:] == ["", "", "", ""]
