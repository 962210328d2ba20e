"""The tables; a measurement takes minutes."""

from __future__ import annotations

from support.markdown_table import cells

from benchmarks.federation import pooling
from benchmarks.lib.cells import Row

ACCURACIES = {"nothing": 9.0, "own": 9.0, "2 edges": 10.0, "5 edges": 13.0, "10 edges": 16.0, "20 edges": 18.0}


def rows() -> list[Row]:
    """Two seeds, the second half a point better and without the default arm."""
    shots = {"setting": "2 shots cnn4", "arm": "apart", "bytes_up": 1.0}
    default = {"setting": "2 shots cnn4", "arm": "default", "seed": 0, "default": 19.0, "seconds": 1.0}
    return [default] + [
        shots | {"seed": seed} | {name: value + seed / 2 for name, value in ACCURACIES.items()} for seed in (0, 1)
    ]


def test_a_lead_is_over_the_same_edges_when_they_pool_nothing() -> None:
    found = cells(pooling.TABLES["shots"](rows()))
    assert found[0] == ["nothing: each by its classifier", "9.25 ± 3.18", "", "", ""]
    assert found[5] == ["20", "18.25 ± 3.18", "+9.00 ± 0.00", "", ""]
    assert found[6][1:3] == ["19.00 (1 of 2 seeds)", "+10.00"]
    assert [line[1] for line in cells(pooling.TABLES["all"](rows()))] == ["default", *ACCURACIES]
    assert cells(pooling.TABLES["short"](rows()))[0][1:3] == ["9.25 ± 3.18", "10.25 ± 3.18"]


def test_what_the_other_architecture_adds_is_paired() -> None:
    both = {"setting": "2 shots cnn4,resnet4", "arm": "apart"}
    for model in ("cnn4", "resnet4"):
        both |= {f"{model}, nothing": 8.0, f"{model}, own kind": 16.0, f"{model}, all kinds": 17.0}
    tuning = both | {"seed": 0, "cnn4, all kinds": 99.0}  # seed 0 chose a setting
    measured = [both | {"seed": 1}, both | {"seed": 2, "cnn4, all kinds": 18.0}]
    found = cells(pooling.TABLES["two architectures"]([tuning, *measured]))
    assert found[-1] == ["what the other kind adds", "+1.50 ± 6.36", "+1.00 ± 0.00"]
    assert [line[4] for line in cells(pooling.TABLES["all"](measured))[:3]] == ["", "+8.00 ± 0.00", "+9.50 ± 6.36"]
