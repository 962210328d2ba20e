"""The files of a pipeline: which are taken, what their licence and fingerprint are, and which are refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_hub import small_hub
from support.tiny_pipeline import change_json, load, write_pipeline

from ktl.errors import CheckpointError, KtlError, UsageError
from ktl.generators import load_generator

pytest.importorskip("diffusers", reason="needs the extra ktl[diffusion]")


def test_the_fingerprint_is_of_weights_and_use_not_of_place(tiny_pipeline: Path, copy: Path) -> None:
    (copy / "README.md").write_text("no card")
    (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    assert (
        load(copy).fingerprint == load(tiny_pipeline).fingerprint == load(tiny_pipeline, "preset=standard").fingerprint
    )
    weights = bytearray((copy / "vae" / "diffusion_pytorch_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(weights)
    assert load(copy).fingerprint != load(tiny_pipeline).fingerprint


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: openrail++\ntags: [art]\n---\n# Model\n", "openrail++"),
        ("---\nlicense: other\nlicense_name: stabilityai-community\n---\n", "stabilityai-community"),
        ("---\nlicense: [a, b]\n---\n", "unknown"),
        ('---\nlicense: "a\\e[31m"\n---\n', "unknown"),
        ("---\n: broken: [\n---\n", "unknown"),
        ("no card", "unknown"),
    ],
)
def test_the_licence_is_the_model_cards(copy: Path, card: str, licence: str) -> None:
    (copy / "README.md").write_text(card)
    assert load(copy).licence == licence


@pytest.mark.parametrize(
    ("index", "unet"),
    [
        ({"_class_name": "DDPMPipeline"}, {}),
        ({"_class_name": "StableVideoDiffusionPipeline"}, {}),
        ({}, {"in_channels": 9}),  # an inpainting model's: noise, mask and masked image
    ],
)
def test_a_pipeline_that_is_not_text_to_image_is_refused(
    tmp_path: Path, index: dict[str, Any], unet: dict[str, Any]
) -> None:
    folder = write_pipeline(tmp_path / "pipeline", **unet)
    change_json(folder / "model_index.json", **index)
    with pytest.raises(UsageError, match="does not draw an image from a prompt and unpacked noise: give a text-to-im"):
        load(folder)


class Canary:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_pickled_weights_are_not_read(copy: Path, tmp_path: Path) -> None:
    for component, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        for file in (copy / component).glob("*.safetensors"):
            file.unlink()
        (copy / component / f"{name}.bin").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(CheckpointError, match=r"the pipeline .*copy cannot be loaded: .*"):
        load(copy)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "index",
    [
        {"_class_name": ["pipeline", "StableDiffusionPipeline"]},
        {"unet": ["own_unet", "UNet2DConditionModel"]},
        {"unet": ["os", "system"]},
        {"unet": [["os"], "system"]},
        {"unet": []},
    ],
)
def test_code_that_a_pipeline_brings_is_not_run(copy: Path, tmp_path: Path, index: dict[str, Any]) -> None:
    source = f"open({str(tmp_path / 'canary')!r}, 'w').close()\n"
    for place in (copy / "pipeline.py", copy / "unet" / "own_unet.py", copy / "own_unet.py"):
        place.write_text(source)
    change_json(copy / "model_index.json", **index)
    with pytest.raises(CheckpointError, match=r"(code of its own|only those of diffusers and transformers are loaded)"):
        load(copy)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_without_a_readable_index_is_named(copy: Path, content: str | None) -> None:
    (copy / "model_index.json").unlink() if content is None else (copy / "model_index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"copy is no diffusers pipeline: it has no readable model_index\.json"):
        load(copy)


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damaged_weights_are_refused_in_one_line(copy: Path, damage: str) -> None:
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    file.unlink() if damage == "remove" else file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(KtlError, match="copy cannot be loaded: ") as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_the_libraries_that_are_missing_are_named_with_their_extra(tiny_pipeline: Path) -> None:
    program = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'diffusers' else find(name, *a)\n"
        f"from ktl.generators import load_generator; load_generator('diffusers:{tiny_pipeline}')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1] == (
        "ktl.errors.UsageError: a diffusers generator needs diffusers: pip install 'ktl[diffusion]'"
    )


def test_a_hub_id_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="there is no folder 'nobody/nothing', and the hub gave no pipeline"):
        load_generator("diffusers:nobody/nothing")


def test_a_pipeline_comes_from_the_hub_once_and_without_its_pickles(copy: Path, tmp_path: Path) -> None:
    (copy / "README.md").write_text("---\nlicense: openrail++\n---\n")
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    program = (
        "import huggingface_hub.constants as hub; from ktl.generators import load_generator\n"
        "for hub.HF_HUB_OFFLINE in (False, True):\n"
        "    generator = load_generator('diffusers:somebody/tiny')\n"
        "    print(generator.name, generator.licence, generator.fingerprint)"
    )
    with small_hub("somebody/tiny", copy) as address:
        own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub")}
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | own)
    assert ended.stdout.splitlines() == [f"tiny openrail++ {load(copy).fingerprint}"] * 2, ended.stderr
    downloaded = {file.suffix for file in (tmp_path / "hub").rglob("*.*") if file.is_file()}
    assert ".safetensors" in downloaded
    assert ".bin" not in downloaded
