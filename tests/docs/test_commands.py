"""What the documentation tells people to type: each block is run, here with few steps, or says why it is not."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from ktl_cli.main import app
from support.documents import NAMES, PAGES, ROOT, Block, blocks_of
from support.photographs import save_photographs

# appended to a page's command, where the last value counts: seconds in place of minutes
FEW_STEPS = {
    ("edge", "train"): "--steps 4 --warmup-steps 2 --pairs-per-class 2 --threads 1",
    ("federate",): "--clients 2 --steps 2 --rounds 1 --workers 0 --set transfer.warmup_steps=2",
}
RUNNABLE = ("sh", "python")
COMMANDS = typer.main.get_command(app)


def is_run(block: Block) -> bool:
    return block.language in RUNNABLE and block.mark is None


def ktl_commands(block: Block) -> list[list[str]]:
    """What follows `ktl`, wherever it is installed."""
    return [words[1:] for words in block.commands if words[0] in ("ktl", ".venv/bin/ktl")]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    assert not re.findall(r"^(?: {4}|\t)(?:ktl|python3?|pip) .*", page.read_text(), re.MULTILINE), "use a fence, ```sh"
    for block in blocks_of(page):
        if block.language in RUNNABLE and block.mark is not None:
            kind, words = block.mark
            assert len(words.split()) > 1 if kind == "not run" else (ROOT / words).is_file(), words
        elif block.language == "sh":
            assert ktl_commands(block), f"nothing that this test could run: {block.text}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_has_the_options_that_it_is_given(page: Path) -> None:
    """Those that are not run, too; a text's `code` may leave arguments out."""
    for block in blocks_of(page):
        for words in ktl_commands(block) if block.language == "sh" else []:
            command, context, rest = resolved(words)
            command.parse_args(context, rest)
    for words in re.findall(r"`ktl ([a-z][^`]*)`", page.read_text()):
        command, _, rest = resolved(words.split())
        known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert given <= known | {"--help"}, words


def resolved(words: list[str]) -> tuple[Any, typer.Context, list[str]]:
    """The command that words begin with, and what is left for it."""
    command: Any = COMMANDS
    context, rest = typer.Context(command, info_name="ktl"), list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name, command, rest = command.resolve_command(context, rest)
        context = typer.Context(command, parent=context, info_name=name)
    return command, context, rest


def test_every_benchmark_has_the_options_that_it_is_given() -> None:
    sources = [file.read_text() for file in (ROOT / "benchmarks").rglob("*.py")]
    for page in PAGES:
        for block in blocks_of(page):
            for words in block.commands if block.language == "sh" else []:
                module = next((name for before, name in pairwise(words) if before == "-m"), "")
                if module.startswith("benchmarks."):
                    assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), f"{page}: {module}"
                    options = [word for word in words if word.startswith("--")]
                    assert [each for each in options if not any(f'"{each}"' in source for source in sources)] == []


PAGES_TO_RUN = [page for page in PAGES if any(map(is_run, blocks_of(page)))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of somebody who has photographs of three kinds."""
    save_photographs(tmp_path / "photos", classes=3, of_each=12)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: str(page.stem))
def test_what_a_page_says_works_in_its_order(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in filter(is_run, blocks_of(page)):
        if block.language == "python":
            exec(compile(with_few_steps(block.text), str(page), "exec"), {})
            assert capsys.readouterr().out
        for words in ktl_commands(block) if block.language == "sh" else []:
            assert not app([*words, *few_steps(words)], prog_name="ktl", standalone_mode=False)  # the exit code


def few_steps(words: list[str]) -> list[str]:
    return next((steps.split() for command, steps in FEW_STEPS.items() if words[: len(command)] == [*command]), [])


def with_few_steps(program: str) -> str:
    """A program that trains with RunConfig(data=...), in seconds."""
    few = (
        "training=ktl.TrainingConfig(steps=4), cloud=ktl.CloudConfig(pairs_per_class=2), threads=1,"
        " transfer=ktl.TRANSFERS.choose('image-vector', warmup_steps=2)"
    )
    return "import ktl\n" + program.replace("RunConfig(data=", f"RunConfig({few}, data=")
