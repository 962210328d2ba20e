"""How well a model does on the test images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ktl.edge.compare import Comparison
from ktl.edge.run import evaluate_run
from ktl.errors import CheckpointError
from ktl.learning.evaluation import Evaluation, evaluate, predict_classes

CPU = torch.device("cpu")


class StrongestChannel(nn.Module):
    """Images (n, c, h, w) -> each channel's mean: the brightest channel is the class."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def coloured(classes: list[int]) -> Tensor:
    """One 4 x 4 image a class index, bright in that channel."""
    images = torch.full((len(classes), 3, 4, 4), 50, dtype=torch.uint8)
    images[torch.arange(len(classes)), classes] = 200
    return images


def test_the_confusion_counts_true_classes_in_rows_and_predicted_ones_in_columns() -> None:
    predicted, true = [0, 0, 1, 2, 2, 0], torch.tensor([0, 0, 1, 1, 2, 2])
    result = evaluate(StrongestChannel(), coloured(predicted), true, 3, CPU)
    assert result.confusion.tolist() == [[2, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert result.accuracy == 4 / 6
    assert result.class_accuracy == [1.0, 0.5, 0.5]


def test_a_class_that_is_never_predicted_keeps_its_column() -> None:
    result = evaluate(StrongestChannel(), coloured([0, 1]), torch.tensor([2, 2]), 3, CPU)
    assert result.confusion.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert result.accuracy == 0.0
    assert result.class_accuracy == [None, None, 0.0]


def test_more_images_than_a_batch_are_classified_in_their_order() -> None:
    classes = [i % 3 for i in range(1203)]
    assert predict_classes(StrongestChannel(), coloured(classes), CPU).tolist() == classes


def test_a_saved_run_is_evaluated_as_it_was_when_it_ended(finished: Comparison) -> None:
    for result in (finished.ktl, finished.local):
        evaluation, names = evaluate_run(result.out)
        assert names == ["blue", "green", "red"]
        assert evaluation.confusion.tolist() == result.evaluation.confusion.tolist()
        assert evaluation.confusion.sum(dim=1).tolist() == [20, 20, 20]
        assert evaluation.accuracy == result.rows[-1]["test_accuracy"]
        assert 1 / 3 < evaluation.accuracy < 1  # else the numbers above say little


def test_a_run_without_a_checkpoint_is_refused(finished: Comparison, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no run at .*: config\.json is missing"):
        evaluate_run(tmp_path)
    shutil.copy(finished.ktl.out / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        evaluate_run(tmp_path)


def test_accuracy_is_the_share_of_the_diagonal() -> None:
    assert Evaluation(torch.tensor([[30, 10], [0, 60]])).accuracy == 0.9
    assert Evaluation(torch.tensor([[30, 10], [0, 60]])).class_accuracy == [0.75, 1.0]
