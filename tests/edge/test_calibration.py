"""Temperatures: fitted as Guo et al. do, from shots that were held out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.edge.calibration import calibrated_temperature, fit_temperature
from ktl.edge.compare import Comparison
from ktl.edge.record import read_record
from ktl.edge.settings import RunConfig
from ktl.intervals import wilson_interval
from ktl.learning.settings import TrainingConfig


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_logits_that_are_too_large_by_a_factor_are_divided_by_it(true: float) -> None:
    rng = torch.Generator().manual_seed(0)
    honest = 2.0 * torch.randn(20_000, 5, generator=rng)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=rng).squeeze(1)
    assert fit_temperature(true * honest, labels) == pytest.approx(true, rel=0.05)


def test_a_run_keeps_the_temperature_of_its_task(
    small_config: RunConfig, small_task: FewShotTask, finished: Comparison
) -> None:
    temperature = calibrated_temperature(small_task, small_config)
    assert temperature == read_record(finished.ktl.out).temperature == read_record(finished.local.out).temperature
    assert 0.3 < temperature < 3.3
    assert temperature != 1.0


def test_one_shot_a_class_leaves_nothing_to_hold_out(small_config: RunConfig, small_bundle: object) -> None:
    task = draw_task(load_dataset(str(small_bundle)), shots=1, ways=None, seed=0)
    assert calibrated_temperature(task, replace(small_config, training=TrainingConfig(steps=5))) == 1.0


def test_wilson_intervals_are_those_of_the_tables() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe 1998
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
