from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ktl.data.fewshot import FewShotTask
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import TrainingConfig
from ktl.models.precision import training_dtype

CPU = torch.device("cpu")


def test_a_named_precision_is_taken_at_its_word() -> None:
    assert training_dtype("float32", CPU) == torch.float32
    assert training_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_is_bfloat16_only_where_the_cpu_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert training_dtype("auto", CPU) == expected


def test_auto_is_float32_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert training_dtype("auto", CPU) == torch.float32


def test_an_unknown_precision_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match="unknown precision 'int4': choose one of auto, bfloat16, float32"):
        training_dtype("int4", CPU)


def trained(task: FewShotTask, precision: str) -> tuple[dict[str, torch.Tensor], float]:
    config = RunConfig("cnn4", transfer=None, precision=precision, training=TrainingConfig(steps=60))
    learner = EdgeLearner(task, replace(config, threads=1), etf_seed=0)
    learner.train_round(lambda *step: None, lambda: False)
    return learner.model.state_dict(), learner.evaluate().accuracy


def test_weights_stay_float32_and_both_precisions_learn_alike(small_task: FewShotTask) -> None:
    exact, exact_accuracy = trained(small_task, "float32")
    rounded, rounded_accuracy = trained(small_task, "bfloat16")
    assert {tensor.dtype for tensor in rounded.values()} == {torch.float32}
    assert not torch.equal(rounded["extractor.conv2.weight"], exact["extractor.conv2.weight"])
    assert rounded_accuracy == pytest.approx(exact_accuracy, abs=0.1)
