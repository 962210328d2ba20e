"""Images that a slow generator has drawn once cost nothing the second time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ktl.cloud.embedded import EmbeddedCloud
from ktl.generators import load_generator
from ktl.generators.cached import CachedGenerator
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, encode_message, encode_prototypes


class Stripes:
    """A generator that counts what it draws: each image has stripes of the latent's own numbers."""

    name, family, licence, fingerprint = "stripes", "test", "CC0-1.0", "abc"
    noise_dim = latent_dim = 8
    image_size = 64
    parameters = 0

    def __init__(self) -> None:
        self.drawn = 0

    def latents(self, noise: Tensor) -> Tensor:
        return 2 * noise

    def images(self, latents: Tensor) -> Tensor:
        self.drawn += len(latents)
        columns = (latents * 40 + 128).clamp(0, 255).to(torch.uint8).repeat_interleave(8, dim=1)
        return columns[:, None, None, :].expand(-1, 3, 64, -1)


@pytest.fixture
def stripes() -> Stripes:
    return Stripes()


def latents(count: int, seed: int = 0) -> Tensor:
    """As they come from the wire: numbers of float16."""
    return torch.randn(count, 8, generator=stream(seed, "latents")).half().float()


def test_what_was_drawn_is_not_drawn_again(stripes: Stripes, tmp_path: Path) -> None:
    cached = CachedGenerator(stripes, tmp_path)
    first = cached.images(latents(40))
    assert torch.equal(first, Stripes().images(latents(40)))
    assert stripes.drawn == 40
    order = torch.randperm(40, generator=stream(0, "order"))
    assert torch.equal(cached.images(latents(40)[order]), first[order])
    assert stripes.drawn == 40


def test_another_process_finds_it_too(stripes: Stripes, tmp_path: Path) -> None:
    expected = CachedGenerator(stripes, tmp_path).images(latents(3))
    later = Stripes()
    assert torch.equal(CachedGenerator(later, tmp_path).images(latents(3)), expected)
    assert later.drawn == 0


def test_only_what_is_missing_is_drawn_and_each_in_its_place(stripes: Stripes, tmp_path: Path) -> None:
    cached = CachedGenerator(stripes, tmp_path)
    cached.images(latents(10)[3:6])
    assert torch.equal(cached.images(latents(10)), Stripes().images(latents(10)))
    assert stripes.drawn == 10


def test_a_latent_that_comes_twice_is_drawn_once(stripes: Stripes, tmp_path: Path) -> None:
    images = CachedGenerator(stripes, tmp_path).images(latents(2)[[0, 1, 0, 0]])
    assert torch.equal(images, Stripes().images(latents(2))[[0, 1, 0, 0]])
    assert stripes.drawn == 2


def test_other_weights_are_another_cache(stripes: Stripes, tmp_path: Path) -> None:
    CachedGenerator(stripes, tmp_path).images(latents(3))
    other = Stripes()
    other.fingerprint = "abd"
    CachedGenerator(other, tmp_path).images(latents(3))
    assert other.drawn == 3


def test_it_says_of_itself_what_the_generator_says(stripes: Stripes, tmp_path: Path) -> None:
    cached = CachedGenerator(stripes, tmp_path)
    for name in ("name", "family", "licence", "fingerprint", "noise_dim", "latent_dim", "image_size", "parameters"):
        assert getattr(cached, name) == getattr(stripes, name)
    assert torch.equal(cached.latents(latents(2)), 2 * latents(2))


def test_the_images_used_longest_ago_make_room(stripes: Stripes, tmp_path: Path) -> None:
    ten = latents(10)
    CachedGenerator(stripes, tmp_path).images(ten[:1])
    [file] = tmp_path.iterdir()
    room = int(5.5 * file.stat().st_size)  # the files differ by a few bytes
    cached = CachedGenerator(stripes, tmp_path, max_bytes=room)
    for index in range(1, 10):
        cached.images(ten[index : index + 1])
        cached.images(ten[:1])  # in use all the time
    assert stripes.drawn == 10
    assert room / 2 < sum(file.stat().st_size for file in tmp_path.iterdir()) <= room
    cached.images(ten[[0, 9]])
    assert stripes.drawn == 10
    cached.images(ten[[1]])
    assert stripes.drawn == 11


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"no picture", None])
def test_a_damaged_file_is_drawn_anew(stripes: Stripes, tmp_path: Path, content: bytes | None) -> None:
    cached = CachedGenerator(stripes, tmp_path)
    expected = cached.images(latents(3))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    assert torch.equal(cached.images(latents(3)), expected)
    assert stripes.drawn == 6
    assert torch.equal(cached.images(latents(3)), expected)
    assert stripes.drawn == 6


def test_a_folder_that_cannot_be_written_costs_only_the_cache(stripes: Stripes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cached = CachedGenerator(stripes, tmp_path / "file")
    for _ in range(2):
        assert torch.equal(cached.images(latents(3)), Stripes().images(latents(3)))
    assert stripes.drawn == 6


def test_no_images_are_no_images(stripes: Stripes, tmp_path: Path) -> None:
    assert CachedGenerator(stripes, tmp_path).images(latents(0)).shape == (0, 3, 64, 64)


def test_a_session_that_is_asked_for_again_draws_nothing(stripes: Stripes, tmp_path: Path) -> None:
    request = SessionRequest(3, 16, 3, 4, 100_000, "robust", "webp", seed=1)
    prototypes = encode_prototypes(class_prototypes(torch.eye(3), torch.arange(3)))
    answers = []
    for _ in range(2):
        cloud = EmbeddedCloud(CachedGenerator(stripes, tmp_path))
        cloud.open(encode_message(request), [])
        answers.append(cloud.exchange({0: prototypes}))
    assert answers[0] == answers[1]
    assert stripes.drawn == 12


def test_for_a_cloud_slow_generators_are_cached_and_quick_ones_are_not(tiny_pipeline: Path, cache_folder: Path) -> None:
    source = f"diffusers:{tiny_pipeline}?preset=turbo"
    generator = load_generator(source, cached=True)
    latent = generator.latents(torch.randn(2, generator.noise_dim))
    images = generator.images(latent)
    assert len(list(cache_folder.iterdir())) == 2
    assert torch.equal(load_generator(source, cached=True).images(latent), images)
    builtin = load_generator("builtin", cached=True)
    builtin.images(builtin.latents(torch.randn(2, builtin.noise_dim)))
    load_generator(source).images(torch.randn(2, generator.noise_dim))
    assert len(list(cache_folder.iterdir())) == 2
