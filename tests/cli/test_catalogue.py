"""What can be chosen by name is listed, with what can be set."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.plugin import installed

from ktl.alignment import ALIGNMENTS
from ktl.data import DATASETS
from ktl.encoders import ENCODERS
from ktl.generators import GENERATORS
from ktl.methods import METHODS
from ktl.models import MODELS
from ktl.models.backbone import Backbone
from ktl.objectives import TRANSFERS
from ktl.objectives.settings import TransferSettings
from ktl.registry import Registry
from ktl.settings import describe
from ktl.spaces import SPACES

Ktl = Callable[..., subprocess.CompletedProcess[str]]

OTHERS = '''
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ktl.objectives.pair_objective import PairObjective
from ktl.objectives.settings import TransferSettings


@dataclass(frozen=True)
class ColdSettings(TransferSettings):
    kelvin: Annotated[float, Meta(gt=0, description="How cold it is.")] = 4.2
    limit: Annotated[int, Meta(ge=1, le=9)] | None = None
    mode: Literal["calm", "windy"] = "calm"


class Cold(PairObjective):
    """Nothing moves.

    Much.
    """

    Settings = ColdSettings

    def loss(self, views, vectors):
        return 0.0 * views[0].sum()
'''


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no cell is wrapped."""
    monkeypatch.setenv("COLUMNS", "300")


def rows(text: str) -> list[list[str]]:
    """The table's rows as cells: of lines up to the first empty one."""
    table = text.split("\n\n")[0]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]


def first_words(text: str) -> list[str]:
    """Of the lines that begin a row of a table, but for those of settings."""
    return [line.split()[0] for line in text.split("\n\n")[0].splitlines() if not line.startswith(" ")]


def test_datasets_lists_every_source_that_data_accepts(ktl: Ktl) -> None:
    ended = ktl("datasets")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert first_words(ended.stdout) == ["--data", *DATASETS.names(), "FOLDER", "FILE.npz", "module:function"]
    assert "28 x 28 grey" in {line[0]: line for line in rows(ended.stdout)}["mnist"][1]


def test_datasets_says_where_downloads_go(ktl: Ktl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KTL_DATA", str(tmp_path))
    assert ktl("datasets").stdout.rstrip().endswith(f"downloads are kept in {tmp_path}")


def test_encoders_lists_files_beside_the_names(ktl: Ktl) -> None:
    ended = ktl("encoders")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert first_words(ended.stdout) == [
        "cloud.space.encoder",
        *ENCODERS.names(),
        "FILE.safetensors",
        "module:Class",
    ]


@pytest.mark.parametrize(
    ("command", "option", "registry"),
    [
        ("models", "--model", MODELS),
        ("methods", "--method", METHODS),
        ("transfers", "--transfer", TRANSFERS),
        ("alignments", "--alignment", ALIGNMENTS),
        ("spaces", "--space", SPACES),
        ("generators", "--generator", GENERATORS),
    ],
)
def test_every_choice_is_listed_with_what_it_is(ktl: Ktl, command: str, option: str, registry: Registry) -> None:
    ended = ktl(command)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert first_words(ended.stdout) == [option, *registry.names(), "module:Class"]
    assert all(registry.summary(name) in ended.stdout for name in registry.names())


def test_models_says_how_those_of_torchvision_are_named(ktl: Ktl) -> None:
    [name] = [word for word in ktl("models").stdout.split() if word.startswith("torchvision.models:")]
    assert isinstance(MODELS.load(name)(3, 32), Backbone)


def test_an_installed_choice_is_listed_with_its_settings_and_how_to_set_them(ktl: Ktl, tmp_path: Path) -> None:
    entries = {"cold": "other_transfers:Cold", "gone": "other_transfers:Gone"}
    with installed(tmp_path, TRANSFERS, entries, other_transfers=OTHERS):
        ended = ktl("transfers")
    assert (ended.returncode, ended.stderr) == (0, "")
    listed = rows(ended.stdout)
    start = listed.index(["cold", "Nothing moves."]) + len(describe(TransferSettings))
    assert listed[start + 1 : start + 4] == [
        ["kelvin = 4.2", "a number above 0: How cold it is."],
        ["limit = null", "a whole number of at least 1 and at most 9, or none"],
        ["mode = calm", "one of calm, windy"],
    ]
    assert listed[start + 4][0] == "gone"
    assert listed[start + 4][1].startswith("unusable: cannot load transfer 'gone' (")
    assert "--set transfer.weight=1.0" in ended.stdout


def test_a_listing_of_names_alone_imports_nothing_heavy(script: str) -> None:
    code = "import sys, ktl_cli.main; from ktl_cli.catalogue import print_choices; from ktl.models import MODELS; "
    code += "print_choices(MODELS, '--model', None); sys.exit('torch' in sys.modules)"
    python = str(Path(script).with_name("python"))
    assert subprocess.run([python, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0
