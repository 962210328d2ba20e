"""The documents' tables are those that the committed results give."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.lib.cells import read
from benchmarks.lib.command_line import RESULTS, results_of
from benchmarks.lib.documents import ROOT, pages, rendered

PAGES = {str(page.relative_to(ROOT)): page for page in pages() if "<!-- table: " in page.read_text()}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_was_measured(page: str) -> None:
    assert rendered(PAGES[page].read_text()) == PAGES[page].read_text(), "run: python -m benchmarks render"


def test_every_result_is_shown_and_says_where_it_was_measured() -> None:
    text = "".join(page.read_text() for page in PAGES.values())
    files = sorted(RESULTS.glob("*.jsonl"))
    assert files
    for file in files:
        benchmark = file.stem.replace("-", "/", 1)
        assert f"<!-- table: {benchmark} " in text, file
        assert import_module(f"benchmarks.{benchmark.replace('/', '.')}").TABLES
        assert results_of(benchmark) == file
        for row in read(file):
            assert {"machine", "date", "version"} <= row.keys(), file
            assert {"processor", "cores"} == row["machine"].keys(), file


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.jsonl")), ids=lambda file: str(file.stem))
def test_no_cell_counts_twice(file: Path) -> None:
    """What was measured twice would narrow an interval; what is no float tells a cell from others."""
    cells = [
        repr({name: value for name, value in row.items() if not isinstance(value, float) and name != "date"})
        for row in read(file)
    ]
    assert len(set(cells)) == len(cells)


def test_a_table_is_rendered_anew_between_its_markers() -> None:
    page = "before\n<!-- table: accuracy/budgets generated -->\n| old |\n<!-- end -->\nafter\n"
    new = rendered(page)
    assert new.startswith("before\n<!-- table: accuracy/budgets generated -->\n\n| data | shots | arm |")
    assert new.endswith(" |\n\n<!-- end -->\nafter\n")
    assert rendered(new) == new
    with pytest.raises(KeyError, match="none"):
        rendered(page.replace(" generated ", " none "))


def figures(text: str) -> list[tuple[float, float]]:
    """Means with their intervals."""
    return [(float(mean), float(width)) for mean, width in re.findall(r"([+-]?\d+\.\d+) ± (\d+\.\d+)", text)]


@pytest.mark.parametrize("page", ["README.md", "docs/results/index.md"])
def test_what_stands_on_a_first_page_stands_on_the_page_of_its_measurement(page: str) -> None:
    others = [other.read_text() for other in (ROOT / "docs").rglob("*.md") if other != ROOT / page]
    measured = [figure for text in others for figure in figures(text)]
    shown = figures((ROOT / page).read_text())
    assert shown
    rounded = 0.0551 if page == "README.md" else 0.0  # it has one digit
    assert [
        (mean, width)
        for mean, width in shown
        if not any(abs(mean - m) <= rounded and abs(width - w) <= rounded for m, w in measured)
    ] == []


def test_the_readme_names_every_program() -> None:
    named = set(re.findall(r"`([a-z]+\.\w+)[` ]", (ROOT / "benchmarks" / "README.md").read_text()))
    programs = {
        f"{file.parent.name}.{file.stem}"
        for file in (ROOT / "benchmarks").glob("*/*.py")
        if 'if __name__ == "__main__":' in file.read_text()
    }
    assert programs - named == set()


def test_results_are_small() -> None:
    assert sum(file.stat().st_size for file in Path(RESULTS).iterdir()) < 2_000_000
