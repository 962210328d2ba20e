"""What the Dockerfile copies is enough to build the package. The image itself needs a container engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METADATA = "from setuptools import build_meta; print(build_meta.prepare_metadata_for_build_wheel('made'))"


def test_the_package_is_built_of_what_is_copied(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    (tmp_path / "made").mkdir()
    for name in " ".join(copied).split():
        (tmp_path / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-c", METADATA], cwd=tmp_path, check=True, capture_output=True)
    [names] = tmp_path.glob("made/*.dist-info/top_level.txt")
    assert names.read_text().split() == ["ktl", "ktl_cli"]
