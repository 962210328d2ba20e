from __future__ import annotations

from typing import Any

import pytest

from ktl.data.settings import DataConfig, PartitionConfig, most_shots
from ktl.errors import UsageError
from ktl.settings import Settings, as_table, describe, from_table


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (DataConfig, {"shots": 0}, "shots is 0: give a whole number of at least 1, 'all' or 'up to 20'"),
        (DataConfig, {"shots": 2.5}, "shots is 2.5: give a number or text"),
        (DataConfig, {"ways": 1}, "ways is 1: give a whole number of at least 2, or none"),
        (DataConfig, {"image_size": 3}, "image_size is 3: give a whole number of at least 4, or none"),
        (DataConfig, {"source": None}, "source is None: give text"),
        (PartitionConfig, {"kind": "other"}, "kind is 'other': give one of dirichlet, pathological, iid, shots"),
        (PartitionConfig, {"clients": 0}, "clients is 0: give a whole number of at least 1"),
        (PartitionConfig, {"beta": 0.0}, "beta is 0.0: give a number above 0"),
        (PartitionConfig, {"beta": float("nan")}, "beta is nan: give a finite number above 0"),
        (PartitionConfig, {"classes_per_client": 0}, "classes_per_client is 0: give a whole number of at least 1"),
        (PartitionConfig, {"shots": 0}, "shots is 0: give a whole number of at least 1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_where_it_is_given(
    kind: type[Settings], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        kind(**values)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("written", "kept", "most"), [("5", 5, 5), (5, 5, 5), ("All", "all", None), (" up  to 020", "up to 20", 20)]
)
def test_shots_are_a_number_or_words_that_a_run_keeps_in_one_form(
    written: int | str, kept: int | str, most: int | None
) -> None:
    config = DataConfig(shots=written)
    assert config.shots == kept
    assert most_shots(config.shots) == most
    assert from_table(DataConfig, as_table(config)) == config


@pytest.mark.parametrize("kind", [DataConfig, PartitionConfig])
def test_every_setting_says_what_it_is_for(kind: type[Settings]) -> None:
    assert all(setting.description for setting in describe(kind))
