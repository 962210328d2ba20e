"""Which process has which clients, and when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import torch

from ktl.data.fewshot import FewShotTask
from ktl.data.partition import ClientIndex, FederatedData
from ktl.federation.problem import federated_problem
from ktl.federation.processes import Processes, share_work
from ktl.federation.settings import FederationConfig


def data_of(tasks: dict[int, FewShotTask]) -> FederatedData:
    """Clients that all hold the same images."""
    task = tasks[0]
    index = torch.arange(len(task.shot_labels))
    clients = [ClientIndex(index, index) for _ in tasks]
    return FederatedData(task.class_names, task.shot_images, task.shot_labels, clients)


def test_work_is_shared_out_by_weight_not_by_number() -> None:
    assert share_work({0: 1.0, 1: 9.0, 2: 1.0, 3: 9.0}, 2) == {1: 0, 3: 1, 0: 0, 2: 1}
    assert share_work({0: 5.0, 1: 4.0, 2: 3.0, 3: 3.0}, 2) == {0: 0, 1: 1, 2: 1, 3: 0}
    assert share_work({7: 1.0}, 3) == {7: 0}


def test_the_large_models_of_a_group_do_not_all_fall_to_one_process() -> None:
    images, labels = torch.zeros(6, 3, 16, 16, dtype=torch.uint8), torch.arange(6) % 3
    task = FewShotTask(["a", "b", "c"], images, labels, images, labels)
    config = FederationConfig(method="local", models="cnn4,resnet8", rounds=1)
    tasks = dict.fromkeys(range(4), task)
    with Processes(config, federated_problem(config, data_of(tasks)), tasks, 2) as engine:
        assert engine.home[0] != engine.home[2]  # the two of each model, which alternate by client
        assert engine.home[1] != engine.home[3]


ENDLESS = """
import torch
from dataclasses import replace
from threading import Timer
from ktl.data.fewshot import FewShotTask
from ktl.data.partition import ClientIndex, FederatedData
from ktl.federation.processes import Processes
from ktl.federation.problem import federated_problem
from ktl.federation.settings import FederationConfig
from ktl.learning.settings import RECIPES
from ktl.methods.message import Message
images, labels = torch.zeros(6, 3, 16, 16, dtype=torch.uint8), torch.arange(6) % 3
data = FederatedData(["a", "b", "c"], images, labels, [ClientIndex(torch.arange(6), torch.arange(6))] * 2)
config = FederationConfig(method="local", rounds=1, training=replace(RECIPES["tuned"], epochs=None, steps=10**9))
with Processes(config, federated_problem(config, data), {c: data.task(c) for c in range(2)}, 2) as clients:
    clients.test([0, 1], Message())
    Timer(1.0, print, ["training"], {"flush": True}).start()
    clients.learn([0, 1], 0, Message())
"""


def test_client_processes_end_at_once_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"training\n"
        parent.kill()
        parent.communicate(timeout=20)  # to the end of the output, which every process of the run holds open
        assert parent.returncode == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
