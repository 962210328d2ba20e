"""What a network learns from a generator's images: a large encoder is distilled into it on 12,000 of them.

Run: python -m benchmarks.accuracy.generator_images run [--sources builtin latent-flow FILE.safetensors real real-16px
         real-128d real-webp5 real-webp60] [--counts 12000] [--steps 2400] [--images tiny-imagenet-unlabelled-40k.tar]
         [--photographs tiny-imagenet-10k]
     python -m benchmarks.accuracy.generator_images table

`real` stands for as many images of --images, a folder or tar file. `real-16px` are the same ones with the detail of 16
pixels, and `real-128d` with what their 128 principal components hold: what a perfect generator of so few pixels, or a
linear one of so few numbers, would draw. `real-webp5` and `real-webp60` went through WebP of these qualities, in which
12,000 take 1.1 and 3.2 MB: what a file as large as the built-in generator, or as a large one, holds of real images.

The network is the 4-layer CNN with a linear map to the 256 principal directions of EfficientNet-Lite0's embeddings
(benchmarks/accuracy/lite0.py says what that needs). Then it stays as it is, and classifies by the cosine to the class
means of a few labelled images, CIFAR-100's and those of ten classes of --photographs at 32 pixels.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.accuracy.lite0 import Lite0
from benchmarks.accuracy.nearest_mean import nearest_mean_accuracy
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_mean
from ktl import load_generator
from ktl.data import load_dataset
from ktl.data.collection import read_collection
from ktl.data.fewshot import draw_task
from ktl.encoders.base import Encoder
from ktl.encoders.principal import principal_directions
from ktl.encoders.training.distillation import Distillation
from ktl.encoders.training.run import DIRECTIONS
from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.generators.base import drawn
from ktl.models import MODELS
from ktl.seeds import initialising, stream
from ktl.warm_start.distilled import HeadedExtractor
from ktl.wire.contact_sheets import decode_sheet, encode_sheet, images_per_sheet

SIZE = 32  # pixels
COARSE = 16
COMPONENTS = 128
QUALITIES = (5, 60)  # of WebP


def as_they_are(images: Tensor) -> Tensor:
    """Nothing is lost."""
    return images


def coarse(images: Tensor) -> Tensor:
    """uint8 (n, 3, SIZE, SIZE)  ->  the same shape, with the detail of COARSE pixels."""
    small = F.interpolate(images.float(), size=(COARSE, COARSE), mode="area")
    return _bytes(F.interpolate(small, size=(SIZE, SIZE), mode="bicubic", align_corners=False))


def of_few_numbers(images: Tensor) -> Tensor:
    """uint8 (n, 3, SIZE, SIZE)  ->  the same shape, projected on the set's COMPONENTS principal directions."""
    pixels = images.flatten(1).float()
    centre, directions = principal_directions(pixels, COMPONENTS)
    return _bytes((pixels - centre) @ directions @ directions.T + centre).view_as(images)


def compressed(quality: int, images: Tensor) -> Tensor:
    """uint8 (n, 3, SIZE, SIZE)  ->  the same shape, as it comes out of WebP sheets of `quality`, 100 being the best."""
    sheets = images.permute(0, 2, 3, 1).split(images_per_sheet(SIZE))
    sent = [decode_sheet(encode_sheet(s.numpy(), "WEBP", quality), "a sheet", len(s), SIZE, 3) for s in sheets]
    return torch.from_numpy(np.concatenate(sent)).permute(0, 3, 1, 2).contiguous()


def _bytes(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)


REAL = {
    "real": as_they_are,
    f"real-{COARSE}px": coarse,
    f"real-{COMPONENTS}d": of_few_numbers,
    **{f"real-webp{quality}": partial(compressed, quality) for quality in QUALITIES},
}


class Student(Encoder):
    """A distilled network."""

    dimension = DIRECTIONS
    image_size = SIZE

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def features(self, images: Tensor) -> Tensor:
        found: Tensor = self.network(images)
        return found


def distilled(images: Tensor, steps: int, seed: int) -> Student:
    """The 4-layer CNN after that many steps of 128 views of images, uint8 (n, 3, SIZE, SIZE)."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeddings = Lite0().embed(images)
    centre, directions = principal_directions(embeddings, DIRECTIONS)
    with initialising(seed, "initial weights"):
        extractor = MODELS.load("cnn4")(3, SIZE)
        network = HeadedExtractor(extractor, nn.Linear(extractor.feature_dim, DIRECTIONS))
    config = EncoderTrainingConfig(images=steps * 128, batch=128, cooldown=1.0, seed=seed)
    training = Distillation(network, images, (embeddings - centre) @ directions, config)
    training.train(lambda row: None)
    return Student(training.average)


def measure(source: str, count: int, images: Path, cifar: Path, photographs: Path, steps: int, seed: int) -> Row:
    """Accuracies in percent, means over draws of the shots: CIFAR-100 at 2 and 9 shots, ten classes of photographs."""
    began = time.process_time()
    rng = stream(seed, "images to distil on")
    if source in REAL:
        owned = torch.from_numpy(read_collection(images, SIZE)).permute(0, 3, 1, 2)
        shown = REAL[source](owned[torch.randperm(len(owned), generator=rng)[:count]])
    else:
        shown = torch.cat(list(drawn(load_generator(source), count, rng)))
    student = distilled(shown, steps, seed)
    seconds = time.process_time() - began

    def accuracy(data: Path, shots: int, ways: int | None, seeds: range) -> float:
        dataset = load_dataset(str(data), image_size=SIZE)
        tasks = [draw_task(dataset, shots=shots, ways=ways, seed=draw) for draw in seeds]
        return sum(nearest_mean_accuracy(student, task) for task in tasks) / len(tasks)

    return {
        "2 shots": accuracy(cifar, 2, None, range(100, 103)),
        "9 shots": accuracy(cifar, 9, None, range(100, 103)),
        "photographs": accuracy(photographs, 10, 10, range(6)),
        "seconds": round(seconds),
    }


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each source, with each number of images."""
    root = args.data_root
    where = (root / args.images, root / "cifar100-20k.npz", root / args.photographs)
    found = []
    for seed, source, count in itertools.product(args.seeds, args.sources, args.counts):
        key = {"source": Path(source).stem, "images": count, "steps": args.steps, "seed": seed}
        found.append(Cell(key, measure, (source, count, *where, args.steps, seed)))
    return found


def table(rows: Sequence[Row]) -> str:
    """A line per source, number of images and length of training: means over seeds."""
    header = [
        "images of",
        "images",
        "steps",
        "seeds",
        "CIFAR-100 2-shot",
        "9-shot",
        "photographs, 10-way 10-shot",
        "seconds",
    ]
    lines = []
    for source, images, steps in dict.fromkeys((row["source"], row["images"], row["steps"]) for row in rows):
        own = [row for row in rows if (row["source"], row["images"], row["steps"]) == (source, images, steps)]
        means = [seed_mean([row[name] for row in own]) for name in ("2 shots", "9 shots", "photographs")]
        seconds = sum(row["seconds"] for row in own) / len(own)
        lines.append([source, f"{images:,}", f"{steps:,}", len(own), *means, f"{seconds:.0f}"])
    return markdown(header, lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--sources", nargs="+", default=["builtin", "latent-flow", *REAL])
    runs.add_argument("--counts", type=int, nargs="+", default=[12_000], help="images to distil on")
    runs.add_argument(
        "--images", default="tiny-imagenet-unlabelled-40k.tar", help="unlabelled ones, for those that are real"
    )
    runs.add_argument("--photographs", default="tiny-imagenet-10k")
    runs.add_argument("--steps", type=int, default=2400)
    runs.add_argument("--seeds", type=int, nargs="+", default=[0])


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("accuracy/generator_images", __doc__, options, cells, TABLES)
