"""Classification models of torchvision without their last layer: torchvision's own networks, and what cannot be one."""

from __future__ import annotations

import pytest
import torch
import torchvision

from ktl.data import load_dataset
from ktl.data.fewshot import draw_task
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import TrainingConfig
from ktl.models import MODELS

# the smallest image that a network takes, among those of 32 pixels and more; torchvision's documented parameters less
# those of the last layer
PUBLISHED = {
    "alexnet": (63, 61_100_840 - 4_097_000),
    "convnext_tiny": (32, 28_589_128 - 769_000),
    "efficientnet_b0": (32, 5_288_548 - 1_281_000),
    "inception_v3": (75, 27_161_264 - 3_326_696 - 2_049_000),  # 3,326,696 are the auxiliary head's
    "shufflenet_v2_x0_5": (32, 1_366_792 - 1_025_000),
    "squeezenet1_1": (32, 1_235_496 - 513_000),  # its last layer is a convolution
    "swin_t": (32, 28_288_354 - 769_000),
    "vgg11": (32, 132_863_336 - 4_097_000),
    "vit_l_32": (32, 306_535_400 - 1_025_000 - (49 - 1) * 1024),  # 224 x 224 has 49 patches, 32 x 32 one
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_its_published_size_without_the_last_layer_and_gives_512_features(name: str) -> None:
    size, parameters = PUBLISHED[name]
    with torch.device("meta"):
        for channels in (1, 3):
            extractor = MODELS.load(f"torchvision.models:{name}")(channels, size)
            assert sum(p.numel() for p in extractor.parameters()) == parameters
            assert extractor(torch.zeros(2, channels, size, size)).shape == (2, extractor.feature_dim) == (2, 512)


@pytest.mark.parametrize("name", ["alexnet", "convnext_tiny", "inception_v3", "vgg11", "vit_l_32"])
def test_a_smaller_image_than_a_network_can_take_is_refused(name: str) -> None:
    size = PUBLISHED[name][0] - 1
    message = rf"model 'torchvision.models:{name}' fails as {name}\(1, {size}\): .*; try another --image-size$"
    with torch.device("meta"), pytest.raises(UsageError, match=message):
        MODELS.load(f"torchvision.models:{name}")(1, size)


def test_the_initial_weights_are_torchvisions() -> None:
    torch.manual_seed(0)
    expected = torchvision.models.squeezenet1_1(weights=None).state_dict()
    torch.manual_seed(0)
    weights = MODELS.load("torchvision.models:squeezenet1_1")(1, 32).body.network.state_dict()
    assert expected.keys() - weights.keys() == {"classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())


def test_training_draws_nothing_from_torchs_global_stream() -> None:
    """efficientnet_b0 has dropout and stochastic depth."""
    extractor = MODELS.load("torchvision.models:efficientnet_b0")(3, 32)
    before = torch.get_rng_state()
    assert extractor.training
    extractor(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_edge_trains_a_network_of_torchvision() -> None:
    task = draw_task(load_dataset("fashion-mnist"), shots=2, ways=3, seed=0)
    training = TrainingConfig(steps=12, batch=6, schedule="constant")
    config = RunConfig(model="torchvision.models:shufflenet_v2_x0_5", transfer=None, training=training)
    losses: list[float] = []
    EdgeLearner(task, config, etf_seed=0).train_round(lambda stage, step, loss: losses.append(loss), lambda: False)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


@pytest.mark.parametrize(
    "name", ["torchvision.models.segmentation:fcn_resnet50", "torchvision.transforms.functional:hflip"]
)
def test_what_is_no_classification_model_of_torchvision_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"model '{name}' is no nn.Module class: give module:Class"):
        MODELS.load(name)
