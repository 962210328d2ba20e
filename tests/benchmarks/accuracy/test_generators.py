"""From generator files to the table of what each is worth."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from support.markdown_table import cells
from support.official_files import OfficialWriter, golden_network

from benchmarks.accuracy import generators
from ktl.generators.official.convert import convert_official


@pytest.mark.slow
def test_generators_are_compared_with_local_training_of_the_same_seeds(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = OfficialWriter(monkeypatch, canary=tmp_path / "canary")
    official = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(*golden_network("stylegan3-t-32"))})
    convert_official(official, tmp_path / "converted.safetensors")
    parser = argparse.ArgumentParser()
    generators.options(parser)
    quick = ["--steps", "4", "--warmup-steps", "4", "--download-budget", "30000", "--threads", "1", "--seeds", "2"]
    command = [f"Untrained={tmp_path / 'converted.safetensors'}", "--data", str(small_bundle), *quick]
    rows = [cell.key | cell.measure(*cell.arguments) for cell in generators.cells(parser.parse_args(command))]
    assert [(row["generator"], row["seed"]) for row in rows] == [
        (name, seed) for name in ("local only", "Untrained") for seed in (0, 1)
    ]
    local, untrained = cells(generators.table(rows))
    assert local[:5] == ["colours", "2", "local only", "", ""]
    assert (local[6], local[8]) == ("", "0")
    assert untrained[:5] == ["colours", "2", "Untrained", "StyleGAN3", "32"]
    gains = [rows[2 + seed]["accuracy"] - rows[seed]["accuracy"] for seed in (0, 1)]
    half_width = 12.71 * abs(gains[0] - gains[1]) / 2  # Student's t with one degree of freedom
    assert untrained[6] == f"{sum(gains) / 2:+.2f} ± {half_width:.2f}"
    assert 10_000 < int(untrained[8].replace(",", "")) <= 30_000
