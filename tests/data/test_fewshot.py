from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ktl.data.dataset import Dataset, Split
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.errors import DataError, UsageError


def letters(train_per_class: int = 6) -> Dataset:
    """5 classes in mixed order; image i of class c is filled with 20 c + i, in test images with 20 c + 10 + i."""

    def split(per_class: int, offset: int) -> Split:
        labels = np.tile(np.arange(5), per_class)
        levels = 20 * labels + offset + np.repeat(np.arange(per_class), 5)
        return Split(np.broadcast_to(levels[:, None, None, None], (len(levels), 8, 8, 3)).astype(np.uint8), labels)

    return Dataset("letters", list("ABCDE"), 8, 3, split(train_per_class, 0), split(2, 10))


def classes_of(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0].long() // 20).tolist()


def same(one: FewShotTask, other: FewShotTask) -> bool:
    return one.class_names == other.class_names and torch.equal(one.shot_images, other.shot_images)


def test_every_class_gives_its_shots_and_all_its_test_images() -> None:
    task = draw_task(letters(), shots=2, ways=None, seed=0)
    assert task.class_names == list("ABCDE")
    assert task.shot_images.shape == (10, 3, 8, 8)
    assert task.shot_images.dtype == torch.uint8
    assert task.shot_labels.tolist() == classes_of(task.shot_images) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert task.test_labels.tolist() == classes_of(task.test_images)
    assert sorted(task.test_images[:, 0, 0, 0].tolist()) == [20 * c + 10 + i for c in range(5) for i in range(2)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ways", [2, 3, 5])
def test_drawn_classes_keep_their_order_and_are_numbered_anew(ways: int, seed: int) -> None:
    task = draw_task(letters(), shots=1, ways=ways, seed=seed)
    drawn = ["ABCDE".index(name) for name in task.class_names]
    assert len(drawn) == ways
    assert drawn == sorted(drawn)
    assert [drawn[label] for label in task.shot_labels.tolist()] == classes_of(task.shot_images)
    assert [drawn[label] for label in task.test_labels.tolist()] == classes_of(task.test_images)
    assert task.test_labels.bincount().tolist() == [2] * ways


def test_shots_of_a_class_are_different_images() -> None:
    task = draw_task(letters(), shots=6, ways=None, seed=0)
    assert sorted(task.shot_images[:6, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_task_is_a_function_of_its_seed() -> None:
    assert same(draw_task(letters(), shots=2, ways=3, seed=1), draw_task(letters(), shots=2, ways=3, seed=1))
    others = [draw_task(letters(), shots=2, ways=3, seed=seed) for seed in range(2, 8)]
    assert not any(same(draw_task(letters(), shots=2, ways=3, seed=1), other) for other in others)
    assert len({tuple(task.class_names) for task in others}) > 1


def test_torchs_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    draw_task(letters(), shots=2, ways=3, seed=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("shots", [0, -1])
def test_less_than_one_shot_is_refused(shots: int) -> None:
    with pytest.raises(UsageError, match=f"shots is {shots}: give a whole number of at least 1, 'all' or 'up to 20'"):
        draw_task(letters(), shots=shots, ways=None, seed=0)


@pytest.mark.parametrize("ways", [-1, 0, 1, 6, 1000])
def test_ways_beyond_the_data_are_refused(ways: int) -> None:
    with pytest.raises(UsageError, match=f"--ways is {ways}: letters has 5 classes, so give 2 to 5"):
        draw_task(letters(), shots=1, ways=ways, seed=0)


def test_fewer_images_than_shots_are_refused_by_class() -> None:
    with pytest.raises(DataError) as refused:
        draw_task(letters(train_per_class=3), shots=4, ways=None, seed=0)
    advice = "add images, lower --shots, or give --shots 'up to 4'"
    assert str(refused.value) == f"class 'A' has 3 images to train on, fewer than 4 shots; {advice}"


def test_images_that_are_held_out_are_named_where_too_few_are_left() -> None:
    with pytest.raises(DataError, match="class 'A' has 5 images, 2 of them held out for testing: 3 are left, fewer "):
        draw_task(replace(letters(train_per_class=3), held_out=True), shots=4, ways=None, seed=0)


@pytest.mark.parametrize(("shots", "counts"), [("all", [6, 4, 1]), ("up to 4", [4, 4, 1]), ("up to 9", [6, 4, 1])])
def test_classes_of_unequal_size_give_all_that_they_have_or_so_many(shots: str, counts: list[int]) -> None:
    whole = letters()
    kept = np.concatenate([np.flatnonzero(whole.train.labels == c)[:n] for c, n in enumerate([6, 4, 1])])
    fewer = Split(np.asarray(whole.train.images)[kept], whole.train.labels[kept])
    tested = whole.test.labels < 3
    test = Split(np.asarray(whole.test.images)[tested], whole.test.labels[tested])
    task = draw_task(Dataset("few", list("ABC"), 8, 3, fewer, test), shots=shots, ways=None, seed=0)
    assert task.shot_labels.bincount().tolist() == counts
    assert task.shot_labels.tolist() == classes_of(task.shot_images)
    assert len(task.shot_images[:, 0, 0, 0].unique()) == sum(counts)
    assert task.balanced


def test_equal_numbers_of_shots_need_no_balance() -> None:
    assert not draw_task(letters(), shots=2, ways=None, seed=0).balanced
