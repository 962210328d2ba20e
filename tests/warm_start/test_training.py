"""An extractor's training on fresh images: it learns, it can be stopped, and it goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ktl.errors import Interrupted
from ktl.generators.network import NetworkGenerator
from ktl.spaces import SPACES, space_of
from ktl.warm_start.settings import Architecture, WarmStartConfig
from ktl.warm_start.training import WarmStartTraining

CONFIG = WarmStartConfig(images=80, chunk=32, passes=2, batch=16)  # three chunks, the last one of 16 images
CNN = Architecture("cnn4", 3, 16)


def test_a_stopped_training_goes_on_to_the_same_bits(tiny_generator: NetworkGenerator) -> None:
    space = space_of(tiny_generator)
    whole = WarmStartTraining(CNN, tiny_generator, space, CONFIG)
    assert whole.steps == 12
    whole.train(lambda step, loss: None)
    done: list[int] = []
    stopped = WarmStartTraining(CNN, tiny_generator, space, CONFIG, lambda: len(done) == 6)
    with pytest.raises(Interrupted, match="stopped after 6 of 12 steps"):
        stopped.train(lambda step, loss: done.append(step))
    resumed = WarmStartTraining(CNN, tiny_generator, space, CONFIG)
    resumed.restore(stopped.state())
    resumed.train(lambda step, loss: None)
    first, second = whole.state(), resumed.state()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_it_learns_to_tell_images_by_their_vectors(tiny_generator: NetworkGenerator) -> None:
    config = WarmStartConfig(images=64, chunk=64, passes=60, batch=32)
    training = WarmStartTraining(CNN, tiny_generator, space_of(tiny_generator), config)
    losses: list[float] = []
    training.train(lambda step, loss: losses.append(loss))
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:5]) / 5


def test_every_chunk_has_images_of_its_own_and_the_seed_decides_them(tiny_generator: NetworkGenerator) -> None:
    training = WarmStartTraining(CNN, tiny_generator, space_of(tiny_generator), CONFIG)
    chunks = [training._drawn(index) for index in range(3)]
    assert [len(chunk) for chunk in chunks] == [32, 32, 16]
    assert not torch.equal(chunks[0].vectors[:16], chunks[1].vectors[:16])
    other = WarmStartTraining(CNN, tiny_generator, space_of(tiny_generator), replace(CONFIG, seed=1))
    assert not torch.equal(other._drawn(0).vectors, chunks[0].vectors)


def test_grey_images_and_a_metric_space_take_their_own_objective(tiny_generator: NetworkGenerator) -> None:
    space = space_of(tiny_generator, SPACES.choose("encoder", dimension=8))
    training = WarmStartTraining(Architecture("resnet4", 1, 20), tiny_generator, space, replace(CONFIG, images=32))
    training.train(lambda step, loss: None)
    assert type(training.objective).__name__ == "MetricContrast"
    assert training._drawn(0).images.shape == (32, 1, 20, 20)
