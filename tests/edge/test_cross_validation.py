"""Cross-validation over a run's shots."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import Comparison
from ktl.edge.cross_validation import cross_validate, split_into_folds
from ktl.edge.folds_file import CrossValidation, read_folds
from ktl.errors import CheckpointError, Interrupted, UsageError


@pytest.mark.parametrize("folds", [2, 3, 5, 12])
def test_every_class_is_spread_over_folds_of_equal_size(small_task: FewShotTask, folds: int) -> None:
    fold_of = split_into_folds(small_task, folds, seed=0)
    sizes = fold_of.bincount(minlength=folds).tolist()
    assert max(sizes) - min(sizes) <= 1
    for label in range(3):
        of_class = fold_of[small_task.shot_labels == label].bincount(minlength=folds).tolist()
        assert max(of_class) - min(of_class) <= 1
    assert torch.equal(fold_of, split_into_folds(small_task, folds, seed=0))


def test_folds_that_cannot_be_are_refused(small_task: FewShotTask) -> None:
    with pytest.raises(UsageError, match="--folds is 13: give 2 to 12, the labelled images"):
        split_into_folds(small_task, 13, seed=0)
    kept = torch.tensor([0, 1, 2, 3, 4, 8, 9])
    few = replace(small_task, shot_images=small_task.shot_images[kept], shot_labels=small_task.shot_labels[kept])
    with pytest.raises(
        UsageError, match="--folds needs 2 labelled images of each class, and 'green' has 1: label more"
    ):
        split_into_folds(few, 2, seed=0)


def test_a_run_is_validated_in_parts_to_the_same_answers(finished: Comparison, tmp_path: Path) -> None:
    run = shutil.copytree(finished.ktl.out, tmp_path / "run")
    calls = itertools.count()
    with pytest.raises(Interrupted, match=f"stopped in fold 2; go on with: ktl edge train --resume {run} --folds 2"):
        cross_validate(run, 2, should_stop=lambda: next(calls) > 120)  # one of its 105 steps a fold
    assert read_folds(run) is None
    seen: list[tuple[int, int]] = []
    result = cross_validate(run, 2, on_fold=lambda fold, right: seen.append((fold, len(right["KTL"]))))
    assert seen == [(0, 6), (1, 6)]
    assert result.right.keys() == {"KTL", "local only"}
    assert all(len(right) == 12 and sum(right) > 4 for right in result.right.values())  # one in three by chance
    assert read_folds(run) == result
    other = shutil.copytree(finished.ktl.out, tmp_path / "other")
    assert cross_validate(other, 2) == result


def test_kept_answers_are_not_asked_for_again_and_damaged_ones_are_named(finished: Comparison, tmp_path: Path) -> None:
    run = shutil.copytree(finished.local.out, tmp_path / "run")
    answers = {"folds": 3, "shots": 12, "right": {"local only": {str(shot): shot < 5 for shot in range(12)}}}
    (run / "folds.json").write_text(json.dumps(answers))
    assert cross_validate(run, 3, should_stop=lambda: True) == CrossValidation(
        3, {"local only": [True] * 5 + [False] * 7}
    )
    (run / "folds.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"folds\.json is damaged .*: remove it and give --folds again"):
        read_folds(run)
