"""What the server and its nodes reckon alike from a run's settings: of how many clients a secure sum is, its noise."""

from __future__ import annotations

import math

from ktl.federation.settings import FederationConfig
from ktl.methods.base import Problem
from ktl.methods.fedktl import FedKTL
from ktl.models import client_model

FEWEST = 3  # clients in a sum: of two, each could tell what the other added
NEEDED = 0.67  # share of the clients that must stay to the end, and that would have to tell the cloud to unmask one


def fewest_in_sum(clients: int) -> int:
    """Of so many clients that take part in a round."""
    return max(FEWEST, round(NEEDED * clients))


def fewest_with(model: str, config: FederationConfig, problem: Problem) -> int:
    """Of the clients with this model: a sum of fewer is not taken in any round."""
    active: list[int] = problem.counts.sum(dim=1).nonzero().squeeze(1).tolist()
    alike = [client for client in active if client_model(config.models, client) == model]
    return fewest_in_sum(round(config.join_ratio * len(alike)))


def noise_of_each(method: FedKTL, fewest: int) -> float | None:
    """Deviation of the noise that each client adds, so that any `fewest` have added all of it; None for none."""
    return None if method.deviation is None else method.deviation / math.sqrt(fewest)
