"""Makes report.png and report-phone.png: the end of README's first command. Run: python docs/screens/report.py

A real run, in Debian's Chromium: light in a window, dark on a phone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from photograph import DESKTOP, HERE, PHONE, photograph
from support.browser import chromium

COMMAND = ["ktl", "edge", "train", "--shots", "2", "--out", "clothes"]


def main() -> None:
    with TemporaryDirectory() as folder:
        subprocess.run([Path(sys.executable).with_name(COMMAND[0]), *COMMAND[1:]], cwd=folder, check=True)
        address = (Path(folder) / "clothes" / "report.html").resolve().as_uri()
        with chromium() as browser:
            for name, size, scheme in (("report", DESKTOP, "light"), ("report-phone", PHONE, "dark")):
                page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
                page.goto(address)
                photograph(page, HERE / f"{name}.png")


if __name__ == "__main__":
    main()
