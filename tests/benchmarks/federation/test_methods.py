"""The benchmark's own arithmetic; its measurements take hours."""

from __future__ import annotations

from support.markdown_table import cells

from benchmarks.federation import methods


def test_methods_are_compared_in_pairs_by_seed() -> None:
    traffic = {"bytes_up": 5_000, "bytes_down": 20_000, "bytes_broadcast": 1_000, "numbers_up": 1, "numbers_down": 2}
    base = {"setting": "dirichlet cnn4", "rounds": 10, "local_epochs": 1, "last": 20.0, "worst": 5.0, "seconds": 7.0}
    rows = []
    for seed, (local, ktl) in enumerate([(30.0, 34.0), (32.0, 38.0), (28.0, 36.0)]):
        rows += [base | traffic | {"seed": seed, "arm": a, "best": v} for a, v in (("fedktl", ktl), ("local", local))]
    carried = ["20.00 ± 0.00", "5.00 ± 0.00", "7.0", "5,000", "20,000", "1,000"]
    assert cells(methods.TABLES["all"](rows)) == [
        ["dirichlet cnn4, 10 rounds x 1", "local", "3", "30.00 ± 4.97", "+6.00 ± 4.97", *carried],
        ["dirichlet cnn4, 10 rounds x 1", "fedktl", "3", "36.00 ± 4.97", "", *carried],
    ]
