"""What trains beside an edge's own model computes in the same precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from ktl.methods.fedkd import AdaptiveMutualDistillation
from ktl.methods.fml import MutualLearning
from ktl.models.edge_model import EdgeModel, build_model
from ktl.objectives.guidance import Guidance, ShotBatch


@pytest.mark.parametrize("kind", [MutualLearning, AdaptiveMutualDistillation])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_model_beside_the_private_one_computes_in_the_same_precision(
    kind: Callable[[EdgeModel, float], Guidance], dtype: torch.dtype
) -> None:
    beside = build_model("cnn4", channels=1, image_size=16, classes=3, seed=0, etf_seed=0, head="linear")
    features, outputs = torch.rand(4, 512), torch.rand(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    loss = F.cross_entropy(outputs, labels)
    rng = torch.Generator()
    batch = ShotBatch(torch.rand(4, 1, 16, 16), labels, features, outputs, loss, rng, dtype)
    computed: list[torch.dtype] = []
    beside.extractor.register_forward_hook(lambda _module, _inputs, found: computed.append(found.dtype))
    guided = kind(beside, 0.0)(batch)
    assert computed == [dtype]
    assert guided.dtype == torch.float32
