"""Clients that begin with a cloud's extractor, each with its own architecture's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import FederatedData
from ktl.errors import UsageError
from ktl.federation.problem import federated_problem
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.generators.network import NetworkGenerator
from ktl.loop.folder import load_config
from ktl.models.edge_model import extractor_weights
from ktl.warm_start.settings import WarmStartConfig
from ktl.wire import warm_start_bytes

from .test_run import assert_same_run


@pytest.fixture(scope="module")
def warm(plain: FederationConfig) -> FederationConfig:
    """Two rounds; clients with two models of ktl's own."""
    return replace(
        plain,
        method="fedktl",
        models="cnn4,resnet4",
        rounds=2,
        warm_start="cloud",
        transfer=federated_transfer(),
        training=replace(plain.training, steps=2, batch=16),
    )


@pytest.fixture
def cloud(tiny_generator: NetworkGenerator) -> EmbeddedCloud:
    return EmbeddedCloud(tiny_generator, warm_starts=WarmStartConfig(images=16, chunk=16, passes=2, batch=16))


@pytest.mark.slow
def test_in_processes_or_not_it_has_the_same_bits_and_every_client_s_bytes_count(
    warm: FederationConfig, shared: FederatedData, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    cold = federate(replace(warm, warm_start="edge"), tmp_path / "cold", data=shared, connection=cloud, workers=0)
    one = federate(warm, tmp_path / "one", data=shared, connection=cloud, workers=0)
    federate(warm, tmp_path / "two", data=shared, connection=cloud, workers=2)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    problem = federated_problem(warm, shared)
    sizes = [warm_start_bytes(extractor_weights(m, problem.channels, problem.image_size)) for m in problem.models]
    wire = tmp_path / "one" / "wire"
    assert [(wire / f"warm-start-{m}.safetensors").stat().st_size for m in problem.models] == sizes
    clients = len(shared.clients)
    assert all(shared.task(client).shot_labels.numel() for client in range(clients))
    extra = [one.rows[i]["bytes_broadcast"] - cold.rows[i]["bytes_broadcast"] for i in range(2)]
    assert abs(extra[0] - sum(sizes)) < 1_000  # the reply says more
    assert abs(extra[1]) < 1_000
    down = sum(sizes[client % 2] for client in range(clients))
    assert abs(one.rows[0]["bytes_down"] - cold.rows[0]["bytes_down"] - down) < 1_000 * clients


@pytest.mark.parametrize(
    ("models", "channels", "size", "begins"),
    [
        ("cnn4", 1, 28, "cloud"),
        ("cnn4", 3, 32, "cloud"),
        ("cnn4,torchvision.models:squeezenet1_1", 3, 32, "cloud"),  # the second warms up by itself
        ("cnn4,resnet4", 3, 32, "edge"),  # none ships of the second: nobody begins ahead of others
        ("torchvision.models:squeezenet1_1", 3, 32, "edge"),
        ("cnn4", 3, 40, "edge"),
    ],
)
def test_by_default_clients_begin_with_what_ships(models: str, channels: int, size: int, begins: str) -> None:
    config = FederationConfig(method="fedktl", models=models)
    assert config.settled(channels, size) == replace(config, warm_start=begins)
    for settled in (replace(config, warm_start="edge"), replace(config, warm_start="cloud")):
        assert settled.settled(channels, size) == settled
    assert replace(config, method="local").settled(channels, size).warm_start == "edge"


def test_a_run_goes_on_as_it_began(plain: FederationConfig, shared: FederatedData, tmp_path: Path) -> None:
    """What was left to the data stays as the data, and what shipped then, settled it."""
    begun = replace(plain, method="local", rounds=1, warm_start="auto")
    federate(begun, tmp_path / "run", data=shared, workers=0)
    assert load_config(tmp_path / "run", FederationConfig) == replace(begun, warm_start="edge")
    again = federate(begun, tmp_path / "run", data=shared, workers=0, resume=True)
    assert len(again.rows) == 1
    with pytest.raises(UsageError, match="warm_start"):
        federate(replace(begun, warm_start="cloud"), tmp_path / "run", data=shared, workers=0, resume=True)


def test_clients_with_models_of_their_own_warm_up_themselves(warm: FederationConfig) -> None:
    mixed = replace(warm, models="cnn4,torchvision.models:squeezenet1_1")
    assert mixed.warm_started == ["cnn4"]
    edges = [
        mixed.edge(model, mixed.training, uses_pairs=True) for model in ("cnn4", "torchvision.models:squeezenet1_1")
    ]
    assert [edge.warm_start for edge in edges] == ["cloud", "edge"]
    assert replace(warm, method="local").warm_started == []
