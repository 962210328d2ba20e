"""The communication table equals the paper's table 5 to its printed digits, counted the published way."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paper import traffic
from benchmarks.paper.published import TRAFFIC


@pytest.mark.parametrize("method", ["lg-fedavg", "fedgen", "fedgh", "feddistill", "fedproto", "fedktl"])
def test_a_methods_numbers_are_the_published_ones(tmp_path: Path, method: str) -> None:
    generator = tmp_path / "wide.safetensors"
    traffic.wide_generator(generator)
    up, down = traffic.measure(method, traffic.blank_data(), generator)
    assert (f"{up:.2f}", f"{down:.2f}") == tuple(f"{number:.2f}" for number in TRAFFIC[method])


def test_the_shared_model_of_fml_has_the_published_size_for_each_client(tmp_path: Path) -> None:
    """18.50 million is 20 times 0.925 million, rounded first."""
    _, down = traffic.measure("fml", traffic.blank_data(), tmp_path / "unused")
    assert round(down / 20, 3) * 20 == pytest.approx(TRAFFIC["fml"][1])
