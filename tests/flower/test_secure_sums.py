"""Secure aggregation: the right sum, also when a client leaves, and nothing to be seen in what one client sends."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.common import bytes_to_ndarray
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from support.direct_grid import DirectGrid

from ktl.flower.records import Order
from ktl.flower.secure_sums import MODULUS, secure_sum, summand_app
from ktl.flower.secure_terms import FEWEST

CLIENTS, LENGTH, LARGEST = 5, 20_000, 30.0
VECTORS = np.random.default_rng(0).normal(0, 3, (CLIENTS, LENGTH)).clip(-LARGEST, LARGEST)


def stage_of(message: Message) -> Any:
    return message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]


def grid(leaving: tuple[int, ...] = ()) -> DirectGrid:
    """Five nodes with a vector each; those that leave do so before they send it."""
    app = ClientApp()
    app.train()(summand_app(lambda context, order: VECTORS[order.client]))

    def silent(node: int, message: Message) -> bool:
        return node in leaving and stage_of(message) in (Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK)

    return DirectGrid(app, {node: {} for node in range(CLIENTS)}, silent)


def total(over: DirectGrid) -> Any:
    orders = {node: Order("0" * 16, client=node, version=1, round=0) for node in range(CLIENTS)}
    return secure_sum(over, orders, FEWEST, LARGEST, timeout=1.0)


def sent_by(over: DirectGrid, node: int) -> Any:
    """The vector that a node sent, integers below `MODULUS`."""
    (reply,) = [
        reply
        for sender, message, reply in over.exchanged
        if sender == node and stage_of(message) == Stage.COLLECT_MASKED_VECTORS
    ]
    assert reply is not None
    assert not reply.content.array_records or all(not each for each in reply.content.array_records.values())
    return bytes_to_ndarray(reply.content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS][1])


def distance_from_uniform(values: Any) -> float:
    """Kolmogorov and Smirnov's: about 1 for integers drawn evenly below MODULUS, above 2.2 once in 8,000 times."""
    ordered, n = np.sort(values) / MODULUS, len(values)
    steps = np.arange(n + 1) / n
    return float(max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max()) * np.sqrt(n))


def test_the_sum_is_that_of_the_vectors() -> None:
    assert np.abs(total(grid()) - VECTORS.sum(axis=0)).max() < CLIENTS * LARGEST / 2**20


def test_a_client_that_leaves_is_left_out_of_the_sum() -> None:
    stayed = VECTORS[[0, 1, 3, 4]].sum(axis=0)
    assert np.abs(total(grid(leaving=(2,))) - stayed).max() < CLIENTS * LARGEST / 2**20


def test_of_too_few_clients_there_is_no_sum() -> None:
    assert total(grid(leaving=(0, 1, 2))) is None


def test_what_a_client_sends_looks_like_noise_and_is_other_noise_each_time() -> None:
    one, other = grid(), grid()
    total(one), total(other)
    levels = (VECTORS[0] + LARGEST) / (2 * LARGEST) * MODULUS
    assert distance_from_uniform(levels) > 10  # without the masks
    first, second = sent_by(one, 0), sent_by(other, 0)
    for sent in (first, second, (first - second) % MODULUS):
        assert len(sent) == LENGTH
        assert distance_from_uniform(sent) < 2.2
    assert (first == second).mean() < 0.001
    assert abs(np.corrcoef(first, VECTORS[0])[0, 1]) < 5 / np.sqrt(LENGTH)
