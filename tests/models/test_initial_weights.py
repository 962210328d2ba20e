"""Pre-trained weights: torchvision's own networks of the same pictures, and what does not fit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ShuffleNet_V2_X0_5_Weights, get_model
from torchvision.models.vision_transformer import VisionTransformer
from torchvision.transforms.functional import normalize

from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError, KtlError, UsageError
from ktl.models.backbone import Backbone
from ktl.models.edge_model import EdgeModel, build_model
from ktl.models.initial_weights import load_weights
from ktl.seeds import initialising, stream

SHUFFLENET = "torchvision.models:shufflenet_v2_x0_5"
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet


def network(name: str, **options: bool) -> nn.Module:
    """torchvision's, its weights and statistics drawn by a seed."""
    with initialising(1, "network"):
        made: nn.Module = get_model(name, weights=None, **options).eval()
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = torch.randn(part.num_features) / 4
    return made


def with_weights(model: str, weights: Path | str, channels: int = 3, size: int = 32, **options: bool) -> EdgeModel:
    numbers = {"channels": channels, "image_size": size, "classes": 5, "seed": 0, "etf_seed": 0}
    return build_model(model, **numbers, weights=str(weights), **options).eval()


def saved(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def pooled(features: Tensor) -> Tensor:
    return F.adaptive_avg_pool1d(features[:, None], 512)[:, 0]


@pytest.fixture(scope="module")
def shufflenet() -> nn.Module:
    return network("shufflenet_v2_x0_5")


@pytest.fixture(scope="module")
def file(shufflenet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(shufflenet.state_dict(), tmp_path_factory.mktemp("weights") / "shuffle.pth")


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_torchvisions_of_the_picture_as_its_weights_expect_it(
    shufflenet: nn.Module, file: Path, channels: int
) -> None:
    model = with_weights(SHUFFLENET, file, channels)
    pictures = torch.rand(3, channels, 32, 32, generator=stream(0, "pictures"))
    classifier, shufflenet.fc = shufflenet.fc, nn.Identity()
    try:
        expected = pooled(shufflenet(normalize(pictures.expand(-1, 3, -1, -1), MEAN, DEVIATION)))
    finally:
        shufflenet.fc = classifier
    torch.testing.assert_close(model.extractor(pictures * 2 - 1), expected, atol=1e-4, rtol=1e-4)


def test_googlenets_weights_expect_what_torchvision_makes_of_a_normalised_picture(tmp_path: Path) -> None:
    own = network("googlenet", init_weights=False, transform_input=True)
    model = with_weights("googlenet", saved(own.state_dict(), tmp_path / "googlenet.pth"))
    heads = [f"aux{number}.{layer}" for number in (1, 2) for layer in ("conv.conv", "conv.bn", "fc1", "fc2")]
    assert model.origin.endswith(f", all but {', '.join(heads)}, fc")
    own.fc = nn.Identity()
    pictures = torch.rand(2, 3, 32, 32, generator=stream(0, "pictures"))
    expected = pooled(own(normalize(pictures, MEAN, DEVIATION)))
    torch.testing.assert_close(model.extractor(pictures * 2 - 1), expected, atol=1e-4, rtol=1e-4)


def test_ktls_mobilenet_takes_torchvisions_weights_though_its_strides_differ(tmp_path: Path) -> None:
    own = network("mobilenet_v2")
    model = with_weights("mobilenetv2", saved(own.state_dict(), tmp_path / "mobile.pth"), channels=1)
    weights = model.extractor.body.body.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in own.state_dict().items() if name in weights)
    assert len(own.state_dict()) == len(weights) + 2  # weight and bias of the classifier


def test_the_origin_names_the_file_and_what_was_left_out(shufflenet: nn.Module, file: Path, tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in shufflenet.state_dict().items()}
    save_file(state, tmp_path / "same.safetensors")
    one, same = with_weights(SHUFFLENET, file), with_weights(SHUFFLENET, tmp_path / "same.safetensors")
    assert one.origin.startswith("shuffle.pth (SHA-256 ")
    assert one.origin.endswith("), all but fc")
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in one.state_dict().items())
    extractor = {name: tensor for name, tensor in state.items() if name[:3] != "fc." and not name.endswith("tracked")}
    alone = with_weights(SHUFFLENET, saved(extractor, tmp_path / "extractor.pth"))
    assert alone.origin.endswith(")")


def test_heads_and_torchs_random_numbers_are_as_without_weights(file: Path) -> None:
    before = torch.get_rng_state()
    helped = with_weights(SHUFFLENET, file)
    plain = build_model(SHUFFLENET, channels=3, image_size=32, classes=5, seed=0, etf_seed=0)
    assert torch.equal(helped.classifier.projection.weight, plain.classifier.projection.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trained_models_form_needs_no_file(file: Path) -> None:
    model = with_weights(SHUFFLENET, "long gone.pth", trained=True)
    other = with_weights(SHUFFLENET, file)
    model.load_state_dict(other.state_dict())
    pictures = torch.rand(2, 3, 32, 32, generator=stream(0, "pictures"))
    assert torch.equal(model(pictures), other(pictures))


def test_a_transformers_positions_are_interpolated_to_its_size(tmp_path: Path) -> None:
    def transformer(size: int) -> VisionTransformer:
        with initialising(size, "transformer"):
            return VisionTransformer(size, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3)

    large, small = transformer(32), transformer(16)
    small.heads = nn.Identity()
    origin = load_weights(str(saved(large.state_dict(), tmp_path / "vit.pth")), Backbone(small, 16), "vit-b16")
    assert origin.endswith(", all but heads.head")
    given, taken = large.encoder.pos_embedding[0], small.encoder.pos_embedding[0]
    assert taken.shape == (1 + 2 * 2, 16)
    assert torch.equal(taken[0], given[0])  # the class token has no place
    expected = F.interpolate(given[1:].T.reshape(1, 16, 4, 4), size=2, mode="bicubic", align_corners=True)
    torch.testing.assert_close(taken[1:], expected[0].flatten(1).T)


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"stage5.weight": torch.zeros(1)}, "stage5.weight is unknown$"),
        (lambda state: {n: t for n, t in state.items() if n != "conv5.0.weight"}, "no conv5.0.weight$"),
        (
            lambda state: network("shufflenet_v2_x1_0").state_dict(),
            r"is \(58, 24, 1, 1\), not \(24, 24, 1, 1\); .* and",
        ),
    ],
)
def test_a_file_of_another_architecture_is_refused_with_what_differs(
    shufflenet: nn.Module, tmp_path: Path, change: Change, message: str
) -> None:
    other = saved(change(shufflenet.state_dict()), tmp_path / "other.pth")
    begins = "other.pth holds weights of another architecture than shufflenet_v2_x0_5: "
    with pytest.raises(UsageError, match=f"^{begins}.*{message}") as refused:
        with_weights(SHUFFLENET, other)
    assert "\n" not in str(refused.value)


class Code:
    """What a file must not run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("run",)


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("none.pth", None, UsageError, "there is no such file: give a .pth or a .safetensors"),
        ("text.pth", b"hello", CheckpointError, "cannot be read: it is damaged, or holds other things than tensors"),
        (
            "code.pth",
            pickle.dumps(Code(), protocol=2),
            CheckpointError,
            "it is damaged, or holds other things than tensors",
        ),
        ("page.pth", b"<!DOCTYPE html><html>", CheckpointError, "cannot be read: it is a web page: the download"),
        ("text.safetensors", b"hello", CheckpointError, "cannot be read: .*; give a state dict of tensors"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(
    name: str,
    content: bytes | None,
    kind: type[KtlError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(kind, match=f"^{name}.*{message}") as refused:
        with_weights(SHUFFLENET, name)
    assert "\n" not in str(refused.value)
    assert not Path("run").exists()


def test_a_checkpoint_of_more_than_weights_is_refused(shufflenet: nn.Module, tmp_path: Path) -> None:
    torch.save({"model": shufflenet.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(UsageError, match="holds a dict: give a state dict, tensors by name alone"):
        with_weights(SHUFFLENET, tmp_path / "checkpoint.pth")


def test_default_is_what_torchvision_keeps_of_its_own_weights(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / ShuffleNet_V2_X0_5_Weights.DEFAULT.url.rpartition("/")[2]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(file.read_bytes())
    model = with_weights(SHUFFLENET, "default")
    assert model.origin == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1, all but fc"
    expected = with_weights(SHUFFLENET, file).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_a_failed_download_says_what_failed_and_what_else_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    message = (
        r"IMAGENET1K_V1 could not be fetched from https://\S+\.pth \(.+\): check the network, or give --weights FILE"
    )
    with pytest.raises(CheckpointError, match=message) as refused:
        with_weights(SHUFFLENET, "default")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "cnn4",
            "weights are for architectures of torchvision, and 'cnn4' is none: choose one of mobilenetv2, resnet18",
        ),
        ("my_package:Net", "'my_package:Net' is none"),
    ],
)
def test_weights_are_for_torchvisions_architectures(model: str, message: str) -> None:
    """Said before anything is loaded."""
    with pytest.raises(UsageError, match=message):
        RunConfig(model=model, weights="default")
