"""Models of other packages: found by name or as module:Class, and refused by name where they are no extractor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.plugin import installed

from ktl.errors import UsageError
from ktl.models import MODELS, model_group
from ktl.models.edge_model import build_model

NARROW = '''
from torch import nn


class Narrow(nn.Module):
    """One convolution, 8 features."""

    def __init__(self, channels, image_size):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 8, 3, padding=1)

    def forward(self, images):
        return self.convolution(images).mean(dim=(2, 3))


class Loaded(Narrow):
    def __init__(self, channels, image_size):
        super().__init__(channels, image_size)
        self.pretrained = True


class Scalar(Narrow):
    def forward(self, images):
        return images.mean()
'''


def test_an_installed_package_adds_a_model(tmp_path: Path) -> None:
    with installed(tmp_path, MODELS, {"narrow": "somebodys_models:Narrow"}, somebodys_models=NARROW):
        assert MODELS.names()[-1] == "narrow"
        assert MODELS.summary("narrow") == "One convolution, 8 features."
        assert model_group("cnn4, narrow") == ["cnn4", "narrow"]
        model = build_model("narrow", channels=1, image_size=16, classes=3, seed=0, etf_seed=0)
        assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
    with pytest.raises(UsageError, match="unknown model 'narrow'"):
        MODELS.check("narrow")


def test_ktls_own_names_win(tmp_path: Path) -> None:
    with installed(tmp_path, MODELS, {"cnn4": "somebodys_models:Narrow"}, somebodys_models=NARROW):
        assert MODELS.load("cnn4").__module__ == "ktl.models.compact"


def test_a_module_of_the_working_folder_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_models.py").write_text(NARROW)
    monkeypatch.chdir(tmp_path)
    assert MODELS.load("own_models:Narrow")(3, 16)(torch.zeros(2, 3, 16, 16)).shape == (2, 512)


def test_what_a_package_does_wrong_is_named(tmp_path: Path) -> None:
    names = {"scalar": "Scalar", "loaded": "Loaded", "missing": "Wide"}
    entries = {name: f"somebodys_models:{kind}" for name, kind in names.items()} | {"function": "math:sqrt"}
    with installed(tmp_path, MODELS, entries, somebodys_models=NARROW):
        with pytest.raises(UsageError, match="'loaded' says `pretrained` in its constructor alone: say it in the cl"):
            MODELS.load("loaded")(1, 16)
        with pytest.raises(UsageError, match=r"model 'scalar' turns 2 images into \(\): it must return features"):
            MODELS.load("scalar")(1, 16)
        with pytest.raises(UsageError, match=r"model 'function' is no nn\.Module class: give module:Class"):
            MODELS.load("function")
        with pytest.raises(UsageError, match="cannot load model 'missing'"):
            MODELS.load("missing")
