from __future__ import annotations

import pytest
import torch

from ktl.errors import UsageError
from ktl.models.compact import FourLayerCNN
from ktl.models.edge_model import build_model


def test_the_compact_cnn_has_the_papers_sizes() -> None:
    model = FourLayerCNN(channels=3, image_size=32)
    parameters = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert parameters["conv1.weight"] == (32, 3, 5, 5)
    assert parameters["conv2.weight"] == (64, 32, 5, 5)
    assert parameters["dense.weight"] == (512, 1600)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 16), (3, 47), (1, 64)])
def test_any_size_and_colour_gives_512_features(channels: int, size: int) -> None:
    features = FourLayerCNN(channels, size)(torch.zeros(2, channels, size, size))
    assert features.shape == (2, 512)


def test_a_smaller_image_is_refused_with_the_fix() -> None:
    with pytest.raises(UsageError, match="at least 16 x 16, not 15: set --image-size 32"):
        FourLayerCNN(channels=3, image_size=15)


def test_a_model_is_a_function_of_its_seeds() -> None:
    def weights(seed: int, etf_seed: int) -> dict[str, torch.Tensor]:
        model = build_model("cnn4", channels=1, image_size=28, classes=5, seed=seed, etf_seed=etf_seed)
        return model.state_dict()

    base, same, other, other_etf = weights(0, 0), weights(0, 0), weights(1, 0), weights(0, 1)
    assert all(torch.equal(base[name], same[name]) for name in base)
    assert not torch.equal(base["extractor.conv1.weight"], other["extractor.conv1.weight"])
    assert torch.equal(base["classifier.etf"], other["classifier.etf"])
    assert torch.equal(base["extractor.conv1.weight"], other_etf["extractor.conv1.weight"])
    assert not torch.equal(base["classifier.etf"], other_etf["classifier.etf"])


def test_building_a_model_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_model("cnn4", channels=1, image_size=28, classes=5, seed=7, etf_seed=7)
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_model_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="unknown model 'resnet9000': choose one of cnn4, resnet4,"):
        build_model("resnet9000", channels=1, image_size=28, classes=5, seed=0, etf_seed=0)
