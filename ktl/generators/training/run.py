"""A generator's training as a folder: configuration, figures, weights, sample grid, and the state to go on from."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.config import GeneratorTrainingConfig
from ktl.data.collection import read_collection
from ktl.data.images import Images
from ktl.errors import UsageError
from ktl.files import write_atomically
from ktl.generators.samples import sample_grid
from ktl.generators.stylegan import StyleGANGenerator, load_stylegan, save_stylegan
from ktl.generators.training.quality import LEAST_IMAGES, MOST_IMAGES, measure_quality
from ktl.generators.training.trainer import GeneratorTrainer, Row
from ktl.seeds import stream

SIZES = (8, 16, 32, 64, 128)  # pixels


def train_generator(
    source: Path,
    out: Path,
    config: GeneratorTrainingConfig,
    *,
    size: int = 32,
    licence: str = "not stated",
    device: str = "cpu",
    resume: bool = False,
    on_row: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains on the images of a folder or tar file and returns the path of the weights, `out/generator.safetensors`.

    Beside them: config.json, metrics.jsonl (a row every `config.log_every` steps), samples.png (64 images) and
    checkpoint.safetensors, from which `resume` goes on. A twentieth of the images (2,000 at most) is held out; where
    that makes 64 or more, rows of steps at which all is saved also tell `quality.Quality` against them. Raises
    UsageError if `out` already holds a training that was not to be resumed, DataError if an image cannot be read.
    """
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise UsageError(f"{out} already holds a training; go on with --resume or name another --out")
    if size not in SIZES:
        raise UsageError(f"--size is {size}: choose one of {', '.join(map(str, SIZES))}")
    images, held_out = _split(read_collection(source, size), config.seed)
    trainer = GeneratorTrainer(images, config, device)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    if checkpoint.exists():
        state, metadata = load_checkpoint(checkpoint)
        trainer.restore(state)
        rows = metadata["rows"]
    write_atomically(out / "config.json", json.dumps(asdict(config) | {"size": size}, indent=2).encode())

    def save() -> None:
        save_checkpoint(checkpoint, trainer.state(), {"rows": rows})
        write_atomically(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        save_stylegan(out / "generator.safetensors", trainer.average, licence=licence)
        generator = load_stylegan(out / "generator.safetensors", name=out.name)
        sample_grid(generator, rows=8, columns=8, seed=config.seed).save(out / "samples.png")

    def keep(row: Row) -> None:
        saving = trainer.step % config.save_every == 0
        if saving and len(held_out) >= LEAST_IMAGES:
            network = copy.deepcopy(trainer.average).cpu()
            average = StyleGANGenerator(network, name=out.name, licence=licence, fingerprint="")
            row |= asdict(measure_quality(average, held_out))
        rows.append(row)
        on_row(row)
        if saving:
            save()

    trainer.train(keep, should_stop)
    save()
    return out / "generator.safetensors"


def _split(images: Images, seed: int) -> tuple[Images, Tensor]:
    """Images to train on, and as uint8 (n, 3, size, size) those to measure with."""
    order = torch.randperm(len(images), generator=stream(seed, "held out")).numpy()
    count = min(len(images) // 20, MOST_IMAGES)
    return images[order[count:]], torch.from_numpy(images[order[:count]]).permute(0, 3, 1, 2)
