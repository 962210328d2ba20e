from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from ktl.config import GeneratorTrainingConfig

from ktl.data.settings import DataConfig
from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError, UsageError
from ktl.learning.settings import RECIPES
from ktl.loop.folder import load_config, save_config
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS

CONFIGS = [
    RunConfig(),
    RunConfig(
        data=DataConfig(source="pictures/of birds", shots=5, ways=7, image_size=64),
        training=RECIPES["published"],
        transfer=TRANSFERS["mse"],
        cloud=CloudConfig(alignment="published", pairs_per_class=3),
        transfer=None,
        seed=2**31 - 1,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_run_config_survives_exactly(tmp_path: Path, config: RunConfig) -> None:
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path, RunConfig) == config


def test_a_flat_config_survives_exactly(tmp_path: Path) -> None:
    config = GeneratorTrainingConfig(images=1_000, gamma=0.1)
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path, GeneratorTrainingConfig) == config


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        load_config(tmp_path, RunConfig)
    assert str(refused.value) == f"there is no run at {tmp_path}: config.json is missing"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"seed": 1', "Expecting"),
        ("[]", "start the run anew"),
        ("null", "start the run anew"),
        ('{"colour": 1}', "'colour'"),
        ('{"data": {"colour": 1}}', "'colour'"),
        ('{"data": null}', "start the run anew"),
        ('{"rounds": "three"}', "start the run anew"),
        ("\x00\x01", "start the run anew"),
    ],
)
def test_a_damaged_config_is_refused_by_path(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(CheckpointError) as refused:
        load_config(path, RunConfig)
    assert str(refused.value).startswith(f"{path} is damaged or from another ktl (")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_in_place_of_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is damaged or from another ktl"):
        load_config(tmp_path, RunConfig)


@pytest.mark.parametrize("rounds", [0, -1])
def test_less_than_one_round_is_refused(rounds: int) -> None:
    with pytest.raises(UsageError, match=f"--rounds is {rounds}: at least 1 is needed"):
        RunConfig(rounds=rounds)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_bounds_is_refused(seed: int) -> None:
    with pytest.raises(UsageError, match=f"--seed is {seed}: give 0 to 2147483647"):
        replace(RunConfig(), seed=seed)


def test_a_saved_config_shows_every_setting(tmp_path: Path) -> None:
    save_config(RunConfig(), tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text()) == asdict(RunConfig())


def test_reading_settings_imports_no_torch() -> None:
    code = "import sys, ktl.config, ktl.registry, ktl.data; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "False\n"
