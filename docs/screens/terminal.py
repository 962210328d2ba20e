"""Records what three commands print, as train.svg, federate.svg and predict.svg. Run: python docs/screens/terminal.py

Real runs on the images that are inside, in a folder of their own; minutes on two cores.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from ktl.data import load_dataset

HERE = Path(__file__).parent
SCREENS = {
    "train": "ktl edge train --shots 2",
    "predict": "ktl edge predict runs/fashion-mnist-2shot-seed0 clothes",
    "federate": "ktl federate --clients 5 --partition shots --shots 2 --rounds 3",
}
PICTURES = 6
# rich's, without the font that a browser would fetch from another host
TEMPLATE = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    with TemporaryDirectory() as folder:
        save_pictures(Path(folder) / "clothes")
        for name, command in SCREENS.items():
            draw(command, printed_by(command, Path(folder)), HERE / f"{name}.svg")


def save_pictures(folder: Path) -> None:
    """Test images, one each of the first classes."""
    folder.mkdir()
    data = load_dataset("fashion-mnist")
    for label, name in enumerate(data.class_names[:PICTURES]):
        first = np.flatnonzero(data.test.labels == label)[:1]
        picture = Image.fromarray(data.test.images[first][0, :, :, 0])
        picture.save(folder / f"{name.lower().replace('/', '-')}.png")


def printed_by(command: str, folder: Path) -> str:
    """What a command prints in `folder`, by the ktl of this environment, active or not."""
    program, *words = shlex.split(command)
    ended = subprocess.run(
        [Path(sys.executable).with_name(program), *words],
        cwd=folder,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return ended.stdout


def draw(command: str, printed: str, file: Path) -> None:
    """Lines that say how long it will take are left out: they depend on the machine."""
    kept = [line for line in printed.splitlines() if not line.endswith(" to go")]
    console = Console(record=True, width=100, file=StringIO(), highlight=False)
    console.print(f"$ {command}", style="bold")
    console.print("\n".join(kept), markup=False)
    console.save_svg(str(file), title="ktl", code_format=TEMPLATE)


if __name__ == "__main__":
    main()
