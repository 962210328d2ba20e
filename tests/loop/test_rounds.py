"""The one loop: its order over one edge and over many, whom it leaves out, and what it saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recording import Recording

from ktl.checkpoint import load_checkpoint
from ktl.data.fewshot import FewShotTask
from ktl.data.partition import FederatedData
from ktl.errors import CheckpointError, Interrupted
from ktl.federation.settings import FederationConfig
from ktl.files import Row, read_rows
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import EdgeConfig
from ktl.loop.edges import Edges
from ktl.loop.folder import RunFolder
from ktl.loop.one_edge import OneEdge
from ktl.loop.rounds import Loop, Observer, Round, Scores
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
            observer=observer,
        )

    return make


def calls_of(loop: Loop) -> list[str]:
    assert isinstance(loop.method, Recording)
    return loop.method.calls


def test_many_edges_ask_are_answered_learn_report_and_are_collected(make_loop: MakeLoop) -> None:
    loop = make_loop()
    rows = loop.run()
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
    loop.run()
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
    rows = loop.run()
    assert calls_of(loop) == [f"{index}: {what}" for index in (0, 1) for what in seen]
    assert [row["left_out"] for row in rows] == [{"0": f"client 0 cannot {step}"}] * 2
    assert [row["clients"] for row in rows] == [[1], [1]]
    after = loop.clients.learners[0].state()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert loop.clients.versions == {0: 0, 1: 2}
    assert sorted(loop.scores.by_client) == [0, 1]  # it was tested as it is


def test_nothing_is_collected_where_no_edge_reports(make_loop: MakeLoop) -> None:
    silent = make_loop(silent=True)
    silent.run()
    assert [call for call in calls_of(silent) if "collect" in call] == []
    failing = make_loop(fails=[("learn", 0), ("learn", 1)], name="failing")
    assert [row["clients"] for row in failing.run()] == [[], []]
    assert [call for call in calls_of(failing) if "collect" in call] == []


def test_a_round_without_anyone_goes_by(make_loop: MakeLoop, tasks: dict[int, FewShotTask]) -> None:
    loop = make_loop(absent={0: "dropped out", 1: "asleep"})
    assert [row["left_out"] for row in loop.run()] == [{"0": "dropped out", "1": "asleep"}] * 2
    assert calls_of(loop) == ["0: answer {}", "1: answer {}"]
    assert {client: tested for client, (_, tested) in loop.scores.by_client.items()} == {
        client: len(task.test_labels) for client, task in tasks.items()
    }


def test_a_stop_saves_says_how_to_go_on_and_is_gone_on_with(make_loop: MakeLoop) -> None:
    rows: list[Row] = []
    stopping = Observer(on_round=rows.append, should_stop=lambda: len(rows) == 1)
    with pytest.raises(Interrupted, match=r"^stopped after round 1; go on with: --resume$"):
        make_loop(observer=stopping).run()
    resumed = make_loop()
    metrics = resumed.folder.path / "metrics.jsonl"
    metrics.unlink()  # as a kill between the checkpoint and them would leave it
    finished = resumed.run()
    assert finished[:1] == rows
    assert finished == read_rows(metrics)
    assert calls_of(resumed)[0] == "1: ask 0"
    whole = make_loop(name="whole")
    whole.run()
    for client in (0, 1):
        one, other = (
            load_checkpoint(loop.folder.path / "clients" / f"client-{client}.2.safetensors")[0]
            for loop in (resumed, whole)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_without_its_clients_is_refused(make_loop: MakeLoop) -> None:
    loop = make_loop()
    loop.run()
    (loop.folder.path / "clients" / "client-1.2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*client-1\.2\.safetensors"):
        make_loop().run()
    tensors, progress = loop.folder.load()
    del progress["clients"]["1"]
    loop.folder.save(tensors, progress, progress.pop("rows"))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors does not fit this run \('1'\); start the run"):
        make_loop().run()
