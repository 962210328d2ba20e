"""How settings are described, changed by name, and read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from ktl.data.settings import DataConfig
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.settings import TrainingConfig
from ktl.objectives import TRANSFERS
from ktl.settings import (
    Meta,
    Settings,
    as_table,
    describe,
    expected,
    flat,
    help_for,
    named_values,
    setting_at,
    value_of,
    with_values,
)


def test_values_replace_choices_first_and_then_what_is_set_in_them() -> None:
    changed = with_values(RunConfig(), {"transfer.weight": 2.0, "transfer": "mse", "training.batch": 16})
    assert changed == RunConfig(transfer=TRANSFERS.choose("mse", weight=2.0), training=TrainingConfig(batch=16))
    assert with_values(RunConfig(transfer=None), {"transfer": "mse"}) == RunConfig(transfer="mse")
    assert with_values(RunConfig(), {"transfer": None}) == RunConfig(transfer=None)
    table = {"name": "mse", "settings": {"weight": 3.0}}
    assert with_values(RunConfig(), {"transfer": table}) == RunConfig(transfer=TRANSFERS.choose("mse", weight=3.0))
    assert with_values(RunConfig(), {}) == RunConfig()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("none", None),
        ("mse", "mse"),
        ('"3"', "3"),
        ("", ""),
        ("module:Class", "module:Class"),
        ("NaN", "NaN"),
    ],
)
def test_a_text_of_the_command_line_becomes_a_value(text: str, value: Any) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


Count = Annotated[int, Meta(ge=1, description="How many.")]


@dataclass(frozen=True)
class Some(Settings):
    """One of everything."""

    count: Count = 3
    described: Annotated[Count, Meta(description="How many of these.")] = 4
    narrowed: Annotated[Annotated[int, Meta(ge=0)], Meta(le=9, description="A digit.")] | None = None
    optional: Annotated[Count | None, Meta(description="Perhaps.")] = None
    kind: Literal["one", "other"] = "one"
    switch: bool = False
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    file: Path | None = None
    inner: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True)
class Fewer(Some):
    """Another default."""

    count: int = 1


def test_a_class_describes_its_fields() -> None:
    assert [(each.name, each.default, each.expected, each.description, each.kind) for each in describe(Some)] == [
        ("count", 3, "a whole number of at least 1", "How many.", int),
        ("described", 4, "a whole number of at least 1", "How many of these.", int),
        ("narrowed", None, "a whole number of at least 0 and at most 9, or none", "A digit.", int),
        ("optional", None, "a whole number of at least 1, or none", "Perhaps.", int),
        ("kind", "one", "one of one, other", "", Literal["one", "other"]),
        ("switch", False, "true or false", "", bool),
        ("share", 0.5, "a number above 0 and below 1", "", float),
        ("file", None, "a path, or none", "", Path),
        ("inner", DataConfig(), "a table of settings", "", DataConfig),
    ]
    assert help_for(Some, "described") == "How many of these."
    assert expected(int) == "a whole number"
    assert expected(float | None) == "a number, or none"


@pytest.mark.parametrize(
    ("name", "value"), [("described", 0), ("narrowed", 10), ("narrowed", -1), ("optional", 0), ("count", 0)]
)
def test_bounds_that_are_said_in_parts_all_hold(name: str, value: int) -> None:
    for kind in (Some, Fewer):  # another default keeps the bounds
        with pytest.raises(UsageError, match=f"{name} is {value}: give a whole number of at least"):
            kind(**{name: value})
    assert Fewer().count == 1


def test_a_setting_is_found_by_its_dotted_name() -> None:
    assert setting_at(RunConfig, "training.batch").default == 32
    assert setting_at(RunConfig, "transfer").expected == "a name, or none"
    for path in ("colour", "data.colour", "colour.shots", "transfer.weight", "rounds.x"):
        with pytest.raises(LookupError):
            setting_at(RunConfig, path)


def test_a_flat_table_has_dotted_names() -> None:
    assert named_values(as_table(RunConfig(transfer=None, seed=3)))["transfer"] is None
    assert named_values(as_table(RunConfig()))["cloud.alignment.spread"] == 0.8
    assert named_values({"a": {"name": "x", "settings": {"b": 1}}, "c": {"d": 2}}) == {"a": "x", "a.b": 1, "c.d": 2}
    assert flat({"a": {"b": {"c": 1}, "d": {}}, "e": None}) == {"a.b.c": 1, "a.d": {}, "e": None}


def test_reading_settings_imports_no_torch() -> None:
    modules = "ktl.run_folder, ktl.data.settings, ktl.learning.settings, ktl.loop.settings, ktl.federation.settings, "
    modules += "ktl.registry, ktl.edge.settings, ktl.generators.training.settings, ktl.cloud.service.settings"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "False\n"
