"""The dependency rule: imports point down, and edge and cloud know each other only through the wire."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# single files, which every room may import, and those that import other single files or none
SINGLE = {
    *("errors", "files", "formatting", "machine", "seeds", "settings", "registry", "run_folder", "checkpoint"),
    *("etf", "prototypes", "class_indices", "class_statistics", "statistics_noise", "noise_settings"),
    *("pairs", "protocol", "intervals", "file_kinds", "source_options", "class_agreement", "field_annotations"),
    "cooldown",
}
LEAVES = SINGLE | {"wire"}
ALLOWED = {
    "wire": LEAVES,
    "data": LEAVES | {"data"},
    "models": LEAVES | {"models"},
    "objectives": LEAVES | {"objectives", "models"},
    "shared_space": LEAVES | {"shared_space"},
    "generators": LEAVES | {"generators", "encoders", "models", "data"},
    "encoders": LEAVES | {"encoders", "data", "models", "objectives"},
    "spaces": LEAVES | {"spaces", "encoders", "generators"},
    "alignment": LEAVES | {"alignment", "generators", "spaces"},
    "warm_start": LEAVES
    | {"warm_start", "encoders", "generators", "spaces", "learning", "objectives", "models", "data"},
    "learning": LEAVES | {"learning", "objectives", "models", "data"},
    # of generators, alignments and spaces the next two know what a run's configuration names
    "methods": LEAVES | {"methods", "learning", "objectives", "models", "data", "shared_space", "alignment"},
    "loop": LEAVES | {"loop", "methods", "learning", "models", "data", "generators", "alignment", "spaces"},
    "edge": LEAVES | {"edge", "loop", "methods", "learning", "models", "data"},
    "report": LEAVES | {"report", "edge"},
    "cloud": LEAVES | {"cloud", "alignment", "generators", "spaces", "data", "warm_start"},
    "ray": LEAVES | {"ray", "cloud", "generators", "spaces"},
    "federation": LEAVES
    | {"federation", "cloud", "loop", "methods", "learning", "objectives", "models", "data", "generators", "spaces"}
    | {"edge", "shared_space"}  # to export a client as an edge
    | {"warm_start", "alignment"},
    "flower": LEAVES
    | {"flower", "federation", "loop", "methods", "learning", "models", "data", "objectives", "alignment"},
}
# within a room that has rooms of its own: which may import which; "" is what lies in the room itself
INNER = {
    "edge": {"onnx": set(), "network": set(), "inference": set(), "": {"onnx", "inference"}, "export": {"", "onnx"}},
    "generators": {
        "networks": set(),
        "": {"networks", "official", "diffusion", "pool"},  # a registry loads what it lists, when it is asked for
        "official": {"", "networks"},
        "diffusion": set(),
        "pool": set(),
        "training": {"", "networks"},
    },
    "encoders": {"": set(), "training": {""}},
}


def imported_modules(file: Path) -> Iterator[str]:
    """Every module of ktl that a file imports, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"ktl.{alias.name}" for alias in node.names] if node.module == "ktl" else [node.module or ""]
        yield from (name for name in names if name.startswith("ktl."))


def rooms_of(files: Iterator[Path]) -> set[str]:
    return {module.split(".")[1] for file in files for module in imported_modules(file)}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    assert list((ROOT / "ktl" / room).rglob("*.py"))
    assert rooms_of((ROOT / "ktl" / room).rglob("*.py")) <= ALLOWED[room]


def test_rooms_import_each_other_in_no_circle() -> None:
    """Whatever ALLOWED says: taken one after the other, each room needs only those before it."""
    needs = {room: rooms_of((ROOT / "ktl" / room).rglob("*.py")) - SINGLE - {room} for room in ALLOWED}
    placed: set[str] = set()
    while ready := {room for room in needs if room not in placed and needs[room] <= placed}:
        placed |= ready
    assert placed == set(ALLOWED)


def test_modules_import_each_other_in_no_circle() -> None:
    """As they are loaded, and for their types; a registry loads what it lists only when it is asked for."""
    files = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in (ROOT / "ktl").rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in files.items() if name != "ktl.__init__"}
    needs = {name: set(loaded_with(file)) & modules.keys() - {name} for name, file in modules.items()}
    placed: set[str] = set()
    while ready := {name for name in needs if name not in placed and needs[name] <= placed}:
        placed |= ready
    assert sorted(needs.keys() - placed) == []


def loaded_with(file: Path) -> Iterator[str]:
    """The modules that a file imports outside of functions, packages and what lies in them."""
    body = ast.parse(file.read_text()).body
    for node in [*body, *(inner for outer in body if isinstance(outer, ast.If) for inner in outer.body)]:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("room", "inner"), [(room, inner) for room, rules in INNER.items() for inner in rules])
def test_an_inner_room_imports_only_what_it_may(room: str, inner: str) -> None:
    folder = ROOT / "ktl" / room / inner
    files = folder.glob("*.py") if inner == "" else folder.rglob("*.py")
    own = [module.split(".") for file in files for module in imported_modules(file)]
    inner_rooms = {parts[2] if parts[2] in INNER[room] else "" for parts in own if parts[1] == room and len(parts) > 2}
    assert inner_rooms - {inner} <= INNER[room][inner]


def test_single_files_import_no_room() -> None:
    for name in sorted(SINGLE):
        assert rooms_of(iter([ROOT / "ktl" / f"{name}.py"])) <= SINGLE, name


def test_every_room_and_every_single_file_has_a_rule() -> None:
    assert {path.parent.name for path in (ROOT / "ktl").glob("*/__init__.py")} == set(ALLOWED)
    assert {path.stem for path in (ROOT / "ktl").glob("*.py")} == SINGLE | {"__init__"}
    for room, rules in INNER.items():
        assert {path.parent.name for path in (ROOT / "ktl" / room).glob("*/__init__.py")} == set(rules) - {""}


def test_the_library_never_imports_the_command_line() -> None:
    for file in (ROOT / "ktl").rglob("*.py"):
        names = [node.names for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import)]
        modules = {alias.name.split(".")[0] for aliases in names for alias in aliases}
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
        assert modules.isdisjoint({"cli", "ktl_cli"}), file


def test_files_and_functions_fit_a_screen_or_a_sitting() -> None:
    """At most 300 lines per file and 40 per function, so that each is read from top to bottom."""
    for file in (file for folder in ("ktl", "cli", "benchmarks") for file in (ROOT / folder).rglob("*.py")):
        text = file.read_text()
        assert len(text.splitlines()) <= 300, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 40, f"{file}: {node.name}"


def test_no_two_files_share_a_name_unless_they_mean_the_same() -> None:
    """A file's name is enough to find it: these few recur because they hold the same thing for another room."""
    same_meaning = {"__init__", "__main__", "base", "settings", "run", "pairs", "prototypes", "pooling", "rounds"}
    same_meaning |= {"warm_starts", "steering"}
    stems = [file.stem for file in (ROOT / "ktl").rglob("*.py") if "migrations" not in file.parts]
    assert sorted({stem for stem in stems if stems.count(stem) > 1} - same_meaning) == []
