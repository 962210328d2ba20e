"""Flower's simulation on Ray: the numbers and the folder of the processes of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from support.small_fleet import states, without_seconds

from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.flower.simulation import simulate
from ktl.methods import METHODS

KTL = Path(sys.executable).parent / "ktl"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS.names())
def test_virtual_nodes_end_with_the_bits_of_one_process(
    plain: FederationConfig, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = replace(plain, method=method)
    there = simulate(config, tmp_path / "there", workers=1)
    here = federate(config, tmp_path / "here", workers=0)
    assert without_seconds(there.rows) == without_seconds(here.rows)
    found, expected = (states([tmp_path / where / "clients"] * 2, version=2) for where in ("there", "here"))
    for own, state in zip(found, expected, strict=True):
        assert [name for name in state if not torch.equal(own[name], state[name])] == []
    names = [file.name for file in (tmp_path / "there" / "clients").glob("*.safetensors")]
    assert sorted(names) == ["client-0.2.safetensors", "client-1.2.safetensors"]


@pytest.mark.slow
def test_five_virtual_nodes_add_up_securely(plain: FederationConfig, tmp_path: Path) -> None:
    words = f"federate --data {plain.source} --method fedktl --clients 5 --partition iid --rounds 1 --steps 4 --seed 1"
    generator = ["--generator", str(plain.cloud.generator.name)]  # type: ignore[union-attr]
    command = [KTL, *words.split(), *generator, "--engine", "flower", "--secure-aggregation", "--json"]
    done = subprocess.run([*command, "--out", tmp_path / "run"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fedktl"]["last"][0] > 0
    files = sorted(file.name for file in (tmp_path / "run" / "fedktl" / "wire").glob("*statistics*"))
    assert files == ["round-001-statistics-0.safetensors"]
