"""A fleet whose class statistics the cloud learns as sums alone, one of each architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ktl.class_statistics import architecture_of
from ktl.errors import DataError, UsageError
from ktl.federation.processes import make_method
from ktl.federation.settings import FederationConfig
from ktl.flower.fleet import Fleet
from ktl.flower.post import Post
from ktl.flower.records import Order
from ktl.flower.secure_sums import FEWEST, log, secure_sum
from ktl.flower.summands import statistics_in, summand_length
from ktl.loop.clients import Outcome, Watch
from ktl.methods.base import Method, Problem
from ktl.methods.message import Message
from ktl.models import client_model
from ktl.statistics_noise import SHARES, noise_deviation
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
    return SecureFleet(post, nodes, method, run, models)


class SecureFleet(Fleet):
    """After training, the clients of each model add up their statistics; the first one reports the sum for all."""

    def __init__(
        self,
        post: Post,
        nodes: Callable[[], Mapping[int, int]],
        method: Method,
        run: str,
        models: Mapping[int, str],
    ) -> None:
        """`models`: those of the run's clients."""
        super().__init__(post, nodes, method, run, list(models))
        self._models = models

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        """One round; of clients that leave while sums are taken, what they learnt counts, and no statistics."""
        outcomes = super().learn(clients, round_index, message, watch)
        done = [client for client, outcome in outcomes.items() if outcome.error is None]
        for model in sorted({self._models[client] for client in done}):
            members = [client for client in done if self._models[client] == model]
            if len(members) < FEWEST:
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
        if len(orders) < FEWEST:
            return None, 0
        dimension = decode_message(message.payloads["reply"], SessionReply).latent_dim
        sent = NUMBER_BYTES * summand_length(problem.classes, dimension)
        total = secure_sum(self._post.grid, orders, _largest(self._method), self._post.timeout)
        if total is None:
            return None, sent
        try:
            statistics = statistics_in(total, problem.classes, dimension, architecture_of(model))
        except DataError as error:
            log.warning("the secure sum of %s cannot be used: %s", model, error)
            return None, sent
        return encode_statistics(statistics), sent


def _largest(method: Method) -> float:
    """No number in a client's statistics is larger: it has a unit vector for each image, and the moment's trace is
    their number. With noise that number is as large as the classes' noisy counts, of which one in 10**9 is larger.
    """
    problem, settings = method.problem, method.settings
    images = float(problem.counts.sum(dim=1).max())
    if settings.epsilon is None:
        return images
    deviation = noise_deviation(settings.epsilon, settings.delta, problem.rounds) / math.sqrt(SHARES["counts"])
    return images + problem.classes * (1 + 6 * deviation)
