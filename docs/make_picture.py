"""Runs the main job and draws what it printed as docs/main-job.svg. Run: python docs/make_picture.py"""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

COMMAND = ["edge", "train", "--shots", "2"]


def main() -> None:
    ktl = Path(sys.executable).with_name("ktl")
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [ktl, *COMMAND], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        )
    console = Console(record=True, width=100, file=StringIO(), highlight=False)
    console.print(f"$ ktl {' '.join(COMMAND)}", style="bold")
    console.print(done.stdout.rstrip(), markup=False)
    console.save_svg(str(Path(__file__).with_name("main-job.svg")), title="ktl")


if __name__ == "__main__":
    main()
