"""What a device of a fleet keeps, given to the commands that take a run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.nodes_here import run_on_nodes

from ktl.data.partition import FederatedData
from ktl.federation.settings import FederationConfig

Ktl = Callable[..., subprocess.CompletedProcess[str]]


def test_the_commands_take_a_device_s_folder_or_say_what_to_do(
    ktl: Ktl, plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    rows = run_on_nodes(replace(plain, method="fedproto"), shared, tmp_path).rows
    device, server = tmp_path / "device-1", tmp_path / "server"
    evaluated = ktl("edge", "evaluate", device, "--json")
    assert json.loads(evaluated.stdout)["accuracy"] == pytest.approx(rows[-1]["by_client"]["1"])
    assert "test accuracy" in ktl("edge", "evaluate", device).stdout
    exported = ktl("export", device)
    assert exported.stdout.splitlines()[-2] == f"bundle: {device / 'bundle'}"
    assert "leave --client and --data out" in ktl("export", device, "--client", 1).stderr
    words = f"error: {device} is what a device of a fleet keeps: write a bundle by `ktl export {device}`"
    for command in (["edge", "predict", device, "photo.png"], ["edge", "evaluate", device, "--data", "photos"]):
        refused = ktl(*command)
        assert (refused.returncode, refused.stderr) == (1, words + "\n")
    for command in (["edge", "predict", server, "photo.png"], ["edge", "evaluate", server]):
        refused = ktl(*command).stderr
        assert (
            f"is the run of a federation: write a bundle of one client by `ktl export {server} --client 0`" in refused
        )
