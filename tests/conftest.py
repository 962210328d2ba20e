"""What tests of several rooms share: a generator and a data set so small that a whole run takes a second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from support.browser import chromium, why_not
from support.tiny import save_tiny_generator
from support.tiny_pipeline import write_pipeline

from ktl.generators.network import NetworkGenerator, load_network

pytest_plugins = ["support.parallel", "support.skips", "support.small_runs", "support.small_federation", "support.hall"]

for size in ("COLUMNS", "LINES"):  # of the terminal: readline, which pytest loads, hands them to its workers
    os.environ.pop(size, None)

COLOURS = {"blue": (105, 110, 140), "green": (105, 140, 110), "red": (140, 105, 110)}
NOISE = 40.0  # of each pixel
TINT = 12.0  # of a whole image: enough that a classifier takes some for another class


@pytest.fixture(scope="session")
def tiny_generator_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StyleGAN2 of 16 x 16 pixels with 16 latents and random weights, as ktl saves it."""
    return save_tiny_generator(tmp_path_factory.mktemp("generator") / "tiny.safetensors")


@pytest.fixture(scope="session")
def tiny_generator(tiny_generator_file: Path) -> NetworkGenerator:
    return load_network(tiny_generator_file, name="tiny")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 pictures of 20 x 16 pixels, coarse squares of colour, with a LICENSE file: CC0 1.0 Universal."""
    folder = tmp_path_factory.mktemp("pool") / "photographs"
    folder.mkdir()
    squares = np.random.default_rng(0).integers(0, 256, (40, 4, 5, 3), dtype=np.uint8)
    for index, picture in enumerate(squares.repeat(4, axis=1).repeat(4, axis=2)):
        Image.fromarray(picture).save(folder / f"{index:02d}.png")
    (folder / "LICENSE").write_text("\nCC0 1.0 Universal\n\nStatement of Purpose\n")
    return folder


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete Stable Diffusion with 4 x 8 x 8 latents, 16 x 16 pixels and random weights."""
    pytest.importorskip("diffusers", reason="needs the extra ktl[diffusion]")
    return write_pipeline(tmp_path_factory.mktemp("pipeline") / "tiny-diffusion")


@pytest.fixture(scope="module")  # not the session: Playwright keeps an event loop running in this thread
def browser() -> Iterator[Browser]:
    """A Chromium that is installed on this machine."""
    if reason := why_not():
        pytest.skip(reason)
    with chromium() as opened:
        yield opened


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Images and warm starts that are kept are kept in the test's own folder."""
    monkeypatch.setenv("KTL_CACHE", str(tmp_path / "image cache"))
    monkeypatch.setenv("KTL_WARM_STARTS", str(tmp_path / "warm starts"))
    return tmp_path / "image cache"


@pytest.fixture(scope="session")
def processor_seconds() -> Callable[..., float]:
    """Of a processor, for a command: the least of five runs, as the wall clock of a busy machine says nothing.

    Where the libraries of a prediction alone take more than 0.3 s, the processor is slow or has other work: the seconds
    are scaled to one where they take 0.3 s.
    """
    resource = pytest.importorskip("resource", reason="a system without POSIX's getrusage")
    libraries = [sys.executable, "-c", "import numpy, onnxruntime, PIL.Image"]

    def used(command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def measured(*command: object) -> float:
        pairs = [(used(libraries), used([str(word) for word in command])) for _ in range(5)]
        alone, seconds = (min(times) for times in zip(*pairs, strict=True))
        return seconds * min(1.0, 0.3 / alone)

    return measured


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz data set: 3 classes of coloured noise, 16 x 16 RGB, 10 train and 20 test images each."""
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    rng = np.random.default_rng(0)
    arrays = {"class_names": np.array(list(COLOURS))}
    for split, count in (("train", 10), ("test", 20)):
        labels = np.repeat(np.arange(len(COLOURS)), count)
        colours = np.array(list(COLOURS.values()))[labels] + rng.normal(0, TINT, (len(labels), 3))
        pixels = colours[:, None, None, :] + rng.normal(0, NOISE, (len(labels), 16, 16, 3))
        arrays |= {f"x_{split}": pixels.clip(0, 255).astype(np.uint8), f"y_{split}": labels}
    np.savez_compressed(path, **arrays)
    return path
