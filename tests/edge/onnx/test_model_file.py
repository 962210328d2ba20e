"""The exported model is the trained one, and its own preprocessing is that of training."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from PIL import Image

from ktl.checkpoint import load_checkpoint
from ktl.data.fewshot import FewShotTask
from ktl.data.images import fit_image
from ktl.data.transforms import to_network
from ktl.edge.compare import Comparison
from ktl.edge.onnx.preprocessing import with_preprocessing
from ktl.edge.record import read_record
from ktl.edge.settings import RunConfig
from ktl.learning.learner import EdgeLearner


@pytest.fixture(scope="module")
def pictures(small_task: FewShotTask) -> NDArray[np.uint8]:
    """The test images as they lie in memory: (n, size, size, channels)."""
    pixels: NDArray[np.uint8] = small_task.test_images.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


@pytest.fixture(scope="module")
def torch_probabilities(small_config: RunConfig, small_task: FewShotTask, finished: Comparison) -> NDArray[np.float32]:
    learner = EdgeLearner(small_task, small_config, etf_seed=0)
    learner.restore_model(load_checkpoint(finished.ktl.out / "checkpoint.safetensors")[0])
    with torch.no_grad():
        logits = learner.model.eval()(to_network(small_task.test_images))
    temperature = read_record(finished.ktl.out).temperature
    probabilities: NDArray[np.float32] = (logits / temperature).softmax(dim=1).numpy()
    return probabilities


@pytest.fixture(scope="module")
def session(finished: Comparison) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(finished.ktl.out / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_its_probabilities_are_those_of_torch_in_any_batch(
    session: onnxruntime.InferenceSession,
    pictures: NDArray[np.uint8],
    torch_probabilities: NDArray[np.float32],
    batch: int,
) -> None:
    parts = [session.run(None, {"images": pictures[i : i + batch]})[0] for i in range(0, len(pictures), batch)]
    probabilities = np.concatenate(parts)
    assert probabilities.shape == (60, 3)
    assert probabilities.dtype == np.float32
    assert np.abs(probabilities - torch_probabilities).max() < 1e-5
    assert np.ptp(probabilities[:, 0]) > 0.1


def test_it_takes_pictures_as_they_are(session: onnxruntime.InferenceSession) -> None:
    [images], [probabilities] = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[3]) == ("images", "tensor(uint8)", 3)
    assert all(isinstance(length, str) for length in images.shape[:3])  # free dimensions
    assert (probabilities.name, probabilities.type, probabilities.shape[1:]) == (
        "probabilities",
        "tensor(float)",
        [3],
    )


def test_it_says_what_it_is(session: onnxruntime.InferenceSession, finished: Comparison) -> None:
    temperature = read_record(finished.ktl.out).temperature
    assert json.loads(session.get_modelmeta().custom_metadata_map["ktl"]) == {
        "labels": ["blue", "green", "red"],
        "image_size": 16,
        "channels": 3,
        "temperature": temperature,
        "ranges": {},
    }


def test_it_is_one_file(finished: Comparison) -> None:
    names = {path.name for path in finished.ktl.out.iterdir() if path.is_file()}
    record = {"record.json", "record.safetensors"}
    assert names == {"checkpoint.safetensors", "config.json", "labels.json", "metrics.jsonl", "model.onnx"} | record


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (20, 20), (33, 47), (301, 200), (640, 480)])
def test_a_picture_of_any_size_is_fitted_as_in_training_to_the_bit(channels: int, width: int, height: int) -> None:
    uint8 = onnxruntime.InferenceSession(_fitting_only(channels).SerializeToString())
    rng = np.random.default_rng(width)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
    (fitted,) = uint8.run(None, {"images": np.asarray(picture)[None]})
    expected = fit_image(picture, 32, channels)
    assert fitted.shape == (1, channels, 32, 32)
    assert fitted[0].transpose(1, 2, 0).tolist() == expected.tolist()
    assert np.ptp(expected) > 50


def _fitting_only(channels: int) -> ModelProto:
    """A model whose network does nothing."""
    shape = ["n", channels, 32, 32]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["same"])],
        "nothing",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("same", TensorProto.UINT8, shape)],
    )
    core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return with_preprocessing(core, 32, channels)
