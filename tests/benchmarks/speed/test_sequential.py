"""The loop that ktl's engine is timed against does the same work: both end with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ktl.federation.run import federate

from .conftest import Names

METHODS = ["local", "fedproto", "fml", "fedktl"]


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_and_the_engine_end_with_the_same_weights(
    method: str, tiny_generator_file: Path, tmp_path: Path, names_in: Names
) -> None:
    """Latents are random here: half precision and WebP would magnify the rounding errors of prototypes."""
    benchmark = names_in("federation")
    assert sorted(benchmark.LOOPS) == sorted(METHODS)
    config = benchmark.configuration(method, rounds=2)
    config = replace(config, cloud=replace(config.cloud, generator=str(tiny_generator_file), alignment="random"))
    data = benchmark.shared_data(None, images=160, clients=2)
    (tmp_path / "loop").mkdir()
    _, accuracy, models = benchmark.LOOPS[method](config, data, tmp_path / "loop").run(threads=1)
    result = federate(config, tmp_path / "run", data=data, workers=0)
    assert benchmark.largest_distance(tmp_path / "run", models) < 1e-4
    assert result.rows[-1]["accuracy"] == pytest.approx(accuracy, abs=1 / 40)
