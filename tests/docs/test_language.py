"""Pages that can be read: short sentences, and no page that takes all morning."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.documents import NAMES, PAGES, ROOT, sentences_of


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_sentences_have_less_than_25_words_on_average(page: Path) -> None:
    lengths = [len(sentence.split()) for sentence in sentences_of(page)]
    assert sum(lengths) < 25 * max(len(lengths), 1)


def test_no_page_is_longer_than_300_lines_but_of_the_reference() -> None:
    pages = [page for page in PAGES if (ROOT / "docs" / "reference") not in page.parents]
    assert {page.name: len(page.read_text().splitlines()) for page in pages if page.read_text().count("\n") > 300} == {}
