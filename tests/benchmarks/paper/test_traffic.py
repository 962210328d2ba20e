"""The communication table equals the paper's table 5 to its printed digits, counted the published way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from .conftest import Names


@pytest.fixture
def communication(names_in: Names) -> SimpleNamespace:
    return names_in("communication")


@pytest.mark.parametrize("method", ["lg-fedavg", "fedgen", "fedgh", "feddistill", "fedproto", "fedktl"])
def test_a_methods_numbers_are_the_published_ones(communication: SimpleNamespace, tmp_path: Path, method: str) -> None:
    generator = tmp_path / "wide.safetensors"
    communication.wide_generator(generator)
    up, down = communication.measure(method, communication.blank_data(), generator)
    assert (f"{up:.2f}", f"{down:.2f}") == tuple(f"{number:.2f}" for number in communication.TRAFFIC[method])


def test_the_shared_model_of_fml_has_the_published_size_for_each_client(
    communication: SimpleNamespace, tmp_path: Path
) -> None:
    """18.50 million is 20 times 0.925 million, rounded first."""
    _, down = communication.measure("fml", communication.blank_data(), tmp_path / "unused")
    assert round(down / 20, 3) * 20 == pytest.approx(communication.TRAFFIC["fml"][1])
