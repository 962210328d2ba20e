"""A federation over Flower's messages: the numbers of one process, nodes that come late, servers that start again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from flwr.app import Context, Message, RecordDict
from support.small_fleet import FIRST, grid_of, run_over, states, without_seconds

from ktl.data import load_dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.settings import PartitionConfig
from ktl.errors import KtlError, UsageError
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.flower.client_app import app
from ktl.flower.post import Post
from ktl.flower.records import LEARN, Answer, packed
from ktl.learning.settings import RECIPES
from ktl.loop.folder import load_config
from ktl.loop.settings import MIN_DOWNLOAD
from ktl.methods import METHODS
from ktl.methods.message import Message as KtlMessage
from ktl.methods.message import message_bytes
from ktl.models.shipped import shipped_extractor


@pytest.fixture(scope="module")
def three(plain: FederationConfig) -> FederationConfig:
    """Three clients that all have images, two rounds."""
    training = replace(plain.training, optimizer="adamw", learning_rate=1e-3, steps=6, batch=16)
    return replace(plain, partition=PartitionConfig("dirichlet", clients=3, beta=5.0), training=training)


@pytest.fixture(scope="module")
def apart(three: FederationConfig) -> FederatedData:
    return share_out(load_dataset(three.source), three.partition, three.seed)


@pytest.mark.parametrize("method", METHODS.names())
def test_devices_end_with_the_bits_of_one_process(
    three: FederationConfig, apart: FederatedData, tmp_path: Path, method: str
) -> None:
    config = replace(three, method=method)
    here = federate(config, tmp_path / "here", data=apart, workers=0)
    there = run_over(grid_of(apart, tmp_path), config, tmp_path / "there")
    assert without_seconds(there.rows) == without_seconds(here.rows)
    devices = states([tmp_path / f"device-{client}" for client in range(3)], version=2)
    expected = states([tmp_path / "here" / "clients"] * 3, version=2)
    for own, state in zip(devices, expected, strict=True):
        assert [name for name in state if not torch.equal(own[name], state[name])] == []
    assert not (tmp_path / "there" / "clients").exists()  # no weights at the server


def test_devices_begin_with_the_extractor_that_ships(tmp_path: Path) -> None:
    """By default, where one does: each is sent it once, and ends with the bits of one process."""
    config = FederationConfig(
        method="fedktl",
        partition=PartitionConfig("shots", clients=2, shots=1),
        rounds=1,
        training=replace(RECIPES["tuned"], steps=4),
        download_budget=MIN_DOWNLOAD,
        precision="float32",
    )
    data = share_out(load_dataset(config.source), config.partition, config.seed)
    here = federate(config, tmp_path / "here", data=data, workers=0)
    there = run_over(grid_of(data, tmp_path), config, tmp_path / "there")
    assert without_seconds(there.rows) == without_seconds(here.rows)
    devices = states([tmp_path / f"device-{client}" for client in range(2)], version=1)
    for own, state in zip(devices, states([tmp_path / "here" / "clients"] * 2, version=1), strict=True):
        assert [name for name in state if not torch.equal(own[name], state[name])] == []
    shipped = shipped_extractor("cnn4", 1, 28)
    assert shipped is not None
    for run in ("here", "there"):
        assert load_config(tmp_path / run, FederationConfig).warm_start == "cloud"
        assert (tmp_path / run / "wire" / "warm-start-cnn4.safetensors").read_bytes() == shipped


def test_a_device_that_is_killed_in_a_round_is_named_and_goes_on_in_the_next(
    three: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    config = replace(three, method="fedproto", rounds=3)

    def killed(node: int, message: Message) -> bool:
        return (node, message.metadata.message_type, message.metadata.group_id) == (FIRST + 1, "train.learn", "2")

    grid = grid_of(apart, tmp_path, killed)
    rows = run_over(grid, config, tmp_path / "run").rows
    assert [row["left_out"] for row in rows] == [{}, {"1": "late: no answer within 0.3 seconds"}, {}]
    assert [row["clients"] for row in rows] == [3, 2, 3]


def test_a_device_that_is_away_is_left_out_until_it_is_back_as_another_node(
    three: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    config = replace(three, method="fedktl", rounds=3)
    grid = grid_of(apart, tmp_path)

    def leaves_and_returns(node: int, message: Message) -> bool:
        kind, group = message.metadata.message_type, message.metadata.group_id
        if (node, kind, group) == (FIRST, "evaluate.test", "1"):  # the last message of round 1
            grid.connected.discard(FIRST + 2)
        if (node, kind, group) == (FIRST, "train.learn", "2"):
            grid.nodes[99] = grid.nodes[FIRST + 2]
            grid.connected.add(99)
        return False

    grid.silent = leaves_and_returns
    rows = run_over(grid, config, tmp_path / "run").rows
    assert [row["left_out"] for row in rows] == [{}, {"2": "its node is not connected"}, {}]
    assert any(node == 99 and message.metadata.message_type == "train.learn" for node, message, _ in grid.exchanged)


def test_a_server_that_is_killed_goes_on_after_its_last_finished_round(
    three: FederationConfig, apart: FederatedData, tmp_path: Path
) -> None:
    config = replace(three, method="fedktl", rounds=3)
    whole = run_over(grid_of(apart, tmp_path / "whole"), config, tmp_path / "whole" / "run")

    class Killed(BaseException):
        pass

    def killed(node: int, message: Message) -> bool:  # after two of three clients have trained in round 2
        if (node, message.metadata.message_type, message.metadata.group_id) == (FIRST + 2, "train.learn", "2"):
            raise Killed
        return False

    home, out = tmp_path / "parts", tmp_path / "parts" / "run"
    with pytest.raises(Killed):
        run_over(grid_of(apart, home, killed), config, out)
    grid = grid_of(apart, home)
    assert without_seconds(run_over(grid, config, out).rows) == without_seconds(whole.rows)
    learnt = [m.metadata.group_id for _, m, _ in grid.exchanged if m.metadata.message_type == "train.learn"]
    assert learnt == ["2"] * 3 + ["3"] * 3


def test_a_device_that_lost_its_folder_says_so(three: FederationConfig, apart: FederatedData, tmp_path: Path) -> None:
    config = replace(three, method="fedproto", rounds=2)
    grid = grid_of(apart, tmp_path)

    def lost(node: int, message: Message) -> bool:
        if (node, message.metadata.message_type, message.metadata.group_id) == (FIRST + 1, "train.learn", "2"):
            for file in (tmp_path / "device-1").rglob("client-1.*.safetensors"):
                file.unlink()
        return False

    grid.silent = lost
    rows = run_over(grid, config, tmp_path / "run").rows
    assert "this node has lost what client 1 had learnt" in rows[1]["left_out"]["1"]


def test_clients_that_do_not_come_are_counted(three: FederationConfig, apart: FederatedData, tmp_path: Path) -> None:
    grid = grid_of(apart, tmp_path)
    grid.connected.discard(FIRST)
    with pytest.raises(UsageError, match="2 of 3 clients came within 0 s"):
        run_over(grid, three, tmp_path / "run")


NOT_FINITE = KtlMessage(
    {"means": torch.full((1, 512), torch.nan), "classes": torch.tensor([0]), "counts": torch.ones(1)}
)
WEIGHTS = KtlMessage({"weight": torch.zeros(3, 512)})


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (RecordDict(), "is it from ktl"),
        (packed(Answer(message=b"\x00" * 40)), "of a message"),
        (packed(Answer(message=message_bytes(NOT_FINITE))), "is not finite"),
        (packed(Answer(message=message_bytes(WEIGHTS))), "its report has the form"),
        (packed(Answer(message=message_bytes(WEIGHTS), right=3, tested=2)), "3 of 2 test images"),
        (packed(Answer(error="out of\nmemory")), "out of memory"),
        (None, "its node failed"),
    ],
)
def test_a_device_that_answers_what_is_no_report_is_left_out(
    three: FederationConfig, apart: FederatedData, tmp_path: Path, reply: RecordDict | None, words: str
) -> None:
    grid = grid_of(apart, tmp_path)

    def tampered(message: Message, context: Context) -> Message:
        if (context.node_id, message.metadata.message_type) != (FIRST + 1, LEARN):
            return app(message, context)
        if reply is None:
            raise RuntimeError("a device without power")
        return Message(reply, reply_to=message)

    grid.app = tampered  # type: ignore[assignment]
    (row,) = run_over(grid, replace(three, method="fedproto", rounds=1), tmp_path / "run").rows
    assert row["clients"] == 2
    assert words in row["left_out"]["1"]
    assert "\n" not in row["left_out"]["1"]


def test_nobody_waits_for_nodes_whose_runtime_has_ended(apart: FederatedData, tmp_path: Path) -> None:
    post = Post(grid_of(apart, tmp_path, lambda node, message: True), timeout=None, ended=lambda: True)
    with pytest.raises(KtlError, match="go on with --resume"):
        post.answers(LEARN, {0: (FIRST, packed(Answer()))})
