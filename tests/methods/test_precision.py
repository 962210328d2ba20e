"""What trains beside an edge's own model computes in the same precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ktl.methods.fedkd import AdaptiveMutualDistillation
from ktl.methods.fml import MutualLearning, MutualSettings
from ktl.models.classifiers import LinearClassifier
from ktl.models.edge_model import EdgeModel, build_model
from ktl.models.settings import ClassifierSettings
from ktl.objectives.base import Objective, Step


def small_model(seed: int) -> EdgeModel:
    settings = ClassifierSettings(smoothing=0.0)
    return build_model(
        "cnn4",
        channels=1,
        image_size=16,
        classes=3,
        seed=seed,
        etf_seed=0,
        settings=settings,
        classifier=LinearClassifier,
    )


@pytest.mark.parametrize(
    "make", [lambda beside: MutualLearning(beside, MutualSettings()), AdaptiveMutualDistillation], ids=["fml", "fedkd"]
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_model_beside_the_private_one_computes_in_the_same_precision(
    make: Callable[[EdgeModel], Objective], dtype: torch.dtype
) -> None:
    private, beside = small_model(seed=0), small_model(seed=1)
    shots = torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])

    def no_pairs(views: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        raise AssertionError("neither method asks for pairs")

    step = Step(private, torch.Generator(), dtype, lambda: shots, no_pairs, keeps_statistics=True)
    computed: list[torch.dtype] = []
    for model in (private, beside):
        model.extractor.register_forward_hook(lambda _module, _inputs, features: computed.append(features.dtype))
    loss = make(beside)(step)
    assert computed == [dtype, dtype]
    assert loss.dtype == torch.float32
