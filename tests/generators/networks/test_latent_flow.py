"""A decoder of codes and the flow that draws them: what the flow learns, and which images a code has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ktl.generators.network import save_network
from ktl.generators.networks.latent_flow import Decoder, FlowMapping, LatentFlow, LatentFlowConfig
from ktl.seeds import initialising, stream

SMALL = LatentFlowConfig(w_dim=4, resolution=16, channels=(8, 8, 4), flow_width=32, flow_layers=2)


@pytest.fixture
def network() -> LatentFlow:
    with initialising(0, "test"):
        return LatentFlow(SMALL)


def test_a_flow_learns_where_codes_are_and_how_many(network: LatentFlow) -> None:
    """Three of four codes at one place: so are three of four that are drawn."""
    rng = stream(0, "codes")
    places = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, -2.0, 0.0]])
    optimizer = torch.optim.Adam(network.mapping.parameters(), 5e-3)
    for _ in range(400):
        codes = places[(torch.rand(128, generator=rng) < 0.25).long()]
        z, t = torch.randn(128, 4, generator=rng), torch.rand(128, 1, generator=rng)
        optimizer.zero_grad()
        network.mapping.matching_loss(codes, z, t).backward()
        optimizer.step()
    z = torch.randn(1000, 4, generator=rng)
    with torch.no_grad():
        drawn = network.mapping(z)
        network.mapping.steps *= 10
        assert (drawn - network.mapping(z)).norm(dim=1).median() < 0.05  # few steps are enough
    distance, place = torch.cdist(drawn, places).min(dim=1)
    assert (distance < 0.5).float().mean() > 0.9
    assert place.float().mean().item() == pytest.approx(0.25, abs=0.1)


@torch.no_grad()
def test_the_loss_of_a_velocity_is_its_distance_from_straight_lines() -> None:
    mapping = FlowMapping(SMALL)
    for parameter in mapping.parameters():
        parameter.zero_()
    codes, z = torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 0.0, 3.0]])
    assert mapping.matching_loss(codes, z, torch.tensor([[0.3]])).item() == pytest.approx((1 + 1 + 1 + 4) / 4)


@torch.no_grad()
def test_codes_are_of_one_length_and_at_truncation_0_all_the_same(network: LatentFlow) -> None:
    z = torch.randn(5, 4, generator=stream(0, "z"))
    codes, one = network.mapping(z), network.mapping(z, 0.0)
    torch.testing.assert_close(codes.square().mean(dim=1), torch.ones(5))
    assert codes.std(dim=0).min() > 0.1
    torch.testing.assert_close(one, one[:1].expand(5, -1))


@torch.no_grad()
@pytest.mark.parametrize("channels", [(8, 8), (8, 8, 4), (8, 8, 8, 4, 2)])
def test_a_code_has_the_same_image_in_any_batch(channels: tuple[int, ...]) -> None:
    resolution = 2 << len(channels)
    with initialising(0, "test"):
        decoder = Decoder(LatentFlowConfig(4, resolution, channels))
        for block in decoder.blocks:
            block.get_parameter("affine.weight").normal_()
    codes = torch.randn(6, 1, 4, generator=stream(0, "codes"))
    together = decoder(codes)
    assert together.shape == (6, 3, resolution, resolution)
    assert together.std(dim=0).min() > 1e-3  # different codes look different, everywhere
    torch.testing.assert_close(decoder(codes, 1), together, atol=1e-4, rtol=0)
    torch.testing.assert_close(decoder(codes[4:5]), together[4:5], atol=1e-4, rtol=0)


def test_the_default_takes_less_than_four_megabytes(tmp_path: Path) -> None:
    save_network(tmp_path / "flow.safetensors", LatentFlow(LatentFlowConfig()), licence="", precision="int8")
    assert 3 * 2**20 < (tmp_path / "flow.safetensors").stat().st_size < 4 * 2**20
