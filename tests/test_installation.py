"""An installation has every file of the packages, also those that are no Python: weights, templates, data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def files_of(package: Path) -> set[str]:
    """Their paths in the package's folder, but for what Python compiled."""
    files = (file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(package).as_posix() for file in files}


def test_nothing_of_the_packages_is_left_out(tmp_path: Path) -> None:
    built = tmp_path / "built"
    # a list of files that an earlier installation left in the root folder would be taken for this one's
    told = ["egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(built)]
    subprocess.run([sys.executable, "setup.py", "--quiet", *told], cwd=ROOT, check=True, capture_output=True)
    assert files_of(built / "ktl") == files_of(ROOT / "ktl")
    assert files_of(built / "ktl_cli") == files_of(ROOT / "cli")
