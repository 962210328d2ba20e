"""A fleet whose class statistics the cloud learns as sums alone, one of each architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ktl.class_statistics import ClassStatistics, architecture_of
from ktl.errors import DataError, UsageError
from ktl.federation.processes import make_method
from ktl.federation.settings import FederationConfig
from ktl.flower.fleet import Fleet
from ktl.flower.post import Post
from ktl.flower.records import Order
from ktl.flower.secure_sums import log, secure_sum
from ktl.flower.secure_terms import FEWEST, fewest_with, noise_of_each
from ktl.flower.summands import Vector, noisy_statistics_in, statistics_in, summand_length
from ktl.loop.clients import Outcome, Watch
from ktl.methods.base import Problem
from ktl.methods.fedktl import FedKTL
from ktl.methods.message import Message
from ktl.models import client_model
from ktl.statistics_noise import SHARES
from ktl.wire import SessionReply, decode_message, encode_statistics

NUMBER_BYTES = 8  # of a masked number, as it travels


def fleet_of(
    config: FederationConfig,
    problem: Problem,
    post: Post,
    nodes: Callable[[], Mapping[int, int]],
    run: str,
    clients: Sequence[int],
) -> Fleet:
    """The fleet that a run's settings ask for; arguments are those of `Fleet`, but for the method.

    Raises UsageError for secure sums of too few clients, or where nothing is pooled.
    """
    method = make_method(config, problem)
    if not config.secure_aggregation:
        return Fleet(post, nodes, method, run, clients)
    assert isinstance(method, FedKTL)  # the settings refuse others
    if not method.closes_rounds:
        raise UsageError("secure_aggregation adds up what clients pool: leave method.pool at all")
    models = {client: client_model(config.models, client) for client in clients}
    for model in sorted({*models.values()}):
        count = sum(each == model for each in models.values())
        if count < FEWEST:
            raise UsageError(
                f"{count} clients have the model {model}: a secure sum is of at least {FEWEST} clients with one "
                "model, give more clients or fewer models"
            )
    fewest = {model: fewest_with(model, config, problem) for model in {*models.values()}}
    return SecureFleet(post, nodes, method, run, models, fewest)


class SecureFleet(Fleet):
    """After training, the clients of each model add up their statistics; the first one reports the sum for all."""

    _method: FedKTL

    def __init__(
        self,
        post: Post,
        nodes: Callable[[], Mapping[int, int]],
        method: FedKTL,
        run: str,
        models: Mapping[int, str],
        fewest: Mapping[str, int],
    ) -> None:
        """`models`: those of the run's clients; `fewest`: of each model, how many clients a sum is of at least."""
        super().__init__(post, nodes, method, run, list(models))
        self._models = models
        self._fewest = fewest

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        """One round; of clients that leave while sums are taken, what they learnt counts, and no statistics."""
        outcomes = super().learn(clients, round_index, message, watch)
        done = [client for client, outcome in outcomes.items() if outcome.error is None]
        for model in sorted({self._models[client] for client in done}):
            members = [client for client in done if self._models[client] == model]
            if len(members) < self._fewest[model]:
                log.warning("%d clients with %s finished: too few for a secure sum", len(members), model)
                continue
            payload, sent = self._sum(members, model, round_index, message)
            outcomes |= {client: replace(outcomes[client], bytes_beside=sent) for client in members}
            if payload is not None:
                report = Message(payloads={"statistics": payload})
                first = outcomes[members[0]]
                # the sum is nobody's upload, so its bytes are taken off again
                outcomes[members[0]] = replace(first, report=report, bytes_beside=sent - len(payload))
        return outcomes

    def _sum(self, members: list[int], model: str, round_index: int, message: Message) -> tuple[bytes | None, int]:
        """The encoded statistics of all members, if enough stayed to the end; bytes that each has sent masked."""
        nodes, problem = self._nodes(), self._method.problem
        orders = {
            nodes[client]: Order(self._run, client, self.versions[client], round_index)
            for client in members
            if client in nodes
        }
        if len(orders) < (fewest := self._fewest[model]):
            return None, 0
        dimension = decode_message(message.payloads["reply"], SessionReply).latent_dim
        sent = NUMBER_BYTES * summand_length(problem.classes, dimension)
        largest = _largest(self._method, fewest)
        total = secure_sum(self._post.grid, orders, fewest, largest, self._post.timeout)
        if total is None:
            return None, sent
        try:
            return encode_statistics(self._statistics(total, members, model, dimension)), sent
        except DataError as error:
            log.warning("the secure sum of %s cannot be used: %s", model, error)
            return None, sent

    def _statistics(self, total: Vector, members: list[int], model: str, dimension: int) -> ClassStatistics:
        counts, architecture = self._method.problem.counts, architecture_of(model)
        if self._method.deviation is None:
            return statistics_in(total, counts.shape[1], dimension, architecture)
        held = counts[members].sum(dim=0).nonzero().squeeze(1)
        return noisy_statistics_in(total, counts.shape[1], dimension, architecture, held)


def _largest(method: FedKTL, fewest: int) -> float:
    """No number in a client's statistics is larger: it has a unit vector for each image, and the moment's trace is
    their number. With noise one count in 10**9 is; sums and moments, which get less of it, never are.
    """
    images = float(method.problem.counts.sum(dim=1).max())
    deviation = noise_of_each(method, fewest)
    return images if deviation is None else images + 6 * deviation / math.sqrt(SHARES["counts"])
