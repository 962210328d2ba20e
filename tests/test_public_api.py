"""`import ktl`: quick, and every public name there at runtime as type checkers see it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ktl


def declared() -> dict[str, str]:
    """The public names that type checkers see, and the modules that they come from."""
    tree = ast.parse(Path(str(ktl.__file__)).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or "": str(node.module) for node in imports for alias in node.names}


def test_names_at_runtime_are_those_that_type_checkers_see() -> None:
    assert ktl.__all__ == sorted(declared())
    for name, module in declared().items():
        assert getattr(ktl, name) is getattr(sys.modules[module], name)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'ktl' has no attribute 'train'"):
        _ = ktl.train


def test_settings_and_registries_cost_no_torch() -> None:
    names = "Settings, Meta, Choice, METHODS, TRANSFERS, ALIGNMENTS, GENERATORS, MODELS, DATASETS, TransferSettings"
    program = f"import sys, ktl; from ktl import {names}, KtlError, RunConfig; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_version_is_that_of_the_citation_and_the_changelog() -> None:
    root = Path(__file__).parents[1]
    assert f"version: {ktl.__version__}" in (root / "CITATION.cff").read_text().splitlines()
    changes = (root / "CHANGELOG.md").read_text()
    assert f"## [{ktl.__version__}] - 20" in changes or f"What will be {ktl.__version__}." in changes


def test_names_are_listed() -> None:
    assert dir(ktl) == ktl.__all__
