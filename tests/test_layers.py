"""The dependency rule: imports point down, and edge and cloud know each other only through the wire."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SINGLE = {"errors", "config", "registry", "seeds", "checkpoint", "etf", "prototypes", "pairs", "protocol"}
LEAVES = SINGLE | {"wire"}
ALLOWED = {
    "wire": LEAVES,
    "alignment": LEAVES | {"alignment", "generators"},
    "transfer": LEAVES | {"transfer"},
    "generators": LEAVES | {"generators", "data"},
    "models": LEAVES | {"models"},
    "data": LEAVES | {"data"},
    "edge": LEAVES | {"edge", "transfer", "models", "data"},
    "report": LEAVES | {"report", "edge"},
    "cloud": LEAVES | {"cloud", "alignment", "generators", "data"},
    "federation": LEAVES | {"federation", "edge", "cloud", "generators", "models", "data"},
}
FORBIDDEN_IN_LEAVES = set(ALLOWED) - LEAVES


def imported_rooms(file: Path) -> Iterator[str]:
    """The first name under `ktl` of every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [
                f"{node.module}.{alias.name}" if node.module == "ktl" else node.module or "" for alias in node.names
            ]
        yield from (name.split(".")[1] for name in names if name.startswith("ktl."))


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    files = sorted((ROOT / "ktl" / room).rglob("*.py"))
    assert files
    found = {other for file in files for other in imported_rooms(file)}
    assert found <= ALLOWED[room]


def test_single_modules_import_no_room() -> None:
    for name in sorted(SINGLE):
        assert not set(imported_rooms(ROOT / "ktl" / f"{name}.py")) & FORBIDDEN_IN_LEAVES, name


def test_every_room_has_a_rule() -> None:
    rooms = {path.parent.name for path in (ROOT / "ktl").glob("*/__init__.py")}
    assert rooms == set(ALLOWED)


def test_the_library_never_imports_the_command_line() -> None:
    for file in (ROOT / "ktl").rglob("*.py"):
        assert "cli" not in {name.split(".")[0] for name in top_level_imports(file)}, file
        assert "ktl_cli" not in {name.split(".")[0] for name in top_level_imports(file)}, file


def top_level_imports(file: Path) -> Iterator[str]:
    """Every module name that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_package_folder_is_installed() -> None:
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "ktl").rglob("__init__.py")}
    declared = (ROOT / "pyproject.toml").read_text()
    for name in folders:
        assert f'"{name}",' in declared
