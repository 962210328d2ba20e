"""The run with a cloud beside the same run without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.edge.compare import Comparison, train_beside_local
from ktl.edge.run import RunResult
from ktl.edge.settings import RunConfig
from ktl.errors import Interrupted
from ktl.learning.evaluation import Evaluation
from ktl.learning.schedule import Span
from ktl.learning.settings import RECIPES, TrainingConfig
from ktl.loop.folder import load_config
from ktl.loop.rounds import Observer


def test_the_gain_is_the_difference_of_the_two_accuracies() -> None:
    def result(right: int, wrong: int) -> RunResult:
        return RunResult(Path("run"), [], Evaluation(torch.tensor([[right, wrong], [wrong, right]])))

    assert Comparison(result(8, 2), result(5, 5)).gain == pytest.approx(0.3)
    assert Comparison(result(5, 5), result(8, 2)).gain == pytest.approx(-0.3)


def test_the_local_run_exchanges_nothing_and_learns_no_pairs(finished: Comparison) -> None:
    assert finished.local.out == finished.ktl.out / "local-only"
    [row] = finished.local.rows
    assert (row["bytes_up"], row["bytes_down"], row["pair_loss"]) == (0, 0, None)
    assert not (finished.local.out / "wire").exists()


def test_both_have_the_same_data_model_seed_and_recipe(small_config: RunConfig, finished: Comparison) -> None:
    alone = load_config(finished.local.out, RunConfig)
    assert alone.transfer is None
    assert (alone.data, alone.model, alone.seed) == (small_config.data, small_config.model, small_config.seed)
    assert alone.training == small_config.training


@pytest.mark.parametrize(
    ("training", "steps"),
    [(TrainingConfig(steps=7), 7), (RECIPES["published"], 3 * 2)],
)
def test_both_train_as_many_steps_on_the_shots(
    small_config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path, training: TrainingConfig, steps: int
) -> None:
    config = replace(small_config, training=training, transfer="mse")
    counts = {"ktl": 0, "local": 0}

    def counting(name: str) -> Observer:
        def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
            counts[name] += span.name == "shots"

        return Observer(on_step)

    train_beside_local(config, tmp_path / "run", cloud, observer=counting("ktl"), local_observer=counting("local"))
    assert counts == {"ktl": steps, "local": steps}


def test_stopped_in_the_local_run_it_is_the_whole_that_is_resumed(
    small_config: RunConfig,
    finished: Comparison,
    cloud: EmbeddedCloud,
    contents_of: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
) -> None:
    asked = 0

    def stop_at_the_ninth() -> bool:
        nonlocal asked
        asked += 1
        return asked == 9

    run = tmp_path / "run"
    with pytest.raises(Interrupted, match=f"go on with: ktl edge train --resume {run}$"):
        train_beside_local(small_config, run, cloud, local_observer=Observer(should_stop=stop_at_the_ninth))
    resumed = train_beside_local(small_config, run, cloud, resume=True)
    assert contents_of(resumed.ktl.out) == contents_of(finished.ktl.out)
    assert contents_of(resumed.local.out) == contents_of(finished.local.out)
