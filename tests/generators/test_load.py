from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.documents import python_blocks

from ktl.errors import CheckpointError, UsageError
from ktl.generators import load_generator
from ktl.generators.base import BaseGenerator, ImageGenerator, sample_latents
from ktl.generators.network import save_network
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.seeds import initialising, stream
from ktl.settings import NoSettings

PLUGIN = """
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta

from ktl.generators.base import BaseGenerator
from ktl.settings import Settings as KtlSettings


class Noise(BaseGenerator):
    '''Projections of the latent.'''

    noise_dim = latent_dim = 8
    image_size = 16

    @dataclass(frozen=True)
    class Settings(KtlSettings):
        contrast: Annotated[float, Meta(gt=0, description="Of the images.")] = 40.0

    def __init__(self, settings):
        super().__init__(settings)
        self.layer = torch.nn.Linear(8, 3 * 16 * 16)
        torch.nn.init.constant_(self.layer.weight, 0.5)
        torch.nn.init.zeros_(self.layer.bias)

    def images(self, latents):
        pixels = self.layer(latents) * self.settings.contrast + 128
        return pixels.detach().clamp(0, 255).to(torch.uint8).unflatten(1, (3, 16, 16))
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """plugin(text) writes a module of this text and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"plugin_{abs(hash(request.node.nodeid))}"  # a module is imported once in a process

    def write(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.fixture(scope="module", params=["builtin", "latent-flow"])
def shipped(request: pytest.FixtureRequest) -> ImageGenerator:
    return load_generator(request.param)


def test_a_generator_that_ships_draws_varied_images(shipped: ImageGenerator) -> None:
    images = shipped.images(sample_latents(shipped, 64, stream(0, "test")))
    assert images.shape == (64, 3, 32, 32)
    assert images.dtype == torch.uint8
    pixel_deviation = images.float().std(dim=0).mean()
    assert 40 < pixel_deviation < 90  # natural images at this size: about 65


def test_a_generator_that_ships_says_what_it_is(shipped: ImageGenerator) -> None:
    assert (shipped.name, shipped.family) in {("builtin", "StyleGAN2"), ("latent-flow", "LatentFlow")}
    assert (shipped.noise_dim, shipped.latent_dim, shipped.image_size) == (128, 128, 32)
    assert shipped.parameters < 5_000_000
    assert "Apache-2.0" in shipped.licence
    assert len(shipped.fingerprint) == 64


def test_the_same_latents_give_the_same_images_in_any_batch(shipped: ImageGenerator) -> None:
    latents = sample_latents(shipped, 70, stream(0, "test"))
    together = shipped.images(latents)
    alone = torch.cat([shipped.images(latent[None]) for latent in latents[::10]])
    assert (together[::10].int() - alone.int()).abs().max() <= 1  # rounding of the last bit


def test_a_saved_generator_loads_as_it_was(tmp_path: Path) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(z_dim=8, w_dim=8, resolution=16, channel_base=128, channel_max=8))
    path = tmp_path / "tiny.safetensors"
    save_network(path, network, licence="CC0")
    loaded = load_generator(str(path))
    z = torch.randn(3, 8, generator=stream(0, "z"))
    assert (loaded.name, loaded.licence, loaded.image_size) == ("tiny", "CC0", 16)
    torch.testing.assert_close(loaded.latents(z), network.half().float().mapping(z), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["stylegan9", "weights.pt", ""])
def test_an_unknown_generator_is_refused_with_the_choices(source: str) -> None:
    with pytest.raises(UsageError, match=r"give 'builtin', 'latent-flow', the path of a \.safetensors"):
        load_generator(source)


def test_a_class_of_another_package_is_a_generator(plugin: Callable[[str], str]) -> None:
    source = f"{plugin(PLUGIN)}:Noise"
    generator = load_generator(source)
    assert (generator.name, generator.family, generator.licence) == ("Noise", "own", "not stated")
    assert (generator.noise_dim, generator.latent_dim, generator.image_size) == (8, 8, 16)
    assert generator.parameters == 8 * 768 + 768
    latents = sample_latents(generator, 3, stream(0, "test"))
    images = generator.images(latents)
    assert (images.shape, images.dtype) == ((3, 3, 16, 16), torch.uint8)
    expected = (latents.sum(dim=1) * 0.5 * 40.0 + 128).clamp(0, 255)
    assert (images[:, 0, 0, 0].float() - expected).abs().max() <= 1


def test_a_plug_in_is_told_its_settings_which_its_fingerprint_covers(plugin: Callable[[str], str]) -> None:
    source = f"{plugin(PLUGIN)}:Noise"
    plain, same, dull = (load_generator(source, values) for values in (None, {"contrast": 40.0}, {"contrast": 1}))
    latents = sample_latents(plain, 3, stream(0, "test"))
    assert dull.images(latents).float().std() < plain.images(latents).float().std() / 10
    assert plain.fingerprint == same.fingerprint != dull.fingerprint
    assert len(plain.fingerprint) == 64


def test_the_documented_generator_works_as_it_stands(plugin: Callable[[str], str]) -> None:
    (example,) = python_blocks("extending/generators.md")
    generator = load_generator(f"{plugin(example)}:Blobs", {"radius": 0.5})
    latents = torch.zeros(1, generator.latent_dim)
    latents[0, 2] = 10.0  # the first blob, in the middle, is red
    [red, green, blue] = generator.images(latents)[0]
    assert red[16, 16] == red[15, 15] >= 254
    assert red[0].eq(128).all()
    assert green.eq(128).all()
    assert blue.eq(128).all()


def test_a_derived_generators_fingerprint_covers_its_weights() -> None:
    class Linear(BaseGenerator):
        def __init__(self, settings: NoSettings, seed: int) -> None:
            super().__init__(settings)
            with initialising(seed, "weights"):
                self.layer = torch.nn.Linear(8, 8).half()

    prints = [Linear(NoSettings(), seed).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrast": 0}, "contrast is 0: give a number above 0"),
        ({"contrast": "much"}, "contrast is 'much': give a number above 0"),
        ({"colour": 1}, "'colour' is no setting of Settings"),
    ],
)
def test_a_setting_of_a_plug_in_that_does_not_fit_is_refused(
    plugin: Callable[[str], str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_generator(f"{plugin(PLUGIN)}:Noise", settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("    def images", "    def pictures"),
            "has no images: give it all that ImageGenerator in ktl.generators.base",
        ),
        (("noise_dim = latent_dim = 8", "noise_dim = 8"), "has no latent_dim: give it all"),
        (
            ("noise_dim = latent_dim = 8\n    image_size = 16", ""),
            "has no noise_dim, latent_dim, image_size: give it all",
        ),
        (("image_size = 16", "image_size = '16'"), "image_size of .* is '16': give a whole number of at least 4"),
        (("image_size = 16", "image_size = 0"), "image_size of .* is 0: give a whole number of at least 4"),
        (("image_size = 16", "image_size = 16; licence = None"), "licence of generator .* is None: give text"),
        (("image_size = 16", "image_size = 16; latents = 3"), "latents of generator .* is 3: give a method"),
        (("class Settings(KtlSettings)", "class Settings"), "Settings of generator .*: derive it from ktl.settings"),
        (("def __init__(self, settings):", "def __init__(self, settings, more):"), "cannot be made of its settings"),
    ],
)
def test_a_plug_in_that_lacks_something_is_refused_by_name(
    plugin: Callable[[str], str], change: tuple[str, str], message: str
) -> None:
    assert change[0] in PLUGIN
    source = f"{plugin(PLUGIN.replace(*change))}:Noise"
    with pytest.raises(UsageError, match=message) as refused:
        load_generator(source)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "no_such_package:Noise",
            r"cannot load generator 'no_such_package:Noise' \(No module named 'no_such_package'\)",
        ),
        ("math:Noise", "cannot load generator 'math:Noise' .*give an importable module:Class"),
        ("math:floor", "generator 'math:floor' is a builtin_function_or_method: give a class"),
        ("collections:ChainMap", "has no name, family, licence, fingerprint, noise_dim"),
    ],
)
def test_what_is_no_generator_class_is_refused(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_generator(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("builtin", "generator 'builtin' takes no settings, but steps came: there is nothing to set"),
        ("weights.safetensors", "takes no settings, but steps came: there is nothing to set"),
        ("weights.pkl", "takes no settings, but steps came: there is nothing to set"),
        (
            "diffusers:folder",
            "write prompt, preset, steps, guidance, scheduler, size, variant into the source, as diffusers:",
        ),
    ],
)
def test_settings_of_a_generator_that_has_none_are_refused(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_generator(source, {"steps": 4})


def test_a_generator_that_a_package_registers_goes_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "noise_package.py").write_text(PLUGIN)
    about = tmp_path / "noise_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: noise-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ktl.generators]\nnoise = noise_package:Noise\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from ktl.generators import GENERATORS, load_generator\n"
        "print(GENERATORS.names(), GENERATORS.summary('noise'))\n"
        "print(load_generator('noise', {'contrast': 2.0}).settings)\n"
        "load_generator('nose')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    names, settings = ended.stdout.splitlines()
    assert names == "['builtin', 'latent-flow', 'diffusers', 'pool', 'noise'] Projections of the latent."
    assert settings == "Noise.Settings(contrast=2.0)"
    assert (
        "StyleGAN's .pkl, pool:FOLDER_OR_TAR, diffusers:FOLDER_OR_ID, 'noise', or module:Class"
        in ended.stderr.splitlines()[-1]
    )


@pytest.mark.parametrize("suffix", ["safetensors", "pkl", "npz"])
def test_a_missing_file_of_any_kind_is_named(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"there is no .* file .*absent\.{suffix}"):
        load_generator(str(tmp_path / f"absent.{suffix}"))


@pytest.mark.slow
def test_the_built_in_generator_is_quick() -> None:
    started = time.perf_counter()
    generator = load_generator("builtin")
    loading = time.perf_counter() - started
    latents = sample_latents(generator, 512, stream(0, "speed"))
    generator.images(latents)
    started = time.perf_counter()
    generator.images(latents)
    assert 512 / (time.perf_counter() - started) > 250
    assert loading < 0.6
