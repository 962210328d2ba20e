"""A generator's training as a folder: configuration, figures, weights, sample grid, and the state to go on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ktl.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from ktl.config import GeneratorTrainingConfig
from ktl.data.collection import read_collection
from ktl.errors import UsageError
from ktl.generators.samples import sample_grid
from ktl.generators.stylegan import load_stylegan2, save_stylegan2
from ktl.generators.training import GeneratorTrainer, Row

SIZES = (8, 16, 32, 64, 128)  # pixels


def train_generator(
    source: Path,
    out: Path,
    config: GeneratorTrainingConfig,
    *,
    size: int = 32,
    licence: str = "not stated",
    resume: bool = False,
    on_row: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains on the images of a folder or tar file and returns the path of the weights, `out/generator.safetensors`.

    Beside them: config.json, metrics.jsonl (a row every `config.log_every` steps), samples.png (64 images) and
    checkpoint.safetensors, from which `resume` goes on. Raises UsageError if `out` already holds a training that was
    not to be resumed, DataError if the images cannot be read.
    """
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise UsageError(f"{out} already holds a training; go on with --resume or name another --out")
    if size not in SIZES:
        raise UsageError(f"--size is {size}: choose one of {', '.join(map(str, SIZES))}")
    trainer = GeneratorTrainer(read_collection(source, size), config)
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
        save_stylegan2(out / "generator.safetensors", trainer.average, licence=licence)
        generator = load_stylegan2(out / "generator.safetensors", name=out.name)
        sample_grid(generator, rows=8, columns=8, seed=config.seed).save(out / "samples.png")

    def keep(row: Row) -> None:
        rows.append(row)
        on_row(row)
        if trainer.step % config.save_every == 0:
            save()

    trainer.train(keep, should_stop)
    save()
    return out / "generator.safetensors"
