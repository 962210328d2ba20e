"""What readers find in a run's folder; tests/edge/test_released_runs.py has runs of ktl 0.1.0."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError
from ktl.federation.settings import FederationConfig
from ktl.loop.folder import RunFolder
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
        assert old.keys() == new.keys()
        assert old["cloud"].keys() == new["cloud"].keys()
        assert old["training"].keys() == new["training"].keys()
        assert {type(old[name]) for name in old} == {type(new[name]) for name in new}
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
