"""Networks of torchvision and timm, with weights that the test makes: nothing is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from ktl.encoders import load_encoder
from ktl.errors import CheckpointError, UsageError
from ktl.seeds import initialising, stream

NAME = "shufflenet_v2_x0_5"
PICTURES = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8, generator=stream(0, "pictures"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with initialising(0, "weights"):
        network = models.get_model(NAME, weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.pth"


def test_a_network_of_torchvision_gives_what_goes_into_its_last_layer(weights: Path) -> None:
    encoder = load_encoder(f"torchvision:{NAME}?{weights}")
    assert (encoder.name, encoder.dimension, encoder.image_size) == (f"torchvision:{NAME}", 1024, 224)
    assert encoder.mean == (0.485, 0.456, 0.406)
    network = models.get_model(NAME, weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    inputs = []
    network.fc.register_forward_hook(lambda layer, given, result: inputs.append(given[0]))
    with torch.no_grad():
        network.eval()(encoder._prepared(PICTURES))
    torch.testing.assert_close(encoder.embed(PICTURES), inputs[0])
    same = load_encoder(f"torchvision:{NAME}?{weights.with_suffix('.safetensors')}")
    assert same.fingerprint == encoder.fingerprint


def test_weights_that_are_missing_damaged_or_anothers_are_refused(weights: Path, tmp_path: Path) -> None:
    def refusal(source: str) -> str:
        with pytest.raises((CheckpointError, UsageError)) as refused:
            load_encoder(source)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    assert "absent.pth: there is no such file" in refusal(f"torchvision:{NAME}?{tmp_path / 'absent.pth'}")
    other = tmp_path / "other.pth"
    torch.save(models.get_model("shufflenet_v2_x1_0", weights=None).state_dict(), other)
    assert "do not fit the network: size mismatch" in refusal(f"torchvision:{NAME}?{other}")
    torch.save({"fc.bias": torch.zeros(1000)}, other)
    assert "lack conv1.0.weight" in refusal(f"torchvision:{NAME}?{other}")
    torch.save([1, 2], other)
    assert "holds a list: give a state dict" in refusal(f"torchvision:{NAME}?{other}")
    other.write_bytes(b"none")
    assert "it is damaged, or holds other things than tensors" in refusal(f"torchvision:{NAME}?{other}")
    with pytest.raises(UsageError, match="torchvision has no classifier 'lenet': choose one of alexnet, "):
        load_encoder("torchvision:lenet")


def test_without_timm_its_networks_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"a timm encoder needs timm: pip install 'ktl\[timm\]'"):
        load_encoder("timm:resnet18")


def test_a_network_of_timm_gives_its_pooled_features(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'ktl[timm]'")
    with initialising(0, "weights"):
        network = timm.create_model("test_resnet.r160_in1k", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    encoder = load_encoder(f"timm:test_resnet.r160_in1k?{tmp_path / 'weights.safetensors'}")
    assert (encoder.dimension, encoder.image_size) == (network.num_features, 160)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(encoder._prepared(PICTURES)), pre_logits=True)
    torch.testing.assert_close(encoder.embed(PICTURES), expected)
    with pytest.raises(UsageError, match="timm has no network 'resnet_of_mine': choose another name"):
        load_encoder("timm:resnet_of_mine")
