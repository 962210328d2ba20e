"""The edges of one process: what of a round counts, what is saved of them, and a single edge that stops within one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.recording import Recording
from torch import Tensor

from ktl.checkpoint import load_checkpoint
from ktl.data.fewshot import FewShotTask
from ktl.data.partition import FederatedData
from ktl.errors import CheckpointError
from ktl.federation.settings import FederationConfig
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import EdgeConfig
from ktl.loop.clients import Outcome, Stopped, Watch
from ktl.loop.edges import Edges, client_file
from ktl.loop.one_edge import OneEdge
from ktl.methods.base import Problem
from ktl.methods.message import Message

ANSWER = [Message({"value": torch.tensor(100.0 + index)}) for index in range(3)]

Make = Callable[..., Edges]


@pytest.fixture
def tasks(shared: FederatedData) -> dict[int, FewShotTask]:
    return {client: shared.task(client) for client in (0, 1)}


@pytest.fixture
def make_learner(plain: FederationConfig) -> Callable[[FewShotTask], EdgeLearner]:
    """Three rounds of four steps."""
    training = replace(plain.training, steps=12, optimizer="adamw", learning_rate=1e-3, batch=8)
    config = EdgeConfig(rounds=3, training=training, transfer=None, precision="float32", threads=1)
    return lambda task: EdgeLearner(task, config, etf_seed=0)


@pytest.fixture
def make_edges(
    problem: Problem, tasks: dict[int, FewShotTask], make_learner: Callable[[FewShotTask], EdgeLearner]
) -> Make:
    def make(fails: tuple[tuple[str, int], ...] = (), deadline: float | None = None) -> Edges:
        method = Recording(problem, tasks, fails)
        return Edges(tasks, method, lambda client: make_learner(tasks[client]), deadline)

    return make


@pytest.fixture
def make_one(
    problem: Problem, tasks: dict[int, FewShotTask], make_learner: Callable[[FewShotTask], EdgeLearner]
) -> Callable[[], OneEdge]:
    return lambda: OneEdge(make_learner(tasks[0]), Recording(problem, {0: tasks[0]}))


def copied(learner: EdgeLearner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def test_a_round_counts_what_each_edge_got_right(make_edges: Make, tasks: dict[int, FewShotTask]) -> None:
    edges = make_edges()
    assert {client: float(m["value"]) for client, m in edges.ask([0, 1], 0).items()} == {0: 0.0, 1: 1.0}  # type: ignore[index]
    outcomes = edges.learn([0, 1], 0, ANSWER[0])
    assert {client: float(outcome.report["value"]) for client, outcome in outcomes.items()} == {0: 0.0, 1: 1.0}
    tested = edges.test([0, 1], ANSWER[0])
    for client, outcome in outcomes.items():
        assert (outcome.right, outcome.tested) == tested[client]
        assert outcome.tested == len(tasks[client].test_labels)
        assert outcome.error is None
        assert outcome.losses["shot_loss"] > 0  # type: ignore[operator]
        assert outcome.losses["pair_loss"] is None
    assert not edges.begun(0)


def test_an_edge_that_is_late_goes_back_to_where_it_was(make_edges: Make) -> None:
    edges = make_edges(deadline=0.0)
    before = copied(edges.learners[1])
    assert edges.learn([1], 0, ANSWER[0]) == {1: Outcome(error="late: not done after 0 seconds")}
    assert differing(before, edges.learners[1].state()) == []
    assert edges.versions == {0: 0, 1: 0}


@pytest.mark.parametrize("step", ["learn", "report"])
def test_an_edge_that_fails_goes_back_to_where_it_was(make_edges: Make, step: str) -> None:
    edges = make_edges(fails=((step, 0),))
    before = copied(edges.learners[0])
    outcomes = edges.learn([0, 1], 0, ANSWER[0])
    assert outcomes[0] == Outcome(error=f"client 0 cannot {step}")
    assert outcomes[1].error is None
    assert differing(before, edges.learners[0].state()) == []
    assert edges.versions == {0: 0, 1: 1}


def test_edges_are_saved_when_they_changed_and_go_on_to_the_same_bits(make_edges: Make, tmp_path: Path) -> None:
    folder, whole = tmp_path / "clients", make_edges()
    assert whole.save(folder) == ({}, {"0": 0, "1": 0})
    assert list(folder.iterdir()) == []  # the initial weights can be made again
    whole.learn([0, 1], 0, ANSWER[0])
    whole.learn([1], 1, ANSWER[1])
    tensors, progress = whole.save(folder)
    assert progress == {"0": 1, "1": 2}
    assert sorted(file.name for file in folder.iterdir()) == ["client-0.1.safetensors", "client-1.2.safetensors"]
    parts = make_edges()
    parts.restore(folder, tensors, progress, {})
    for edges in (whole, parts):
        edges.learn([0, 1], 2, ANSWER[2])
    for client in (0, 1):
        assert differing(whole.learners[client].state(), parts.learners[client].state()) == []
    assert parts.versions == whole.versions == {0: 3, 1: 3}


def test_tidying_leaves_the_present_versions_alone(make_edges: Make, tmp_path: Path) -> None:
    edges = make_edges()
    edges.learn([0], 0, ANSWER[0])
    edges.save(tmp_path)
    edges.learn([0], 1, ANSWER[1])
    edges.save(tmp_path)
    others = [client_file(tmp_path, 1, 5), client_file(tmp_path, 10, 1), tmp_path / "notes"]
    for file in others:
        file.write_bytes(b"")
    edges.tidy(tmp_path)
    kept = ["client-0.2.safetensors", "client-10.1.safetensors", "notes"]  # client 10 is another process's
    assert sorted(file.name for file in tmp_path.iterdir()) == kept


def test_a_missing_client_is_named(make_edges: Make, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*client-1\.2\.safetensors"):
        make_edges().restore(tmp_path, {}, {"0": 0, "1": 2}, {})


def test_a_single_edge_stops_within_a_round_and_goes_on_without_being_told_again(
    make_one: Callable[[], OneEdge], tmp_path: Path
) -> None:
    whole = make_one()
    whole.ask([0], 0)
    expected = whole.learn([0], 0, ANSWER[0])[0]
    parts, steps = make_one(), list[tuple[int, int]]()
    parts.ask([0], 0)
    watch = Watch(lambda index, span, step, loss: steps.append((index, step)), lambda: len(steps) == 2)
    with pytest.raises(Stopped):
        parts.learn([0], 0, ANSWER[0], watch)
    assert steps == [(0, 1), (0, 2)]
    assert parts.begun(0)
    assert not parts.begun(1)
    tensors, progress = parts.save(tmp_path / "clients")
    assert not (tmp_path / "clients").exists()  # all of it is in the run's checkpoint
    again = make_one()
    again.restore(tmp_path, tensors, progress, {})
    assert again.begun(0)
    outcome = again.learn([0], 0, Message(), Watch(lambda index, span, step, loss: steps.append((index, step))))[0]
    assert steps == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert isinstance(again.method, Recording)
    assert again.method.calls == ["0: report 0"]
    assert (outcome.right, outcome.tested, outcome.losses) == (expected.right, expected.tested, expected.losses)
    assert differing(whole.learner.state(), again.learner.state()) == []
    assert not again.begun(0)
    assert not again.begun(1)


def test_a_version_that_is_saved_already_is_not_written_again(make_edges: Make, tmp_path: Path) -> None:
    edges = make_edges()
    edges.learn([0], 0, ANSWER[0])
    edges.save(tmp_path)
    file = client_file(tmp_path, 0, 1)
    before, (tensors, metadata) = file.stat().st_mtime_ns, load_checkpoint(file)
    edges.save(tmp_path)
    assert file.stat().st_mtime_ns == before
    assert metadata == {"received": []}  # the method has no pairs to receive
    assert differing(tensors, dict(edges.learners[0].state())) == []
