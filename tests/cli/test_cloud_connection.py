"""`ktl edge train --cloud` and `ktl cloud ping`: how they find a cloud, and what they do without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.served import ServedCloud

from ktl.edge.settings import RunConfig
from ktl.loop.folder import load_config

Ktl = Callable[..., subprocess.CompletedProcess[str]]

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[ServedCloud]:
    server = ServedCloud(tmp_path_factory.mktemp("served"), tiny_generator_file)
    yield server
    server.stop()


@pytest.fixture
def small(small_bundle: Path) -> list[str]:
    """A task of two rounds that takes a second; the generator is the cloud's."""
    numbers = "--shots 4 --rounds 2 --steps 20 --warmup-steps 10 --pairs-per-class 8 --threads 1"
    return ["--data", str(small_bundle), *numbers.split()]


@pytest.mark.slow
def test_offline_ok_trains_alone_says_so_and_goes_on_with_the_cloud_later(
    ktl: Ktl, served: ServedCloud, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTL_TOKEN", served.tokens["edge"])
    served.kill()
    out = tmp_path / "run"
    command = ["edge", "train", *small, "--cloud", served.url, "--patience", "0.5", "--out", out]
    refused = ktl(*command)
    assert refused.returncode == 1
    assert f"{served.url} could not be reached for 0.5 s" in refused.stderr
    assert not (out / "local-only").exists()
    alone = ktl(*command, "--offline-ok")
    assert alone.returncode == 0, alone.stderr
    assert f"training without the cloud; with it later: ktl edge train --resume {out}" in alone.stderr
    assert [line.split()[0] for line in alone.stdout.splitlines()[1:]] == ["local", "run:", "report:", "next:"]
    assert f"run: {out / 'local-only'}" in alone.stdout
    assert ktl("edge", "evaluate", out / "local-only").returncode == 0
    served.start()
    later = ktl("edge", "train", "--resume", out, "--json")
    assert later.returncode == 0, later.stderr
    assert json.loads(later.stdout)["bytes_down"] > 0
    assert load_config(out, RunConfig).cloud.url == served.url
    assert served.tokens["edge"] not in (out / "config.json").read_text() + (out / "session.json").read_text()


def test_a_run_leaves_no_session_behind_unless_it_is_told_to(
    ktl: Ktl, served: ServedCloud, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTL_TOKEN", served.tokens["edge"])
    headers = {"Authorization": f"Bearer {served.tokens['edge']}"}

    def left(name: str, *options: str) -> int:
        out = tmp_path / name
        run = ktl("edge", "train", *small, "--cloud", served.url, "--out", out, *options)
        assert run.returncode == 0, run.stderr
        session = json.loads((out / "session.json").read_text())["session"]
        return httpx.get(f"{served.url}/v1/sessions/{session}", headers=headers).status_code

    assert left("deleted") == 404
    assert left("kept", "--keep-session") == 200


def test_ping_tells_the_cloud_and_the_token(ktl: Ktl, served: ServedCloud, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(served.tokens["edge"])
    told = ktl("cloud", "ping", served.url, "--token-file", tmp_path / "token")
    assert told.returncode == 0, told.stderr
    assert "protocol [1]" in told.stdout
    assert "the token is 'edge', of scope edge" in told.stdout
    as_json = json.loads(ktl("cloud", "ping", served.url, "--token-file", tmp_path / "token", "--json").stdout)
    assert (as_json["service"], as_json["token"]["scope"]) == ("ktl", "edge")
    assert served.tokens["edge"] not in told.stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["cloud", "ping", NOWHERE], 1, "could not be reached"),
        (["edge", "train", "--cloud", NOWHERE, "--generator", "x"], 2, "--generator and --cloud exclude each other"),
        (["edge", "train", "--cloud", "http://192.0.2.1"], 2, "would send the token unencrypted"),
        (["edge", "train", "--cloud", NOWHERE, "--token-file", "nowhere"], 2, "--token-file nowhere cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    ktl: Ktl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KTL_TOKEN", "ktl_any")
    refused = ktl(*options)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_cloud_elsewhere_needs_a_token(ktl: Ktl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KTL_TOKEN", raising=False)
    refused = ktl("edge", "train", "--cloud", NOWHERE)
    assert refused.returncode == 2
    assert "needs a token: give --token-file FILE or set KTL_TOKEN" in refused.stderr
