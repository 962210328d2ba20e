"""Files that are no generator, and faster ways to draw: which images they give, and how they are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.families import drawn, made

from ktl.errors import CheckpointError, UsageError
from ktl.generators import load_generator
from ktl.generators.base import sample_latents
from ktl.generators.network import NetworkGenerator, load_network, save_network
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.seeds import initialising, stream


def loaded_twice(name: str, tmp_path: Path, **options: Any) -> tuple[NetworkGenerator, NetworkGenerator]:
    path = tmp_path / "saved.safetensors"
    save_network(path, made(name), licence="CC0-1.0", precision="exact")
    exact, hastened = load_generator(str(path)), load_generator(str(path), **options)
    assert isinstance(exact, NetworkGenerator)
    assert isinstance(hastened, NetworkGenerator)
    return exact, hastened


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(
        CheckpointError,
        match="is no generator that ktl can read: its format is missing: expected one of ktl-stylegan-1, ktl-",
    ):
        load_network(path, "other")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(z_dim=8, w_dim=8, resolution=8, channel_base=64, channel_max=8))
    path = tmp_path / "cut.safetensors"
    save_network(path, network, licence="CC0")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is no generator"):
        load_network(path, "cut")


def test_weights_of_another_shape_are_refused_in_one_line(tmp_path: Path) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(z_dim=8, w_dim=8, resolution=8, channel_base=64, channel_max=8))
    network.config = StyleGAN2Config(z_dim=8, w_dim=16, resolution=8, channel_base=64, channel_max=8)
    path = tmp_path / "odd.safetensors"
    save_network(path, network, licence="CC0")
    with pytest.raises(CheckpointError) as caught:
        load_network(path, "odd")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["StyleGAN2", "StyleGAN3", "StyleGAN-XL with heads", "LatentFlow"])
def test_bfloat16_products_draw_nearly_the_same_images_and_are_no_default(name: str, tmp_path: Path) -> None:
    exact, generator = loaded_twice(name, tmp_path, products="bfloat16")
    off = (drawn(generator, 8).float() - drawn(exact, 8).float()).abs()
    assert 0 < off.mean() < 1.0
    latents = sample_latents(generator, 8, stream(0, "test"))
    assert torch.equal(generator.raw_images(latents), exact.raw_images(latents))


def test_images_drawn_otherwise_have_another_fingerprint(tmp_path: Path) -> None:
    """Else the images kept on disk would be mixed."""
    ways: list[dict[str, Any]] = [
        {},
        {"products": "bfloat16"},
        {"compiled": True},
        {"products": "bfloat16", "compiled": True},
    ]
    prints = {loaded_twice("StyleGAN2", tmp_path, **way)[1].fingerprint for way in ways}
    assert len(prints) == len(ways)
    exact, same = loaded_twice("StyleGAN2", tmp_path, products="float32")
    assert exact.fingerprint == same.fingerprint in prints


@pytest.mark.slow
def test_a_compiled_network_draws_the_same_images_and_is_compiled_once(tmp_path: Path) -> None:
    exact, generator = loaded_twice("StyleGAN2", tmp_path, compiled=True)
    torch.compiler.reset()
    with torch.compiler.set_stance("default"):
        first = drawn(generator, 3)
    with torch.compiler.set_stance("fail_on_recompile"):
        more = drawn(generator, 19)
    for images, count in ((first, 3), (more, 19)):
        assert images.shape == (count, 3, 16, 16)
        assert (images.float() - drawn(exact, count).float()).abs().max() <= 1


def test_compiling_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"there is no no-such-compiler: install it .* or leave --compile out"):
        loaded_twice("StyleGAN2", tmp_path, compiled=True)


def test_unknown_products_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="products is 'int4': choose one of float32, bfloat16"):
        loaded_twice("StyleGAN2", tmp_path, products="int4")
