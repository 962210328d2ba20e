"""The site: built without a warning, complete, and alone with its own host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import ROOT

import ktl
from ktl.cloud.service.refusals import STATUS

LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocstrings", reason="needs the extra ktl[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout) == (0, ""), built.stderr
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    assert {url for page in pages for url in LOADED.findall(page.read_text())} == set()
    styles = "".join(file.read_text() for kind in ("*.css", "*.svg") for file in site.rglob(kind))
    assert re.findall(r"url\([\"']?(?:https?:)?//", styles) == []


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "cli" / "index.html").read_text()
    assert page.count("<h2") > 15
    for words in ("ktl edge train", "--download-budget", "ktl cloud token rotate", "runs/&lt;data&gt;"):
        assert words in page


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "python" / "index.html").read_text()
    assert [name for name in ktl.__all__ if f'id="ktl.{name}"' not in page] == ["Meta"]  # msgspec's


def test_the_http_reference_is_that_of_the_server(site: Path) -> None:
    document = json.loads((site / "reference" / "openapi.json").read_text())
    page = (site / "reference" / "http" / "index.html").read_text()
    assert len(document["paths"]) > 15
    assert all(path in page for path in document["paths"])
    assert all(kind in (site / "reference" / "protocol" / "index.html").read_text() for kind in STATUS)
