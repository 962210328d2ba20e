"""Which nodes make up a run: they agree on their classes, and the server is told no name of them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from PIL import Image
from support.direct_grid import DirectGrid

from ktl.errors import UsageError
from ktl.federation.settings import FederationConfig
from ktl.flower.client_app import app
from ktl.flower.post import Post
from ktl.flower.roster import Roster

CLASSES = ["heron", "kingfisher", "osprey"]


@pytest.fixture
def config(plain: FederationConfig) -> FederationConfig:
    return replace(plain, method="fedproto", image_size=16)


def roster_of(config: FederationConfig, grid: DirectGrid) -> Roster:
    return Roster(Post(grid, 0.3), config)


def grid_of_photos(home: Path, *, with_list: bool) -> DirectGrid:
    """Two devices with folders of photographs: the first has all classes, the second the last two."""
    (home / "classes.txt").write_text("\n".join(CLASSES))
    nodes = {}
    for client, names in enumerate([CLASSES, CLASSES[1:]]):
        folder = home / f"photos-{client}"
        for number, name in enumerate(names):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(4):
                Image.new("RGB", (16, 16), (60 * number, 10 * index, client)).save(folder / name / f"{index}.png")
        about = {"client": client, "data": str(folder), "folder": str(home / f"device-{client}")}
        nodes[client + 1] = about | ({"classes": str(home / "classes.txt")} if with_list else {})
    return DirectGrid(app, nodes)


def test_nodes_with_a_list_of_all_classes_agree_and_no_name_reaches_the_server(
    config: FederationConfig, tmp_path: Path
) -> None:
    grid = grid_of_photos(tmp_path, with_list=True)
    roster = roster_of(config, grid)
    problem = roster.assemble(tmp_path / "run", wait=0.0)
    assert (problem.counts > 0).tolist() == [[True, True, True], [False, True, True]]
    roster.begin({})
    assert sorted(roster.nodes()) == [0, 1]
    replies = [str(reply.content) for _, _, reply in grid.exchanged if reply is not None]
    assert len(replies) == 4
    kept = (tmp_path / "run" / "fleet.json").read_text()
    assert not [name for name in CLASSES for text in [*replies, kept] if name in text]


def test_a_server_that_starts_again_knows_its_nodes_by_the_digest_and_no_others(
    config: FederationConfig, tmp_path: Path
) -> None:
    first = roster_of(config, grid_of_photos(tmp_path, with_list=True)).assemble(tmp_path / "run", wait=0.0)
    for with_list, there in ((True, [0, 1]), (False, [0])):
        shutil.rmtree(tmp_path / "device-1", ignore_errors=True)  # what a node keeps of a run needs no list
        again = roster_of(config, grid_of_photos(tmp_path, with_list=with_list))
        assert (again.assemble(tmp_path / "run", wait=0.0).counts == first.counts).all()
        again.begin({})
        assert sorted(again.nodes()) == there


def test_what_is_wrong_with_images_is_said_on_the_device_alone(
    config: FederationConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = grid_of_photos(tmp_path, with_list=True)
    (tmp_path / "classes.txt").write_text("heron\nkingfisher\n")
    with pytest.raises(UsageError, match="0 of 2 clients came"):
        roster_of(config, grid).assemble(tmp_path / "run", wait=0.0)
    assert "class 'osprey' is not in --classes" in caplog.text
    assert not [1 for _, _, reply in grid.exchanged if "osprey" in str(reply and reply.content)]


def test_nodes_of_other_classes_are_told_to_bring_a_list(config: FederationConfig, tmp_path: Path) -> None:
    roster = roster_of(config, grid_of_photos(tmp_path, with_list=False))
    with pytest.raises(UsageError, match="client 1 has other classes than client 0, or in another order: start"):
        roster.assemble(tmp_path / "run", wait=0.0)
