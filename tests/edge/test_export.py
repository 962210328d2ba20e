"""The exported model is the trained one."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from ktl.checkpoint import load_checkpoint
from ktl.config import RunConfig
from ktl.data.fewshot import FewShotTask
from ktl.data.transforms import to_network
from ktl.edge.compare import Comparison
from ktl.edge.learner import EdgeLearner


@pytest.fixture(scope="module")
def pictures(small_task: FewShotTask) -> NDArray[np.uint8]:
    """The test images as they lie in memory: (n, size, size, channels)."""
    pixels: NDArray[np.uint8] = small_task.test_images.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


@pytest.fixture(scope="module")
def torch_logits(small_config: RunConfig, small_task: FewShotTask, finished: Comparison) -> NDArray[np.float32]:
    learner = EdgeLearner(small_task, small_config, etf_seed=0)
    learner.restore_model(load_checkpoint(finished.ktl.out / "checkpoint.safetensors")[0])
    with torch.no_grad():
        cosines = learner.model.eval()(to_network(small_task.test_images))
    logits: NDArray[np.float32] = (cosines * small_config.training.scale).numpy()
    return logits


@pytest.fixture(scope="module")
def session(finished: Comparison) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(finished.ktl.out / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_its_logits_are_those_of_torch_in_any_batch(
    session: onnxruntime.InferenceSession,
    pictures: NDArray[np.uint8],
    torch_logits: NDArray[np.float32],
    batch: int,
) -> None:
    parts = [session.run(None, {"images": pictures[i : i + batch]})[0] for i in range(0, len(pictures), batch)]
    logits = np.concatenate(parts)
    assert logits.shape == (60, 3)
    assert logits.dtype == np.float32
    assert np.abs(logits - torch_logits).max() < 1e-4
    assert np.abs(logits).max() > 1.0


def test_it_takes_pictures_as_they_are(session: onnxruntime.InferenceSession) -> None:
    [images], [logits] = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ("images", "tensor(uint8)", [16, 16, 3])
    assert (logits.name, logits.type, logits.shape[1:]) == ("logits", "tensor(float)", [3])
    assert isinstance(images.shape[0], str)  # a free dimension


def test_it_is_one_file(finished: Comparison) -> None:
    names = {path.name for path in finished.ktl.out.iterdir() if path.is_file()}
    assert names == {"checkpoint.safetensors", "config.json", "labels.json", "metrics.jsonl", "model.onnx"}
