from __future__ import annotations

import collections
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pytest
from support.plugin import installed

from ktl.alignment import ALIGNMENTS
from ktl.alignment.robust import RobustAlignment
from ktl.errors import UsageError
from ktl.methods import METHODS
from ktl.models import MODELS
from ktl.objectives import TRANSFERS
from ktl.objectives.mse import RegressionSettings
from ktl.registry import Choice, Registry, chosen, imported, is_import_path
from ktl.settings import Meta, NoSettings, Settings


@dataclass(frozen=True)
class BoxSettings(Settings):
    """Of a box."""

    width: Annotated[int, Meta(ge=1, description="Centimetres.")] = 10
    lid: bool = True


class Box:
    """A container with settings.

    And more to say.
    """

    Settings = BoxSettings


def unwrapped(name: str, loaded: Any) -> Any:
    if loaded is None:
        raise UsageError(f"container {name!r} is none: give a container")
    return loaded


CONTAINERS = Registry(
    "container",
    "ktl.test_containers",
    {
        "ordered": ("collections:OrderedDict", "a dict that keeps its order"),
        "counter": ("collections:Counter", "a dict that counts"),
        "box": (f"{__name__}:Box", "something to put things into"),
        "broken": ("no_such_module:Nothing", "cannot be imported"),
    },
    adapt=f"{__name__}:unwrapped",
)
NAMES = ["ordered", "counter", "box", "broken"]
EVERY = [ALIGNMENTS, METHODS, MODELS, TRANSFERS]


def test_names_are_in_the_order_of_the_registry() -> None:
    assert CONTAINERS.names() == CONTAINERS.builtin() == NAMES


def test_a_name_has_a_summary_and_a_thing() -> None:
    assert CONTAINERS.summary("counter") == "a dict that counts"
    assert CONTAINERS.check("counter") == CONTAINERS.check_installed("counter") == "counter"
    assert CONTAINERS.load("counter") is collections.Counter


@pytest.mark.parametrize("name", ["", "Counter", "count", "counter ", "a module:Class", "module:", ":Class", "m:a-b"])
def test_an_unknown_name_is_refused_with_the_choices(name: str) -> None:
    choices = f"unknown container {name!r}: choose one of ordered, counter, box, broken"
    for look_up in (CONTAINERS.check, CONTAINERS.summary, CONTAINERS.load, CONTAINERS.choose, CONTAINERS.resolve):
        with pytest.raises(UsageError) as refused:
            look_up(name)
        assert str(refused.value) == f"{choices}, or module:Class"


@pytest.mark.parametrize("name", ["none-such", "collections:Counter", "os:system"])
def test_a_stranger_may_name_what_is_installed_alone(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        CONTAINERS.check_installed(name)
    assert str(refused.value) == f"unknown container {name!r}: choose one of ordered, counter, box, broken"


def test_an_entry_is_imported_only_when_it_is_loaded() -> None:
    assert CONTAINERS.check("broken") == "broken"
    with pytest.raises(ModuleNotFoundError):
        CONTAINERS.load("broken")


def test_a_class_of_the_users_own_is_named_by_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_containers.py").write_text('class Bag:\n    """A bag.\n\n    For much."""\n\n\nNothing = None\n')
    monkeypatch.chdir(tmp_path)
    assert CONTAINERS.check("my_containers:Bag") == "my_containers:Bag"
    assert CONTAINERS.load("my_containers:Bag") is imported("my_containers:Bag")
    assert CONTAINERS.summary("my_containers:Bag") == "A bag."
    assert CONTAINERS.choose("my_containers:Bag") == Choice("my_containers:Bag", NoSettings())
    with pytest.raises(UsageError, match="container 'my_containers:Nothing' is none: give a container"):
        CONTAINERS.load("my_containers:Nothing")
    for name, reason in (("my_containers:Sack", "no attribute 'Sack'"), ("my_sacks:Bag", "No module named 'my_sacks'")):
        with pytest.raises(UsageError) as refused:
            CONTAINERS.load(name)
        assert str(refused.value).startswith(f"cannot load container {name!r} (")
        assert reason in str(refused.value)
        assert str(refused.value).endswith("; give an importable module:Class")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a:B", True), ("a.b:C", True), ("a", False), ("a:", False), (":B", False), ("a..b:C", False), ("a:b.c", False)],
)
def test_an_import_path_is_a_module_and_a_name(name: str, is_one: bool) -> None:
    assert is_import_path(name) is is_one


def test_another_packages_choices_come_after_ktls_own(tmp_path: Path) -> None:
    entries = {"sack": "somebodys_sacks:Sack", "crate": "somebodys_sacks:Crate", "counter": "somebodys_sacks:Sack"}
    source = 'class Sack:\n    """A sack."""\n\n\nclass Crate:\n    pass\n\n\n'
    with installed(tmp_path, CONTAINERS, entries | {"hole": "somebodys_sacks:nothing"}, somebodys_sacks=source):
        assert CONTAINERS.names() == [*NAMES, "crate", "hole", "sack"]
        assert CONTAINERS.builtin() == NAMES
        assert CONTAINERS.check_installed("sack") == "sack"
        assert CONTAINERS.load("sack").__name__ == "Sack"
        assert (CONTAINERS.summary("sack"), CONTAINERS.summary("crate")) == ("A sack.", "no description")
        assert CONTAINERS.load("counter") is collections.Counter  # ktl's own name wins
        with pytest.raises(UsageError, match=r"cannot load container 'hole' \(.*'nothing'\); give an importable"):
            CONTAINERS.load("hole")
        with pytest.raises(UsageError, match=r"broken, crate, hole, sack$"):
            CONTAINERS.check_installed("bag")
    assert CONTAINERS.names() == NAMES


def test_entry_points_are_those_of_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("text", "builtins:str", group)]

    monkeypatch.setattr("ktl.registry.entry_points", points)
    registry = Registry("thing", "ktl.test_things", {})
    assert registry.names() == ["text"]
    assert registry.load("text") is str
    assert asked == ["ktl.test_things"]  # looked for once


def test_a_choice_has_its_default_settings_but_for_those_that_are_given() -> None:
    assert CONTAINERS.choose("box") == Choice("box", BoxSettings())
    assert CONTAINERS.choose("box", width=3) == Choice("box", BoxSettings(width=3))
    assert CONTAINERS.choose("counter") == Choice("counter", NoSettings())
    assert CONTAINERS.parse("box") == Choice("box", BoxSettings())
    assert CONTAINERS.parse("box?width=3&lid=false") == Choice("box", BoxSettings(width=3, lid=False))
    assert CONTAINERS.settings_of("box") is BoxSettings
    assert CONTAINERS.settings_of("ordered") is NoSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "width is 0: give a whole number of at least 1"),
        ({"width": "3"}, "width is '3': give a whole number of at least 1"),
        ({"depth": 3}, "'depth' is no setting of BoxSettings: choose one of width, lid"),
        ({"name": 3}, "'name' is no setting of BoxSettings: choose one of width, lid"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    for choose in (
        lambda: CONTAINERS.choose("box", **values),
        lambda: CONTAINERS.resolve(Choice("box", values)),
    ):
        with pytest.raises(UsageError) as refused:
            choose()
        assert str(refused.value) == message


@pytest.mark.parametrize(
    "written", ["box", Choice("box"), Choice("box", {}), Choice("box", {"lid": True}), Choice("box", BoxSettings())]
)
def test_all_ways_to_write_a_choice_resolve_to_one(written: Choice | str) -> None:
    assert CONTAINERS.resolve(written) == Choice("box", BoxSettings())
    assert chosen(CONTAINERS.resolve(written)).settings.width == 10


def test_settings_of_another_choice_are_refused() -> None:
    with pytest.raises(UsageError) as refused:
        CONTAINERS.resolve(Choice("counter", BoxSettings()))
    assert str(refused.value) == "container 'counter' has settings of BoxSettings: give NoSettings"
    with pytest.raises(UsageError, match="alignment 'robust' has settings of RegressionSettings: give Settings"):
        ALIGNMENTS.resolve(Choice("robust", RegressionSettings()))
    assert ALIGNMENTS.resolve(Choice("robust", RobustAlignment.Settings(spread=0.5))).settings.spread == 0.5


@pytest.mark.parametrize(
    ("registry", "name"),
    [(registry, name) for registry in EVERY for name in registry.builtin()],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_every_strategy_of_ktl_can_be_loaded_and_says_what_it_is(registry: Registry, name: str) -> None:
    assert callable(registry.load(name))
    assert len(registry.summary(name)) > 10
    assert isinstance(registry.choose(name).settings, registry.settings_of(name))


@pytest.mark.parametrize("registry", EVERY, ids=lambda registry: registry.kind)
def test_an_unknown_strategy_of_ktl_is_refused_with_the_choices(registry: Registry) -> None:
    with pytest.raises(UsageError) as refused:
        registry.load("none-such")
    known = f"unknown {registry.kind} 'none-such': choose one of {', '.join(registry.names())}"
    assert str(refused.value) == f"{known}, or module:Class"


@pytest.mark.parametrize(
    ("registry", "choice", "reason"),
    [
        (TRANSFERS, "collections:OrderedDict", "derived from ktl.objectives.pair_objective.PairObjective"),
        (TRANSFERS, "ktl.objectives.pair_objective:PairObjective", r"PairObjective' lacks loss\(\): define it"),
        (METHODS, "collections:OrderedDict", "derived from ktl.methods.base.Method"),
    ],
)
def test_what_is_no_complete_class_of_its_kind_is_refused(registry: Registry, choice: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        registry.load(choice)
