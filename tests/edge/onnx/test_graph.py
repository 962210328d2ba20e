"""A graph that was traced for one module serves another of its structure, and no other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ktl.edge.onnx import graph
from ktl.edge.onnx.graph import traced


class Scaled(nn.Module):
    """A module with a plain number and a plain tensor beside its weights."""

    def __init__(self, factor: float, shift: Tensor, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(12, 3)
        self.factor, self.shift = factor, shift

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.linear(pixels.flatten(1).float()) * self.factor + self.shift
        return found


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that torch's exporter was asked for."""
    seen: list[nn.Module] = []
    export: Callable[..., object] = torch.onnx.export
    monkeypatch.setattr(graph, "_graphs", {})
    monkeypatch.setattr(
        torch.onnx, "export", lambda module, *rest, **named: seen.append(module) or export(module, *rest, **named)
    )
    return seen


def check(module: nn.Module) -> None:
    pixels = torch.randint(0, 256, (5, 3, 2, 2), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(traced(module, 3, 2).SerializeToString())
    [found] = session.run(None, {"pixels": pixels.numpy()})
    np.testing.assert_allclose(found, module(pixels).detach().numpy(), rtol=1e-4, atol=1e-3)


def test_other_weights_take_the_graph_and_anything_else_another(traces: list[nn.Module]) -> None:
    first = Scaled(2.0, torch.ones(3), seed=0)
    for same in (first, Scaled(2.0, torch.ones(3), seed=1), first):
        check(same)
    assert traces == [first]
    for other in (Scaled(3.0, torch.ones(3), seed=0), Scaled(2.0, torch.zeros(3), seed=0)):
        check(other)
        assert traces[-1] is other


def test_weights_that_the_graph_folds_are_never_put_into_it(traces: list[nn.Module]) -> None:
    """The exporter folds batch normalisation into the convolution before it."""
    for _ in range(2):
        module = nn.Sequential(Cast(), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten()).eval()
        nn.init.uniform_(module[2].running_mean)
        check(module)
    assert len(traces) == 2


class Cast(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float()


def test_only_the_latest_graphs_are_kept(traces: list[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "KEPT", 2)
    modules = [Scaled(float(factor), torch.ones(3), seed=0) for factor in range(1, graph.KEPT + 2)]
    for module in [*modules, modules[-1], modules[0]]:
        check(module)
    assert traces == [*modules, modules[0]]
    assert len(graph._graphs) == graph.KEPT


def test_a_module_that_cannot_be_written_down_is_traced_each_time(traces: list[nn.Module]) -> None:
    module = Scaled(2.0, torch.ones(3), seed=0)
    module.spoiler = lambda: None  # type: ignore[assignment]
    for _ in range(2):
        check(module)
    assert traces == [module, module]
