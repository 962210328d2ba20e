"""The communication table equals the paper's table 5 to its printed digits, counted the published way."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "communication.py"


@pytest.fixture(scope="module")
def communication() -> ModuleType:
    spec = importlib.util.spec_from_file_location("communication", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["communication"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["lg-fedavg", "fedgen", "fedgh", "feddistill", "fedproto", "fedktl"])
def test_a_methods_numbers_are_the_published_ones(communication: ModuleType, tmp_path: Path, method: str) -> None:
    generator = tmp_path / "wide.safetensors"
    communication.wide_generator(generator)
    up, down = communication.measure(method, communication.blank_data(), generator)
    assert (f"{up:.2f}", f"{down:.2f}") == tuple(f"{number:.2f}" for number in communication.TRAFFIC[method])


def test_the_shared_model_of_fml_has_the_published_size_for_each_client(
    communication: ModuleType, tmp_path: Path
) -> None:
    """18.50 million is 20 times 0.925 million, rounded first."""
    _, down = communication.measure("fml", communication.blank_data(), tmp_path / "unused")
    assert round(down / 20, 3) * 20 == pytest.approx(communication.TRAFFIC["fml"][1])
