"""The architectures of the model groups: published sizes, 512 features, and what an edge does with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.edge.onnx.model_file import ModelFacts, PictureClassifier, export_onnx
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import TrainingConfig
from ktl.models import GROUPS, MODELS, client_model, model_group
from ktl.models.backbone import pooling_matrix
from ktl.models.edge_model import build_model

SLOW = pytest.mark.slow

# parameters with 3 channels at 32 x 32. torchvision's documented counts less their 1000-class heads; for ViT less the
# position embeddings of the patches that 224 x 224 has beyond 32 x 32
PUBLISHED = {
    "mobilenetv2": 3_504_872 - 1_281_000,
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
    "resnet152": 60_192_808 - 2_049_000,
    "googlenet": 6_624_904 - 1_025_000,
    "vit-b16": 86_567_656 - 769_000 - (196 - 4) * 768,
    "vit-b32": 88_224_232 - 769_000 - (49 - 1) * 768,
}


def test_a_wide_network_has_its_published_number_of_parameters() -> None:
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in MODELS.load(name)(3, 32).parameters()) for name in PUBLISHED}
    assert counts == PUBLISHED


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_a_small_residual_network_has_one_block_of_two_convolutions_a_stage(stages: int) -> None:
    widths = [64, 128, 256, 512][:stages]
    expected = 3 * 64 * 9 + 2 * 64
    for before, width in zip([64, *widths], widths, strict=False):
        expected += 9 * before * width + 9 * width * width + 4 * width
        expected += 0 if before == width else before * width + 2 * width
    model = MODELS.load(f"resnet{2 + 2 * stages}")(3, 32)
    assert sum(p.numel() for p in model.parameters()) == expected
    # 2 + 2 * stages layers, of which the classifier's is the last
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 1 + 2 * stages


@pytest.mark.parametrize("name", MODELS.names())
def test_every_architecture_gives_512_features_of_grey_and_coloured_images(name: str) -> None:
    for channels, size in ((1, 28), (3, 32)) if not name.startswith("vit") else ((1, 28),):
        extractor = MODELS.load(name)(channels, size).eval()
        with torch.no_grad():
            features = extractor(torch.rand(2, channels, size, size))
        assert features.shape == (2, extractor.feature_dim) == (2, 512)
        assert torch.isfinite(features).all()
        assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("width", [64, 128, 320, 768, 1024, 1280, 2048])
def test_features_are_pooled_as_torch_does(width: int) -> None:
    vectors = torch.randn(3, width)
    expected = F.adaptive_avg_pool1d(vectors[:, None], 512)[:, 0]
    assert torch.allclose(vectors @ pooling_matrix(width, 512), expected, atol=1e-6)


def test_groups_have_the_published_sizes() -> None:
    assert {name: len(models) for name, models in GROUPS.items()} == {
        "HtFE2": 2, "HtFE3": 3, "HtFE4": 4, "HtFE5": 5, "HtFE8": 8, "HtFE9": 9, "HtM10": 10,
    }  # fmt: skip
    assert set(MODELS.names()) - {model for models in GROUPS.values() for model in models} == {"resnet8-slim"}


def test_a_group_is_a_name_or_a_list() -> None:
    assert model_group("HtFE2") == ["cnn4", "resnet18"]
    assert model_group("cnn4, resnet8") == model_group(["cnn4", "resnet8"]) == ["cnn4", "resnet8"]
    assert model_group("HtFE2,mine:Net") == ["cnn4", "resnet18", "mine:Net"]


def test_clients_take_the_models_of_a_group_in_turn() -> None:
    assert [client_model("HtFE3", client) for client in range(5)] == [
        "resnet10", "resnet18", "resnet34", "resnet10", "resnet18",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"), [("HtFE6", "unknown model or group 'HtFE6': choose of HtFE2, "), ("", "--models is empty")]
)
def test_an_unknown_group_is_refused_with_the_choices(names: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_group(names)


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into the working folder; returns its name."""

    def write(source: str) -> str:
        name = f"own_models_{abs(hash(source))}"
        (tmp_path / f"{name}.py").write_text(f"import torch\n{source}\n")
        return name

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return write


NARROW = """
class Net(torch.nn.Module):
    def __init__(self, channels, image_size):
        super().__init__()
        self.dense = torch.nn.Linear(channels * image_size**2, 10)
    def forward(self, images):
        return self.dense(images.flatten(1))
"""


def test_a_module_of_the_users_own_is_adapted_to_512_features(own_models: Callable[[str], str]) -> None:
    extractor = MODELS.load(f"{own_models(NARROW)}:Net")(1, 16)
    assert extractor.training
    assert extractor(torch.rand(3, 1, 16, 16)).shape == (3, 512)
    assert len(list(extractor.parameters())) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Net = 3", "is no nn.Module class"),
        ("class Other: pass", "cannot load model .*has no attribute 'Net'"),
        (
            "class Net(torch.nn.Module):\n    def __init__(self): super().__init__()",
            r"fails as Net\(1, 16\): TypeError",
        ),
        (NARROW.replace("return self", "return self.dense, self"), "turns 2 images into tuple"),
        (NARROW.replace("(images.flatten(1))", "(images.flatten(1)).sum(1)"), r"turns 2 images into \(2,\)"),
    ],
)
def test_a_module_that_is_no_extractor_is_refused(own_models: Callable[[str], str], source: str, message: str) -> None:
    name = f"{own_models(source)}:Net"
    with pytest.raises(UsageError, match=message):
        MODELS.load(name)(1, 16)


def test_a_module_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot load model 'no_such_module:Net'"):
        MODELS.load("no_such_module:Net")


@pytest.fixture(scope="module")
def fashion() -> FewShotTask:
    """Ten classes, four shots each, ten test images each."""
    task = draw_task(load_dataset("fashion-mnist"), shots=4, ways=None, seed=0)
    return replace(task, test_images=task.test_images[::10], test_labels=task.test_labels[::10])


@pytest.mark.parametrize(
    ("name", "precision"), [("resnet8", "float32"), ("mobilenetv2", "float32"), ("resnet4", "bfloat16")]
)
def test_an_edge_learns_with_batch_normalisation(fashion: FewShotTask, name: str, precision: str) -> None:
    training = TrainingConfig(steps=16, batch=10, schedule="constant")
    config = RunConfig(model=name, transfer=None, training=training, precision=precision)
    learner = EdgeLearner(fashion, config, etf_seed=0)
    losses: list[float] = []
    learner.train_round(lambda stage, step, loss: losses.append(loss), lambda: False)
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    before = {key: value.clone() for key, value in learner.model.state_dict().items()}
    learner.prototypes()
    learner.evaluate()
    assert all(torch.equal(value, before[key]) for key, value in learner.model.state_dict().items())


def test_a_restored_edge_with_batch_normalisation_goes_on_to_the_same_bits(fashion: FewShotTask) -> None:
    config = RunConfig(model="resnet6", transfer=None, training=TrainingConfig(steps=6, batch=8))
    whole, stopped, resumed = (EdgeLearner(fashion, config, etf_seed=0) for _ in range(3))
    whole.train_round(lambda *_: None, lambda: False)
    stopped.train_round(lambda *_: None, lambda: stopped.round_step == 3)
    resumed.restore(stopped.state())
    resumed.round_step = 3
    resumed.train_round(lambda *_: None, lambda: False)
    expected = whole.state()
    assert any("running_var" in name for name in expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state().items())


def test_a_batch_of_one_image_trains_in_spite_of_batch_normalisation(fashion: FewShotTask) -> None:
    one = replace(fashion, shot_images=fashion.shot_images[:1], shot_labels=fashion.shot_labels[:1])
    config = RunConfig(model="resnet18", transfer=None, training=TrainingConfig(steps=2), precision="float32")
    learner = EdgeLearner(one, config, etf_seed=0)
    assert learner.train_round(lambda *_: None, lambda: False)
    assert all(torch.isfinite(tensor).all() for tensor in learner.state().values())


@pytest.mark.parametrize(
    "name",
    [
        "resnet4",
        pytest.param("mobilenetv2", marks=SLOW),
        pytest.param("vit-b32", marks=SLOW),
        pytest.param("torchvision.models:shufflenet_v2_x0_5", marks=SLOW),
    ],
)
def test_an_exported_network_answers_as_the_model(name: str, tmp_path: Path) -> None:
    model = build_model(name, channels=1, image_size=28, classes=5, seed=0, etf_seed=0).eval()
    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    facts = ModelFacts([*"abcde"], image_size=28, channels=1, temperature=1.0)
    export_onnx(PictureClassifier(model), facts, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    pixels = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
    [probabilities] = session.run(None, {"images": pixels})
    with torch.no_grad():
        expected = model(images.float() / 127.5 - 1.0).softmax(dim=1)
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-3)
