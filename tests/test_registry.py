from __future__ import annotations

import collections

import pytest

from ktl.alignment import ALIGNMENTS
from ktl.errors import UsageError
from ktl.models import MODELS
from ktl.objectives import TRANSFERS
from ktl.registry import Registry

CONTAINERS = Registry(
    "container",
    "ktl.test_containers",
    {
        "ordered": ("collections:OrderedDict", "a dict that keeps its order"),
        "counter": ("collections:Counter", "a dict that counts"),
        "broken": ("no_such_module:Nothing", "cannot be imported"),
    },
)


def test_names_are_in_the_order_of_the_registry() -> None:
    assert CONTAINERS.names() == ["ordered", "counter", "broken"]


def test_a_name_has_a_summary_and_a_thing() -> None:
    assert CONTAINERS.summary("counter") == "a dict that counts"
    assert CONTAINERS.check("counter") == "counter"
    assert CONTAINERS.load("counter") is collections.Counter


@pytest.mark.parametrize("name", ["", "Counter", "count", "collections:Counter"])
def test_an_unknown_name_is_refused_with_the_choices(name: str) -> None:
    for look_up in (CONTAINERS.check, CONTAINERS.summary, CONTAINERS.load):
        with pytest.raises(UsageError) as refused:
            look_up(name)
        assert str(refused.value) == f"unknown container {name!r}: choose one of ordered, counter, broken"


def test_an_entry_is_imported_only_when_it_is_loaded() -> None:
    assert CONTAINERS.check("broken") == "broken"
    with pytest.raises(ModuleNotFoundError):
        CONTAINERS.load("broken")


@pytest.mark.parametrize(
    ("registry", "name"),
    [(registry, name) for registry in (ALIGNMENTS, MODELS, TRANSFERS) for name in registry.names()],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_every_strategy_of_ktl_can_be_loaded_and_says_what_it_is(registry: Registry, name: str) -> None:
    assert callable(registry.load(name))
    assert len(registry.summary(name)) > 10


@pytest.mark.parametrize("registry", [ALIGNMENTS, MODELS, TRANSFERS], ids=lambda registry: registry.kind)
def test_an_unknown_strategy_of_ktl_is_refused_with_the_choices(registry: Registry) -> None:
    with pytest.raises(UsageError) as refused:
        registry.load("none-such")
    assert str(refused.value).endswith("choose one of " + ", ".join(registry.names()))
