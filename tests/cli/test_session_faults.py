"""`ktl edge train --session` on three devices, of which one is killed in the middle of a round and started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hall import DEVICES, Hall
from support.served import Command
from support.waiting import eventually

from ktl.files import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 300


def test_the_run_ends_with_as_many_rounds_and_the_reports_name_the_late_one(hall: Hall, tmp_path: Path) -> None:
    names = DEVICES[:3]
    hall.create(tmp_path / "create.log", "killed", "--edges", ",".join(names), "--rounds", 3, "--deadline", "20s")
    cloud = ["--cloud", hall.server.url, "--session", "killed", "--warmup-steps", 4, "--threads", 1]

    def started(name: str, *options: object) -> Command:
        token = ["--token-file", hall.tokens / f"{name}.token"]
        return Command(["edge", "train", *token, *options], tmp_path / f"{name}.log")

    def begun(client: int, steps: int) -> Command:
        own = ["--data", hall.parts, "--client", client, "--steps", steps, "--out", tmp_path / names[client]]
        return started(names[client], *cloud, *own)

    third = begun(2, 300)
    others = [begun(0, 30), begun(1, 30)]
    assert eventually(lambda: "KTL 2/3 shots" in third.output(), SECONDS)
    third.kill()
    for device in others:
        assert device.wait(SECONDS) == 0, device.output()
    again = started("cam-3", "--resume", tmp_path / "cam-3")
    assert again.wait(SECONDS) == 0, again.output()
    rows = {name: read_rows(tmp_path / name / "metrics.jsonl") for name in names}
    assert [len(own) for own in rows.values()] == [3, 3, 3]
    assert all([row["late"] for row in own[1:]] == [["cam-3"], ["cam-3"]] for own in rows.values())
    assert "late: cam-3 in round" in others[0].output()
    assert "<td>cam-1, cam-2</td><td>cam-3</td>" in (tmp_path / "cam-1" / "report.html").read_text()
    exported = Command(["export", tmp_path / "cam-3", "--int8", "--out", tmp_path / "bundle"], tmp_path / "export.log")
    assert exported.wait(SECONDS) == 0, exported.output()
    assert "by what all devices of a session know" in (tmp_path / "bundle" / "card.md").read_text()
