"""Whether pictures may be mirrored."""

from __future__ import annotations

import logging

import pytest
import torch

from ktl.data import load_dataset
from ktl.data.fewshot import draw_task
from ktl.data.mirroring import mirroring_misleads
from ktl.seeds import stream


def sided(shots: int, *, mirrored_too: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a bright patch on the left or on the right: the class, unless it is told by the height."""
    labels = torch.arange(2).repeat_interleave(shots)
    images = torch.randint(90, 160, (2 * shots, 3, 16, 16), dtype=torch.uint8, generator=stream(0, "noise"))
    for index, label in enumerate(labels.tolist()):
        side, row = (index % 2, 4 + 5 * label) if mirrored_too else (label, 6)
        images[index, :, row : row + 4, 12 * side : 12 * side + 4] = 255
    return images, labels


@pytest.mark.parametrize("shots", [3, 10, 400])
def test_classes_that_are_each_others_mirror_images_are_seen(shots: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ktl.data"):
        assert mirroring_misleads(*sided(shots))
    [line] = caplog.messages
    assert line.endswith("the labelled images are not mirrored in training")


def test_classes_that_look_to_both_sides_may_be_mirrored() -> None:
    assert not mirroring_misleads(*sided(10, mirrored_too=True))


@pytest.mark.parametrize("shots", [1, 2, 9, 40])
def test_clothes_may_be_mirrored(shots: int) -> None:
    task = draw_task(load_dataset("fashion-mnist"), shots=shots, ways=None, seed=0)
    assert not mirroring_misleads(task.shot_images, task.shot_labels)


def test_one_picture_says_nothing() -> None:
    images, labels = sided(1)
    assert not mirroring_misleads(images[:1], labels[:1])
