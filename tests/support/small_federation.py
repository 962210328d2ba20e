"""Fixtures: a federation of two clients so small that one round takes a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ktl.data import load_dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.settings import PartitionConfig
from ktl.federation.problem import federated_problem
from ktl.federation.settings import FederationConfig
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods.base import Problem
from ktl.objectives import TRANSFERS

# one step a round on all images of a client at once, plain SGD: what a few lines of torch can follow
PLAIN = replace(RECIPES["published"], learning_rate=0.05, batch=1000)


@pytest.fixture(scope="session")
def plain(small_bundle: Path, tiny_generator_file: Path) -> FederationConfig:
    """Two clients with one architecture, two rounds."""
    return FederationConfig(
        source=str(small_bundle),
        partition=PartitionConfig("dirichlet", clients=2, beta=1.0),
        rounds=2,
        training=PLAIN,
        transfer=TRANSFERS.choose("image-vector", warmup_steps=4, warmup_batch=16, joint_batch=8),
        cloud=CloudConfig(str(tiny_generator_file), pairs_per_class=8),
        warm_start="edge",
        precision="float32",
    )


@pytest.fixture(scope="session")
def shared(plain: FederationConfig) -> FederatedData:
    return share_out(load_dataset(plain.source), plain.partition, plain.seed)


@pytest.fixture(scope="session")
def problem(plain: FederationConfig, shared: FederatedData) -> Problem:
    return federated_problem(plain, shared)
