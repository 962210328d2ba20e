"""Draws docs/main-job.svg, README's picture: what the main job prints. Run: python docs/picture.py"""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

COMMAND = ["ktl", "edge", "train", "--shots", "2"]


def main() -> None:
    with TemporaryDirectory() as folder:
        ended = subprocess.run(
            [Path(sys.executable).with_name(COMMAND[0]), *COMMAND[1:]],  # this environment's, active or not
            cwd=folder,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    console = Console(record=True, width=100, file=StringIO(), highlight=False)
    console.print(f"$ {' '.join(COMMAND)}", style="bold")
    console.print(ended.stdout, markup=False, end="")
    console.save_svg(str(Path(__file__).parent / "main-job.svg"), title="ktl")


if __name__ == "__main__":
    main()
