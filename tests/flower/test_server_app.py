"""What a run's configuration says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from ktl.errors import UsageError
from ktl.flower.server_app import served_by
from ktl.settings import flat

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

APP = Path(__file__).resolve().parents[2] / "examples" / "flower" / "pyproject.toml"


def app_config() -> dict[str, Any]:
    """What the app's own file says where nothing is replaced, as Flower hands it over."""
    return flat(tomllib.loads(APP.read_text())["tool"]["flwr"]["app"]["config"])


def test_the_app_s_own_configuration_is_a_federation() -> None:
    served = served_by(app_config() | {"out": "/srv/runs/first"})
    assert served.out == Path("/srv/runs/first")
    assert (served.wait_seconds, served.answer_seconds) == (600.0, 600.0)
    config = served.config
    assert (config.method.name, config.rounds, config.partition.clients) == ("fedktl", 5, 3)  # type: ignore[union-attr]
    assert (config.training.steps, config.transfer.settings.warmup_steps) == (200, 200)  # type: ignore[union-attr]
    assert (config.deadline, config.image_size, config.secure_aggregation) == (None, None, False)


def test_further_settings_and_a_deadline() -> None:
    more = {"settings": "training.batch=16 cloud.pairs_per_class=none", "deadline": 30.0, "method": "local"}
    served = served_by(app_config() | {"out": "run"} | more)
    assert (served.config.training.batch, served.config.cloud.pairs_per_class) == (16, None)
    assert served.answer_seconds == 90.0  # a minute more than a client may train
    assert served.out.is_absolute()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "the run has no folder"),
        ({"out": "run", "settings": "rounds"}, "give name=value"),
        ({"out": "run", "settings": "round=3"}, "round"),
        ({"out": "run", "rounds": 0}, "rounds is 0"),
        ({"out": "run", "secure_aggregation": True, "method": "fml"}, "not fml: give --method fedktl"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        served_by(app_config() | values)
