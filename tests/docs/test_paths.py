"""What a newcomer looks for is found within two clicks from the README, and every link leads to a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.documents import NAMES, PAGES, ROOT

# the question, the links that a reader clicks, and what the last page must then say
PATHS = {
    "my own photos": ("docs/how-to/your-images.md", "ktl edge train --data photos"),
    "ten devices that learn together": ("docs/how-to/many-devices.md", "ktl cloud session create"),
    "a method of my own": ("docs/extending/index.md", "docs/extending/methods.md", "class SharedBias(Method)"),
    "what it was measured to do": ("docs/results/index.md", "20.54 ± 1.19"),
    "how to run it in production": ("docs/how-to/run-the-cloud.md", "docs/how-to/operate-the-cloud.md", "systemd"),
}
MADE_FOR_THE_SITE = {"docs/reference/cli.md", "docs/reference/http.md"}  # by docs/hooks.py


def links_of(page: Path) -> set[str]:
    """The files of this repository that a page links to."""
    return {file for file, _ in targets_of(page)}


def targets_of(page: Path) -> list[tuple[str, str]]:
    """The files of this repository that a page links to, each with a heading's anchor or an empty text."""
    links = re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", page.read_text())
    files = [((page.parent / target if target else page), anchor) for target, anchor in links if "://" not in target]
    return [(file.resolve().relative_to(ROOT).as_posix(), anchor) for file, anchor in files]


def anchors_of(page: Path) -> set[str]:
    """What headings are called in links, on the site and where repositories are read."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("question", PATHS)
def test_two_clicks_from_the_readme_lead_to_it(question: str) -> None:
    *clicks, words = PATHS[question]
    assert len(clicks) <= 2
    page = ROOT / "README.md"
    for click in clicks:
        assert click in links_of(page), f"{page} has no link to {click}"
        page = ROOT / click
    assert words in page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = [(ROOT / file, anchor) for file, anchor in targets_of(page) if file not in MADE_FOR_THE_SITE]
    assert [str(file) for file, _ in links if not file.exists()] == []
    assert [(str(file), anchor) for file, anchor in links if anchor and anchor not in anchors_of(file)] == []
