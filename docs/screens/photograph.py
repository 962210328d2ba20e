"""A page in Debian's Chromium as a small PNG."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "tests"))  # for `support`

DESKTOP, PHONE = (1200, 900), (390, 844)  # width and height in pixels


def photograph(page: Page, file: Path) -> None:
    """What the page's window shows, as `file`."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256, kmeans=1).save(file, optimize=True)  # a third of the size
