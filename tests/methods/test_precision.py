"""What trains beside an edge's own model computes in the same precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ktl.methods.fedkd import AdaptiveMutualDistillation
from ktl.methods.fedmrl import SHARED_DIM, FusedClassifier, Matryoshka
from ktl.methods.fml import MutualLearning, MutualSettings
from ktl.models.classifiers import LinearClassifier
from ktl.models.edge_model import ClassifierKind, EdgeModel, build_model
from ktl.models.settings import ClassifierSettings
from ktl.objectives.base import Objective, Step

SETTINGS = ClassifierSettings(smoothing=0.0)


def small_model(seed: int, classifier: ClassifierKind = LinearClassifier) -> EdgeModel:
    return build_model(
        "cnn4",
        channels=1,
        image_size=16,
        classes=3,
        seed=seed,
        etf_seed=0,
        settings=SETTINGS,
        classifier=classifier,
    )


def matryoshka(beside: EdgeModel) -> Matryoshka:
    narrow = nn.Sequential(beside.extractor, nn.AdaptiveAvgPool1d(SHARED_DIM))
    return Matryoshka(EdgeModel(narrow, LinearClassifier(SHARED_DIM, 3, SETTINGS)))


@pytest.mark.parametrize(
    ("make", "classifier"),
    [
        (lambda beside: MutualLearning(beside, MutualSettings()), LinearClassifier),
        (AdaptiveMutualDistillation, LinearClassifier),
        (matryoshka, FusedClassifier),
    ],
    ids=["fml", "fedkd", "fedmrl"],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_model_beside_the_private_one_computes_in_the_same_precision(
    make: Callable[[EdgeModel], Objective], classifier: ClassifierKind, dtype: torch.dtype
) -> None:
    private, beside = small_model(0, classifier), small_model(1)
    shots = torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])

    def no_pairs(views: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        raise AssertionError("none of the methods asks for pairs")

    step = Step(private, torch.Generator(), dtype, lambda: shots, no_pairs, keeps_statistics=True)
    computed: list[torch.dtype] = []
    for model in (private, beside):
        model.extractor.register_forward_hook(lambda _module, _inputs, features: computed.append(features.dtype))
    loss = make(beside)(step)
    assert computed == [dtype, dtype]
    assert loss.dtype == torch.float32
