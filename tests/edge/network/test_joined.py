"""Edges on several devices in one session: a federation's bits, and what happens when one of them is away."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event, Timer

import pytest
import torch
from ktl_cli.console import stop_on_signal
from support.hall import DEVICES, TURN, Hall, given_up

from ktl.checkpoint import load_checkpoint
from ktl.data.partition_files import load_partition
from ktl.edge.network import rounds
from ktl.edge.network.joined import JoinedSession
from ktl.errors import Interrupted, UsageError
from ktl.federation.problem import federated_problem
from ktl.federation.run import federate
from ktl.files import Row
from ktl.prototypes import bare_prototypes
from ktl.wire import encode_message, encode_prototypes


class PowerCut(Exception):
    """Nothing is saved when it comes."""


def test_five_devices_end_with_the_bits_of_one_process_though_the_service_is_killed_meanwhile(
    hall: Hall, tmp_path: Path
) -> None:
    hall.create(tmp_path / "create.log", "hall", "--edges", ",".join(DEVICES), "--rounds", 2)

    def restart_service(row: Row) -> None:
        if row["round"] == 1:
            hall.server.kill()
            hall.server.start()

    with ThreadPoolExecutor(len(DEVICES)) as pool:
        started = [
            pool.submit(hall.device, "hall", name, tmp_path / name, restart_service if name == DEVICES[0] else _unheard)
            for name in DEVICES
        ]
        devices = [future.result() for future in started]
    here = federate(hall.federation, tmp_path / "here", workers=0)
    for client, (name, rows) in enumerate(zip(DEVICES, devices, strict=True)):
        assert [row["test_accuracy"] for row in rows] == [row["by_client"][str(client)] for row in here.rows]
        assert [(row["edges"], row["late"], row["missed"]) for row in rows] == [(DEVICES, [], None)] * 2
        there, _ = load_checkpoint(tmp_path / name / "checkpoint.safetensors")
        kept, _ = load_checkpoint(tmp_path / "here" / "clients" / f"client-{client}.2.safetensors")
        assert there.keys() == kept.keys()
        assert [key for key in kept if not torch.equal(there[key], kept[key])] == []
    assert sum(row["bytes_up"] for row in here.rows) == sum(row["bytes_up"] for rows in devices for row in rows)


def _unheard(row: Row) -> None:
    pass


@pytest.mark.parametrize(
    ("save_every", "missed"), [(1e9, "away: the session had gone on to round 3"), (0.0, None)], ids=["round", "step"]
)
def test_a_device_that_goes_in_mid_round_is_named_late_and_ends_with_as_many_rounds(
    hall: Hall, save_every: float, missed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of which a step is saved is gone on with, though late; else it is left out."""
    monkeypatch.setattr("ktl.edge.edge_run.CHECKPOINT_SECONDS", save_every)
    name, steps_of_second = "cut" if missed else "cut-saved", list[int]()
    names, out, others_in, first_done = DEVICES[:3], tmp_path / "cam-3", Event(), Event()
    hall.create(tmp_path / "create.log", name, "--edges", ",".join(names), "--rounds", 3, "--quorum", 2)

    def tell(round_number: int) -> None:
        if round_number == 2:
            others_in.set()

    def wait_for_third(row: Row) -> None:
        with given_up(TURN):
            assert first_done.wait(120)

    def wait_for_others(row: Row) -> None:
        first_done.set()
        with given_up(TURN):
            assert others_in.wait(120)

    def cut(round_number: int) -> None:
        steps_of_second.extend([round_number] if round_number == 2 else [])
        if len(steps_of_second) == 2:
            raise PowerCut

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(hall.device, name, each, tmp_path / each, wait_for_third, tell) for each in names[:2]]
        with pytest.raises(PowerCut):
            hall.device(name, "cam-3", out, wait_for_others, cut)
        for rows in (future.result() for future in others):
            assert [(row["edges"], row["late"]) for row in rows[1:]] == [(names[:2], ["cam-3"])] * 2
    rows = hall.device(name, "cam-3", out)
    assert [row["missed"] for row in rows] == [None, missed, None]
    assert [row["late"] for row in rows[1:]] == [["cam-3"]] * 2
    assert [row["shot_loss"] is None for row in rows] == [False, missed is not None, False]


def test_a_device_that_comes_late_goes_on_with_the_present_round(hall: Hall, tmp_path: Path) -> None:
    names = DEVICES[:3]
    hall.create(tmp_path / "create.log", "late", "--edges", ",".join(names), "--rounds", 3, "--quorum", 2)
    two_done, third_there = Event(), Event()

    def wait(row: Row) -> None:
        if row["round"] == 2:
            two_done.set()
            with given_up(TURN):
                assert third_there.wait(120)

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(hall.device, "late", name, tmp_path / name, wait) for name in names[:2]]
        assert two_done.wait(120)
        rows = hall.device("late", "cam-3", tmp_path / "cam-3", on_step=lambda round_number: third_there.set())
    assert [row["missed"] for row in rows] == ["away: the session had gone on to round 2", None, None]
    assert rows[1]["late"] == ["cam-3"]
    assert [len(other.result()) for other in others] == [3, 3]


def test_waiting_is_told_and_can_be_stopped(hall: Hall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FIRST_WAIT", 1.0)
    hall.create(tmp_path / "create.log", "wait", "--edges", ",".join(DEVICES[:3]), "--deadline", "1h", "--rounds", 4)
    data = load_partition(hall.parts)
    request = encode_message(federated_problem(hall.federation, data).request)
    told: list[str] = []

    def stop_in_the_next_wait(text: str) -> None:
        told.append(text)
        Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with stop_on_signal() as stop:
        stoppable = partial(stop.at_once, "go on later")
        access = hall.access("cam-2")
        device = JoinedSession(access, "wait", tmp_path, on_wait=stop_in_the_next_wait, stoppable=stoppable)
        device.open(request, [])
        assert device.absent(0) is None
        upload = encode_prototypes(bare_prototypes(data.task(1).shot_labels))
        with pytest.raises(Interrupted, match="go on later"):
            device.exchange({0: upload})
    assert len(told) == 1
    assert told[0].startswith("round 1 of 4: 1 of 3 devices are in (cam-2); goes on without the others at ")


def test_a_session_for_other_images_or_devices_is_refused(hall: Hall, tmp_path: Path) -> None:
    hall.create(tmp_path / "create.log", "other", "--edges", "cam-1", "--image-size", 32)
    request = encode_message(federated_problem(hall.federation, load_partition(hall.parts)).request)
    with pytest.raises(UsageError, match=r"image_size of the session 'other' is 32, and of this edge 16"):
        JoinedSession(hall.access("cam-1"), "other", tmp_path / "1").open(request, [])
    with pytest.raises(UsageError, match="has no session 'other' for this token"):
        JoinedSession(hall.access("cam-2"), "other", tmp_path / "2").open(request, [])
