"""`ktl federate` and `ktl partition` as a user types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ktl.formatting import in_counts

Ktl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def small(small_bundle: Path, tiny_generator_file: Path, tmp_path: Path) -> list[object]:
    numbers = "--clients 3 --beta 1 --rounds 2 --steps 4 --workers 0"
    return ["--data", small_bundle, "--generator", tiny_generator_file, *numbers.split(), "--out", tmp_path / "runs"]


def test_federate_prints_local_beside_fedktl(ktl: Ktl, small: list[object], tmp_path: Path) -> None:
    ended = ktl("federate", *small, "--recipe", "published")
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == [
        *("method", "local", "fedktl", "local,", "fedktl,", "runs:", "report:", "next:")
    ]
    rows = (tmp_path / "runs" / "fedktl" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2
    row = json.loads(rows[-1])
    counts = in_counts(round(row["accuracy"] * row["tested"]), row["tested"])
    assert f"fedktl, last round, over all clients: {counts}" in ended.stdout.splitlines()
    again = ktl("federate", *small, "--recipe", "published", "--resume", "--json")
    record = json.loads(again.stdout)
    assert record["fedktl"]["last"] == [json.loads(rows[-1])["accuracy"]]
    assert record["local"]["bytes_up"] == [0]
    assert record["fedktl"]["bytes_down"] == [3 * record["fedktl"]["bytes_broadcast"][0]]
    report = (tmp_path / "runs" / "report.html").read_text()
    last = {name: f"{100 * record[name]['last'][0]:.1f}%" for name in ("fedktl", "local")}
    assert f"After the last round: fedktl {last['fedktl']}; local {last['local']}." in report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--join-ratio", "0"], "join_ratio is 0.0: give a number above 0 and at most 1"),
        (["--method", "fedsgd"], "unknown method 'fedsgd': choose one of local, fedktl"),
        (["--models", "HtFE6"], "unknown model or group 'HtFE6'"),
        (["--recipe", "other"], "unknown recipe 'other'"),
        (["--models", "no.such:Net"], "cannot load model 'no.such:Net'"),
        (["--partition", "pathological", "--classes-per-client", "9"], "--classes-per-client is 9: the data has 3"),
        (["--beta", "0"], "beta is 0.0: give a number above 0"),
        (["--clients", "9999"], "--clients is 9999, but the data has 90 images"),
    ],
)
def test_bad_options_are_refused_in_one_line(ktl: Ktl, small: list[object], options: list[str], message: str) -> None:
    ended = ktl("federate", *small, *options)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_resuming_needs_the_folder(ktl: Ktl) -> None:
    ended = ktl("federate", "--resume")
    assert (ended.returncode, ended.stderr) == (2, "error: --resume needs the folder of the runs: give --out\n")


def test_a_partition_is_shown_saved_and_read(ktl: Ktl, small_bundle: Path, tmp_path: Path) -> None:
    shared = ["--data", small_bundle, "--clients", 4, "--partition", "iid"]
    shown = ktl("partition", "show", *shared).stdout.splitlines()
    assert [line.split("|")[0].strip() for line in shown[:3]] == ["blue", "green", "red"]
    assert {len(line.split("|")[1]) for line in shown[:3]} == {4}
    assert shown[3].startswith("4 clients, 90 images: 22 to 23 images")
    assert ktl("partition", "save", tmp_path / "parts", *shared, "--public").returncode == 0
    assert ktl("partition", "show", "--data", tmp_path / "parts").stdout.splitlines() == shown
