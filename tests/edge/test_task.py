"""What a run leaves open is settled by its images, and stays so once it has begun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ktl.data.settings import DataConfig
from ktl.edge.run import load_run, train_edge
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw, settled, settled_as
from ktl.learning.settings import TrainingConfig


def photographs_of(side: int, folder: Path) -> RunConfig:
    """A run without a cloud on two classes of pictures whose shorter side is `side` pixels long."""
    for label, level in (("cat", 60), ("dog", 180)):
        (folder / label).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (side + 10, side), (level, level, index)).save(folder / label / f"{index}.png")
    return RunConfig(data=DataConfig(str(folder), shots=2), transfer=None, training=TrainingConfig(steps=1))


@pytest.mark.parametrize(("side", "model", "size"), [(64, "resnet8-slim", 64), (63, "cnn4", 32)])
def test_larger_photographs_get_more_pixels_and_another_network(
    side: int, model: str, size: int, tmp_path: Path
) -> None:
    config = photographs_of(side, tmp_path)
    task = draw(config)
    chosen = settled(config, task)
    assert (chosen.model, chosen.data.image_size, chosen.warm_start) == (model, size, "edge")
    assert task.shot_images.shape == (4, 3, size, size)
    named = replace(config, model="resnet4", data=replace(config.data, image_size=16))
    assert settled(named, draw(named)) == replace(named, warm_start="edge")
    assert settled_as(config, chosen) == chosen
    assert settled_as(named, chosen) == replace(named, warm_start="edge")


def test_pre_trained_weights_see_photographs_larger(tmp_path: Path) -> None:
    config = replace(photographs_of(64, tmp_path / "large"), model="resnet18", weights="resnet18.pth")
    assert draw(config).shot_images.shape == (4, 3, 96, 96)
    assert draw(replace(config, data=replace(config.data, image_size=48))).shot_images.shape == (4, 3, 48, 48)
    small = replace(config, data=photographs_of(63, tmp_path / "small").data)
    assert draw(small).shot_images.shape == (4, 3, 32, 32)


def test_a_run_keeps_what_was_chosen(tmp_path: Path) -> None:
    config = photographs_of(64, tmp_path / "photographs")
    train_edge(config, tmp_path / "run")
    learner = load_run(tmp_path / "run")
    assert learner.config == settled(config, draw(config))
    again = train_edge(config, tmp_path / "run", resume=True)  # with the same open settings: the same run
    assert again.evaluation.confusion.sum() == 2
