"""docs/reference/protocol.md: its curl session runs as it is written, and its routes are the server's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from ktl.cloud.service.refusals import STATUS

from .conftest import Running

DOCUMENT = (Path(__file__).parents[3] / "docs" / "reference" / "protocol.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_session_runs_as_it_is_written(cloud: Running, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    environment = os.environ | {"URL": cloud.url, "TOKEN": cloud.service.tokens.create("curl", "edge")}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert '"edges_in":["cam-7"]' in done.stdout
    pairs = load_file(tmp_path / "pairs.safetensors")
    assert pairs["classes"].tolist() == [0, 1, 2] * 5
    assert (tmp_path / "resumed.safetensors").read_bytes() == (tmp_path / "pairs.safetensors").read_bytes()


def test_every_route_and_kind_of_error_is_documented(cloud: Running) -> None:
    for path, methods in cloud.client().http.get("/openapi.json").json()["paths"].items():
        assert all(f"{method.upper()} {path}" in DOCUMENT for method in methods), path
    assert all(f"`{kind}`" in DOCUMENT for kind in STATUS)
