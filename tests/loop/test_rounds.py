"""The one loop: its order over one edge and over many, whom it leaves out, and what it saves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recording import CountingCloud, Recording
from support.served import ServedCloud

from ktl.checkpoint import load_checkpoint
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.fewshot import FewShotTask
from ktl.data.partition import FederatedData
from ktl.data.settings import PartitionConfig
from ktl.edge.network.http import HttpCloud
from ktl.edge.network.transport import Access
from ktl.errors import CheckpointError
from ktl.federation.run import federate, federated_data
from ktl.federation.settings import FederationConfig
from ktl.files import Row, read_rows
from ktl.generators.stylegan import StyleGANGenerator
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import EdgeConfig
from ktl.loop.edges import Edges, OneEdge
from ktl.loop.folder import RunFolder
from ktl.loop.rounds import Interrupted, Loop, Observer, Round, Scores
from ktl.methods.base import Problem

MakeLoop = Callable[..., Loop]


@pytest.fixture
def tasks(shared: FederatedData) -> dict[int, FewShotTask]:
    return {client: shared.task(client) for client in (0, 1)}


@pytest.fixture
def make_loop(plain: FederationConfig, problem: Problem, tasks: dict[int, FewShotTask], tmp_path: Path) -> MakeLoop:
    """A loop of two rounds, of one step each, over `clients` with a method that writes down what happens."""
    training = replace(plain.training, steps=2)
    edge = EdgeConfig(rounds=2, training=training, transfer=None, precision="float32", threads=1)

    def describe(finished: Round, scores: Scores) -> Row:
        left_out = {str(client): reason for client, reason in finished.left_out.items()}
        return {"round": finished.index + 1, "clients": sorted(finished.outcomes), "left_out": left_out}

    def make(
        clients: Sequence[int] = (0, 1), absent: Mapping[int, str] | None = None, name: str = "run", **options: Any
    ) -> Loop:
        own = {client: tasks[client] for client in clients}
        observer = options.pop("observer", Observer())
        method = Recording(problem, own, **options)

        def learner(client: int) -> EdgeLearner:
            return EdgeLearner(own[client], edge, etf_seed=0)

        (tmp_path / name).mkdir(exist_ok=True)
        return Loop(
            RunFolder(tmp_path / name),
            method,
            Edges(own, method, learner) if len(own) > 1 else OneEdge(learner(clients[0]), method),
            2,
            describe=describe,
            participants=lambda index: ([c for c in own if c not in (absent or {})], absent or {}),
            every_client=list(own),
            save_every=1000.0,
            saves_each_round=True,
            go_on_with="--resume",
            observer=observer,
        )

    return make


def calls_of(loop: Loop) -> list[str]:
    assert isinstance(loop.method, Recording)
    return loop.method.calls


def test_many_edges_ask_are_answered_learn_report_and_are_collected(make_loop: MakeLoop) -> None:
    loop = make_loop()
    rows = loop.to_the_end()
    assert calls_of(loop) == [
        call
        for index in (0, 1)
        for call in (
            f"{index}: ask 0",
            f"{index}: ask 1",
            f"{index}: answer {{0: 0.0, 1: 1.0}}",
            f"{index}: learn 0",
            f"{index}: report 0",
            f"{index}: learn 1",
            f"{index}: report 1",
            f"{index}: collect {{0: 0.0, 1: 1.0}}",
        )
    ]
    assert [{name: row[name] for name in row if name != "seconds"} for row in rows] == [
        {"round": 1, "clients": [0, 1], "left_out": {}},
        {"round": 2, "clients": [0, 1], "left_out": {}},
    ]
    assert read_rows(loop.folder.path / "metrics.jsonl") == rows
    assert sorted(loop.scores.by_client) == [0, 1]


def test_one_edge_goes_through_the_same_steps(make_loop: MakeLoop, tasks: dict[int, FewShotTask]) -> None:
    steps: list[tuple[int, str, int]] = []
    watch = Observer(on_step=lambda index, span, step, loss: steps.append((index, span.name, step)))
    loop = make_loop([0], observer=watch)
    loop.to_the_end()
    assert calls_of(loop) == [
        f"{index}: {what}"
        for index in (0, 1)
        for what in ("ask 0", "answer {0: 0.0}", "learn 0", "report 0", "collect {0: 0.0}")
    ]
    assert steps == [(0, "shots", 1), (1, "shots", 1)]
    right, tested = loop.scores.by_client[0]
    assert tested == len(tasks[0].test_labels)
    assert loop.scores.mean == right / tested == loop.scores.accuracies[0]


@pytest.mark.parametrize(
    ("step", "seen"),
    [
        ("ask", ["ask 0", "ask 1", "answer {1: 1.0}", "learn 1", "report 1", "collect {1: 1.0}"]),
        ("learn", ["ask 0", "ask 1", "answer {0: 0.0, 1: 1.0}", "learn 0", "learn 1", "report 1", "collect {1: 1.0}"]),
        (
            "report",
            [
                *("ask 0", "ask 1", "answer {0: 0.0, 1: 1.0}", "learn 0", "report 0", "learn 1", "report 1"),
                "collect {1: 1.0}",
            ],
        ),
    ],
)
def test_an_edge_that_fails_is_left_out_and_stays_as_it_was(make_loop: MakeLoop, step: str, seen: list[str]) -> None:
    loop = make_loop(fails=[(step, 0)])
    assert isinstance(loop.clients, Edges)
    before = {name: tensor.clone() for name, tensor in loop.clients.learners[0].state().items()}
    rows = loop.to_the_end()
    assert calls_of(loop) == [f"{index}: {what}" for index in (0, 1) for what in seen]
    assert [row["left_out"] for row in rows] == [{"0": f"client 0 cannot {step}"}] * 2
    assert [row["clients"] for row in rows] == [[1], [1]]
    after = loop.clients.learners[0].state()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert loop.clients.versions == {0: 0, 1: 2}
    assert sorted(loop.scores.by_client) == [0, 1]  # it was tested as it is


def test_nothing_is_collected_where_no_edge_reports(make_loop: MakeLoop) -> None:
    silent = make_loop(silent=True)
    silent.to_the_end()
    assert [call for call in calls_of(silent) if "collect" in call] == []
    failing = make_loop(fails=[("learn", 0), ("learn", 1)], name="failing")
    assert [row["clients"] for row in failing.to_the_end()] == [[], []]
    assert [call for call in calls_of(failing) if "collect" in call] == []


def test_a_round_without_anyone_goes_by(make_loop: MakeLoop, tasks: dict[int, FewShotTask]) -> None:
    loop = make_loop(absent={0: "dropped out", 1: "asleep"})
    assert [row["left_out"] for row in loop.to_the_end()] == [{"0": "dropped out", "1": "asleep"}] * 2
    assert calls_of(loop) == ["0: answer {}", "1: answer {}"]
    assert {client: tested for client, (_, tested) in loop.scores.by_client.items()} == {
        client: len(task.test_labels) for client, task in tasks.items()
    }


def test_a_stop_saves_says_how_to_go_on_and_is_gone_on_with(make_loop: MakeLoop) -> None:
    rows: list[Row] = []
    stopping = Observer(on_round=rows.append, should_stop=lambda: len(rows) == 1)
    with pytest.raises(Interrupted, match=r"^stopped in round 2; go on with --resume$"):
        make_loop(observer=stopping).to_the_end()
    resumed = make_loop()
    metrics = resumed.folder.path / "metrics.jsonl"
    metrics.unlink()  # as a kill between the checkpoint and them would leave it
    resumed.restore()
    assert resumed.rows == rows == read_rows(metrics)
    assert resumed.to_the_end()[0] == rows[0]
    assert calls_of(resumed)[0] == "1: ask 0"
    whole = make_loop(name="whole")
    whole.to_the_end()
    for client in (0, 1):
        one, other = (
            load_checkpoint(loop.folder.path / "clients" / f"client-{client}.2.safetensors")[0]
            for loop in (resumed, whole)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_without_its_clients_is_refused(make_loop: MakeLoop) -> None:
    loop = make_loop()
    loop.to_the_end()
    (loop.folder.path / "clients" / "client-1.2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*client-1\.2\.safetensors"):
        make_loop().restore()
    tensors, progress = loop.folder.load()
    del progress["clients"]["1"]
    loop.folder.save(tensors, progress, progress.pop("rows"))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors does not fit this run \('1'\); start the run"):
        make_loop().restore()


def without_seconds(out: Path) -> list[Row]:
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in read_rows(out / "metrics.jsonl")
    ]


def assert_same_federation(one: Path, other: Path, trained: int) -> None:
    assert without_seconds(one) == without_seconds(other)
    names = sorted(file.name for file in (one / "clients").iterdir())
    assert names == sorted(file.name for file in (other / "clients").iterdir())
    assert len(names) == trained
    for name in names:
        first, second = (load_checkpoint(out / "clients" / name)[0] for out in (one, other))
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == [], name
    wires = [{file.name: file.read_bytes() for file in (out / "wire").iterdir()} for out in (one, other)]
    assert wires[0] == wires[1]


def test_a_federation_whose_every_client_drops_out_writes_its_rows(
    plain: FederationConfig, shared: FederatedData, tiny_generator: StyleGANGenerator, tmp_path: Path
) -> None:
    counting = CountingCloud(EmbeddedCloud(tiny_generator))
    config = replace(plain, drop_ratio=0.999)
    result = federate(config, tmp_path / "run", data=shared, workers=0, connection=counting)
    assert counting.asked == []
    assert [row["left_out"] for row in result.rows] == [{"0": "dropped out", "1": "dropped out"}] * 2
    assert [(row["clients"], row["bytes_up"], row["bytes_down"], row["numbers_down"]) for row in result.rows] == [
        (0, 0, 0, 0)
    ] * 2
    assert result.rows == read_rows(tmp_path / "run" / "metrics.jsonl")
    assert not (tmp_path / "run" / "wire").exists()


def test_rounds_in_which_all_drop_out_do_no_harm_to_those_around_them(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    config = replace(plain, rounds=6, drop_ratio=0.5, training=replace(plain.training, steps=6))
    whole = federate(config, tmp_path / "whole", data=shared, workers=0)
    finished = [row["clients"] for row in whole.rows]
    assert 0 in finished[1:-1]
    assert sum(finished) > 1
    for stop in range(1, 6):
        rows: list[Row] = []
        with pytest.raises(Interrupted):
            federate(
                config,
                tmp_path / "parts",
                data=shared,
                workers=0,
                resume=True,
                on_round=lambda row, _, rows=rows: rows.append(row),  # type: ignore[misc]
                should_stop=lambda rows=rows: len(rows) == 1,  # type: ignore[misc]
            )
        assert len(read_rows(tmp_path / "parts" / "metrics.jsonl")) == stop
    federate(config, tmp_path / "parts", data=shared, workers=0, resume=True)
    assert_same_federation(tmp_path / "whole", tmp_path / "parts", 2)


def test_what_was_answered_before_a_kill_is_not_asked_for_again(
    plain: FederationConfig, shared: FederatedData, tiny_generator: StyleGANGenerator, tmp_path: Path
) -> None:
    first, second = CountingCloud(EmbeddedCloud(tiny_generator)), CountingCloud(EmbeddedCloud(tiny_generator))
    federate(plain, tmp_path / "whole", data=shared, workers=0, connection=first)
    assert [sorted(uploads) for uploads in first.asked] == [[0, 1], [0, 1]]
    killed = RunFolder(tmp_path / "killed")  # before the first checkpoint, but after all answers
    killed.start(plain)
    (killed.path / "wire").mkdir()
    for file in (tmp_path / "whole" / "wire").iterdir():
        (killed.path / "wire" / file.name).write_bytes(file.read_bytes())
    federate(plain, killed.path, data=shared, workers=0, resume=True, connection=second)
    assert second.asked == []
    assert second.opened == [first.asked]
    assert_same_federation(tmp_path / "whole", killed.path, 2)


def test_a_federation_with_a_cloud_elsewhere_ends_with_the_same_bits(
    plain: FederationConfig, tiny_generator_file: Path, tmp_path: Path
) -> None:
    config = replace(plain, partition=PartitionConfig("iid", clients=3))
    data = federated_data(config.source, None, config.partition, config.seed)
    here = federate(config, tmp_path / "here", data=data, workers=0)
    (tmp_path / "cloud").mkdir()
    server = ServedCloud(tmp_path / "cloud", tiny_generator_file)
    try:
        access = Access(server.url, server.tokens["edge"], patience=30.0)
        there = tmp_path / "there"
        result = federate(config, there, data=data, workers=0, connection=HttpCloud(access, there, clients=3))
    finally:
        assert server.stop() == 0
    assert [row["clients"] for row in result.rows] == [3, 3]
    assert result.accuracies == here.accuracies
    assert json.loads((there / "session.json").read_text())["url"] == server.url
    assert_same_federation(tmp_path / "here", there, 3)
