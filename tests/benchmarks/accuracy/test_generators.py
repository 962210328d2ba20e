"""One command from generator files to the table of what each is worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.official_files import OfficialWriter, golden_network

from ktl.generators.official.convert import convert_official

from .conftest import Printed


def cells(lines: list[str]) -> list[list[str]]:
    """The rows of a markdown table, without its two heading lines."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_generators_is_one_command(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Printed
) -> None:
    writer = OfficialWriter(monkeypatch, canary=tmp_path / "canary")
    official = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(*golden_network("stylegan3-t-32"))})
    convert_official(official, tmp_path / "converted.safetensors")
    out = tmp_path / "results.jsonl"
    quick = ["--steps", 4, "--warmup-steps", 4, "--download-budget", 30_000, "--threads", 1, "--seeds", 2]
    command = [f"Untrained={tmp_path / 'converted.safetensors'}", "--data", small_bundle, *quick, "--out", out]
    local, untrained = cells(printed("generators_transfer", *command))
    assert local[:5] == ["colours", "2", "local only", "", ""]
    assert (local[6], local[8]) == ("", "0")
    assert untrained[:5] == ["colours", "2", "Untrained", "StyleGAN3", "32"]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["generator"], row["seed"]) for row in rows] == [
        (name, seed) for name in ("local only", "Untrained") for seed in (0, 1)
    ]
    gains = [rows[2 + seed]["accuracy"] - rows[seed]["accuracy"] for seed in (0, 1)]
    half_width = 12.71 * abs(gains[0] - gains[1]) / 2  # Student's t with one degree of freedom
    assert untrained[6] == f"{sum(gains) / 2:+.2f} ± {half_width:.2f}"
    assert 10_000 < int(untrained[8].replace(",", "")) <= 30_000
    before = out.read_bytes()
    assert cells(printed("generators_transfer", *command)) == [local, untrained]
    assert out.read_bytes() == before  # nothing was measured again
