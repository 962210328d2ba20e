"""The loop that ktl's engine is timed against does the same work: both end with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.speed import engine
from ktl.federation.run import federate

METHODS = ["local", "fedproto", "fml", "fedktl"]


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_and_the_engine_end_with_the_same_weights(
    method: str, tiny_generator_file: Path, tmp_path: Path
) -> None:
    """Latents are random here: half precision and WebP would magnify the rounding errors of prototypes."""
    assert sorted(engine.LOOPS) == sorted(METHODS)
    config = engine.configuration(method, rounds=2)
    config = replace(config, cloud=replace(config.cloud, generator=str(tiny_generator_file), alignment="random"))
    data = engine.shared_data(engine.RANDOM, images=160, clients=2)
    (tmp_path / "loop").mkdir()
    _, accuracy, models = engine.LOOPS[method](config, data, tmp_path / "loop").run(threads=1)
    result = federate(config, tmp_path / "run", data=data, workers=0)
    assert engine.largest_distance(tmp_path / "run", models) < 1e-4
    assert result.rows[-1]["accuracy"] == pytest.approx(accuracy, abs=1 / 40)
