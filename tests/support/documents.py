"""The Markdown pages that people read, and the commands and programs on them.

A comment before a block, or on a page's first line for all of its blocks, says why tests/docs does not run it:
`<!-- not run: why -->`, or `<!-- run by FILE -->` where another test or the CI does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")
PAGES = [*(ROOT / name for name in ROOTS), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
MARK = re.compile(r"<!-- (?:commands )?(not run:|run by) (.+) -->")
FENCE = re.compile(r"^(?:<!-- ([^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is the comment that keeps tests/docs from running it, as (kind, words)."""

    language: str
    text: str
    mark: tuple[str, str] | None

    @property
    def commands(self) -> list[list[str]]:
        """Of a shell block: each command as words, without comments, redirections and a last ampersand."""
        text = re.sub(r"\$\(\(.*?\)\)", "1", self.text.replace("\\\n", " "))  # whatever is calculated
        lines = text.splitlines()
        words = [shlex.split(part, comments=True) for line in lines for part in re.split(r" && | \| ", line)]
        return [list(takewhile(lambda word: word not in ("&", ">"), each)) for each in words if each]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    whole = MARK.match(text)
    return [
        Block(found["language"], found["text"], mark(MARK.match(f"<!-- {found[1]} -->") or whole))
        for found in FENCE.finditer(text)
    ]


def mark(found: re.Match[str] | None) -> tuple[str, str] | None:
    return (found[1].rstrip(":"), found[2]) if found else None


def python_blocks(name: str) -> list[str]:
    """The Python programs on a page of docs/."""
    return [block.text for block in blocks_of(ROOT / "docs" / name) if block.language == "python"]


def prose_of(page: Path) -> str:
    """A page's running text: no code, tables, headings, pictures or comments; of a link its words."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"<!--.*?-->|!\[.*?\]\(.*?\)|^\[\w+\]: .*$", "", text, flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#|:::|---)", line)]
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))
    return re.sub(r"`[^`]*`", "Code", text)


def sentences_of(page: Path) -> Iterator[str]:
    """Each item of a list, and each paragraph, ends a sentence."""
    for paragraph in re.split(r"\n\s*\n|\n\s*(?:[-*:]|\d+\.)\s", prose_of(page)):
        for sentence in re.split(r"(?<=[.!?])[\"*)]*\s+(?=[\"(*]*[A-Z0-9])", " ".join(paragraph.split())):
            if len(sentence.split()) > 2:
                yield sentence
