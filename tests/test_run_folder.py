"""What readers find in a run's folder; tests/edge/test_released_runs.py has runs of ktl 0.1.0."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ktl.alignment import ALIGNMENTS
from ktl.data.settings import DataConfig, PartitionConfig
from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError
from ktl.federation.settings import FederationConfig
from ktl.generators.training.settings import RelativisticConfig
from ktl.learning.settings import RECIPES
from ktl.loop.folder import RunFolder, load_config
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.objectives import TRANSFERS
from ktl.run_folder import is_federation, is_resumable, settings_table
from ktl.settings import Settings, as_table

RELEASED = Path(__file__).parent / "golden" / "released"


@pytest.mark.parametrize("config", [RunConfig(), RunConfig(transfer=None), FederationConfig(method="fedproto")])
def test_a_runs_settings_are_read_as_they_were_given(tmp_path: Path, config: Settings) -> None:
    RunFolder(tmp_path).start(config)
    assert settings_table(tmp_path) == as_table(config)
    assert is_resumable(tmp_path)
    assert is_federation(tmp_path) is isinstance(config, FederationConfig)


def test_runs_of_both_layouts_have_the_same_settings_in_the_same_form() -> None:
    for run, kind in (("finished", RunConfig), ("federation/fedproto", FederationConfig)):
        old, new = settings_table(RELEASED / run), as_table(kind())
        since = {"classifier", "fit", "noise", "secure_aggregation", "skip_damaged", "weights"}
        assert new.keys() - old.keys() <= since
        assert old.keys() <= new.keys()
        since = {"memory", "session", "space", "warm_start_images"}
        assert new["cloud"].keys() - old["cloud"].keys() == since
        assert old["training"].keys() == new["training"].keys()
        assert {type(old[name]) for name in old} == {type(new[name]) for name in old}
        assert old["cloud"]["alignment"] == {"name": "robust", "settings": {}}
        assert is_federation(RELEASED / run) is (kind is FederationConfig)
        assert not is_resumable(RELEASED / run)
    assert settings_table(RELEASED / "finished" / "local-only")["transfer"] is None


@pytest.mark.parametrize("text", [None, "", "[]", "null", "3", '{"layout": 3}', '{"layout": 1}', "\x00", "[" * 100_000])
def test_what_is_no_run_is_no_federation_and_cannot_be_resumed(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert not is_federation(tmp_path)
    assert not is_resumable(tmp_path)
    with pytest.raises(CheckpointError) as refused:
        settings_table(tmp_path)
    assert "config.json" in str(refused.value)
    assert "\n" not in str(refused.value)


RUNS: list[Settings] = [
    RunConfig(),
    RunConfig(
        data=DataConfig(source="pictures/of birds", shots=5, ways=7, image_size=64),
        training=RECIPES["published"],
        transfer=TRANSFERS.choose("mse", weight=7.0, anew_each_round=False),
        cloud=CloudConfig(
            "birds.safetensors", ALIGNMENTS.choose("published", epochs=3), pairs_per_class=3, url="https://example.org"
        ),
        rounds=3,
        seed=2**31 - 1,
    ),
    RunConfig(transfer=None, cloud=CloudConfig(alignment=ALIGNMENTS.choose("robust", spread=0.25))),
    RunConfig(transfer="contrastive", training=replace(RECIPES["tuned"], learning_rate=0.1 + 0.2, steps=7)),
    *[FederationConfig(method=name) for name in METHODS.builtin()],
    FederationConfig(
        method=METHODS.choose("fedtgp", weight=0.1, max_margin=3.0, epochs=2, batch=4, learning_rate=1e-5),
        image_size=16,
        partition=PartitionConfig("shots", clients=3, shots=4),
        models="cnn4,resnet4",
        join_ratio=0.3,
        drop_ratio=0.1,
        deadline=1.5,
        patience=2,
        transfer=TRANSFERS.choose("image-vector+contrastive", temperature=0.07, embedding_dim=8, warmup_batch=3),
        cloud=CloudConfig(alignment="random", image_format="png"),
    ),
    RelativisticConfig(images=1_000, gamma=0.1),
]


@pytest.mark.parametrize("config", RUNS)
def test_settings_survive_in_a_run_folder_exactly(tmp_path: Path, config: Settings) -> None:
    RunFolder(tmp_path / "run").start(config)
    assert load_config(tmp_path / "run", type(config)) == config
    RunFolder(tmp_path / "run").check(config, resume=True)


def test_a_saved_config_shows_every_setting(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(RunConfig())
    assert json.loads((tmp_path / "config.json").read_text()) == {"layout": 2} | as_table(RunConfig())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"seed": 1', "Expecting"),
        ("[]", "it is no table"),
        ("null", "it is no table"),
        ("\x00\x01", "Expecting value"),
        ("[" * 100_000, "recursion"),
        ('{"layout": 3}', "its layout is 3, this ktl reads 1 and 2"),
        ('{"layout": [2]}', "its layout is [2], this ktl reads 1 and 2"),
        ('{"colour": 1}', "'transfer'"),
        ('{"layout": 2, "colour": 1}', "'colour' is no setting of RunConfig"),
        ('{"layout": 2, "data": {"colour": 1}}', "'data.colour' is no setting of RunConfig"),
        ('{"layout": 2, "data": null}', "data is None: give a table of settings"),
        ('{"layout": 2, "rounds": "three"}', "rounds is 'three': give a whole number of at least 1"),
        ('{"layout": 2, "training": {"scale": NaN}}', "training.scale is nan: give a finite number above 0"),
        ('{"layout": 2, "transfer": {"name": "none-such"}}', "unknown transfer 'none-such'"),
        ('{"layout": 2, "cloud": {"download_budget": 20000}, "rounds": 2}', "download_budget is 20000: give at least"),
    ],
)
def test_a_damaged_config_is_refused_by_path(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(CheckpointError) as refused:
        load_config(tmp_path, RunConfig)
    assert str(refused.value).startswith(f"{path} is damaged or from another ktl (")
    assert str(refused.value).endswith("); start the run anew")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_run_and_a_folder_in_place_of_a_config_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        load_config(tmp_path, RunConfig)
    assert str(refused.value) == f"there is no run at {tmp_path}: config.json is missing"
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is damaged or from another ktl"):
        load_config(tmp_path, RunConfig)
