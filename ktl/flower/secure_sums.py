"""Sums that the cloud learns without learning what any one client adds: Flower's SecAgg+.

Flower offers it to its older interface alone, strategies and client proxies; here they carry one vector a client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client import Client, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import FitIns, Parameters, parameters_to_ndarrays
from flwr.server import LegacyContext
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.serverapp import Grid

from ktl.flower.records import Order
from ktl.flower.summands import Vector

LEVELS, MODULUS = 2**22, 2**32  # of a quantised number, and of sums of them: Flower's defaults

log = logging.getLogger("flwr")


class _OneVector(FedAvg):
    """Asks given clients for a vector each, and keeps the sum of those that came."""

    def __init__(self, orders: list[tuple[GridClientProxy, FitIns]]) -> None:
        super().__init__()
        self.orders = orders
        self.total: Vector | None = None
        self.added = 0

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> list[Any]:
        return self.orders

    def aggregate_fit(self, server_round: int, results: list[Any], failures: list[Any]) -> tuple[None, dict[str, Any]]:
        """Flower hands over the mean, as the result of each client that stayed."""
        self.added = len(results)
        (mean,) = parameters_to_ndarrays(results[0][1].parameters)
        self.total = np.asarray(mean * self.added, dtype=np.float64)
        return None, {}


def secure_sum(
    grid: Grid, orders: Mapping[int, Order], fewest: int, largest: float, timeout: float | None
) -> Vector | None:
    """The sum of the vectors of those nodes that stayed to the end; None where these are less than `fewest`.

    `orders`: what each node is told of the client whose statistics it adds; `largest`: no number in a vector is larger.
    Each is off by at most `largest` / 2**21.
    """
    fits = {node: FitIns(Parameters([], ""), _config(order)) for node, order in orders.items()}
    strategy = _OneVector([(GridClientProxy(node, grid, grid.run.run_id), fit) for node, fit in fits.items()])
    number = next(iter(orders.values())).round + 1
    records = RecordDict(
        {MAIN_CONFIGS_RECORD: ConfigRecord({Key.CURRENT_ROUND: number}), MAIN_PARAMS_RECORD: ArrayRecord()}
    )
    context = LegacyContext(Context(grid.run.run_id, 0, {}, records, {}), strategy=strategy)
    workflow = SecAggPlusWorkflow(
        1.0,
        fewest,
        max_weight=1.0,
        clipping_range=largest,
        quantization_range=min(LEVELS, MODULUS // (2 * len(orders))),
        modulus_range=MODULUS,
        timeout=timeout,
    )
    workflow(grid, context)
    if strategy.added < len(orders):
        log.warning("%d of %d clients are in a secure sum", strategy.added, len(orders))
    return strategy.total


def summand_app(vector_for: Callable[[Context, Order], Vector]) -> Callable[[Message, Context], Message]:
    """A node's part in all stages of the protocol; `vector_for` is what it adds."""

    class Summand(NumPyClient):
        def __init__(self, context: Context) -> None:
            self.of = context

        def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
            return [vector_for(self.of, Order(**config))], 1, {}

    def client(context: Context) -> Client:
        return Summand(context).to_client()

    return ClientApp(client, mods=[secaggplus_mod])


def _config(order: Order) -> dict[str, Any]:
    return {"run": order.run, "client": order.client, "version": order.version, "round": order.round}
