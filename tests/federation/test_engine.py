"""Which process has which clients."""

from __future__ import annotations

import torch

from ktl.config import FederationConfig
from ktl.data.fewshot import FewShotTask
from ktl.federation.engine import Processes, share_work
from ktl.federation.method import Problem


def test_work_is_shared_out_by_weight_not_by_number() -> None:
    assert share_work({0: 1.0, 1: 9.0, 2: 1.0, 3: 9.0}, 2) == {1: 0, 3: 1, 0: 0, 2: 1}
    assert share_work({0: 5.0, 1: 4.0, 2: 3.0, 3: 3.0}, 2) == {0: 0, 1: 1, 2: 1, 3: 0}
    assert share_work({7: 1.0}, 3) == {7: 0}


def test_the_large_models_of_a_group_do_not_all_fall_to_one_process() -> None:
    images, labels = torch.zeros(6, 3, 16, 16, dtype=torch.uint8), torch.arange(6) % 3
    task = FewShotTask(["a", "b", "c"], images, labels, images, labels)
    config = FederationConfig(method="local", models="cnn4,resnet8", rounds=1)
    with Processes(config, Problem(torch.full((4, 3), 2), 3, 16), dict.fromkeys(range(4), task), 2) as engine:
        assert engine.home[0] != engine.home[2]  # the two of each model, which alternate by client
        assert engine.home[1] != engine.home[3]
