"""An encoder's training in a folder: configuration, targets, figures, weights, and the state to resume from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.data.transforms import fit_batch
from ktl.encoders.base import Encoder
from ktl.encoders.principal import principal_directions
from ktl.encoders.small import SmallEncoder, SmallEncoderConfig, save_small_encoder
from ktl.encoders.training.distillation import EncoderTrainer, Row
from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.encoders.training.targets import AT_ONCE, Draw, kept_embeddings, training_images
from ktl.errors import UsageError
from ktl.files import write_json, write_rows
from ktl.seeds import stream
from ktl.settings import as_table

CHECKPOINT = "checkpoint.safetensors"
MOST_HELD_OUT = 2000  # images


def train_encoder(
    source: Path,
    out: Path,
    teacher: Encoder,
    draw: Draw,
    config: EncoderTrainingConfig,
    *,
    licence: str = "not stated",
    resume: bool = False,
    on_embedded: Callable[[int], None] = lambda count: None,
    on_row: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Distils `teacher` on the images of a folder or tar file and on generated ones; returns `out/encoder.safetensors`.

    Beside it: config.json, targets.safetensors (the teacher's embeddings, computed once; `on_embedded` is told of how
    many images there are some), metrics.jsonl (one row per `config.log_every` steps) and checkpoint.safetensors, from
    which `resume` goes on. A twentieth of the images (2,000 at most) is held out: rows of steps at which all is saved
    tell the mean cosine of its embeddings to their targets. Raises UsageError if `out` already holds a training that
    was not to be resumed, DataError if an image cannot be read.
    """
    if (out / CHECKPOINT).exists() and not resume:
        raise UsageError(f"{out} already holds a training; go on with --resume or name another --out")
    out.mkdir(parents=True, exist_ok=True)
    sizes = SmallEncoderConfig()
    images = training_images(source, draw, config.generated, config.seed)
    embeddings = kept_embeddings(out / "targets.safetensors", teacher, images, on_embedded)
    centre, directions = principal_directions(embeddings, sizes.dimension)
    targets = (embeddings - centre) @ directions
    images = torch.cat([fit_batch(batch, sizes.image_size, 3) for batch in images.split(AT_ONCE)])
    held_out, shown = _split(len(images), config.seed)
    trainer = EncoderTrainer(images[shown], targets[shown], config)
    folder = _TrainingFolder(out, trainer, images[held_out], targets[held_out], licence)
    folder.open()
    trainer.train(lambda row: folder.keep(row, on_row), should_stop)
    return folder.save()


class _TrainingFolder:
    """The files of one training, and its rows of figures so far."""

    def __init__(self, path: Path, trainer: EncoderTrainer, images: Tensor, targets: Tensor, licence: str) -> None:
        """images and targets: those that are held out."""
        self.path = path
        self.trainer = trainer
        self.images = images
        self.targets = targets
        self.licence = licence
        self.rows: list[Row] = []

    def open(self) -> None:
        """Lets the trainer go on from the state in the folder, if there is one."""
        if (self.path / CHECKPOINT).exists():
            state, metadata = load_checkpoint(self.path / CHECKPOINT)
            self.trainer.restore(state)
            self.rows = metadata["rows"]
        write_json(self.path / "config.json", as_table(self.trainer.config))

    def keep(self, row: Row, on_row: Callable[[Row], None]) -> None:
        """Adds a row of figures; every `save_every` steps also measures the embeddings and saves all."""
        saving = self.trainer.step % self.trainer.config.save_every == 0
        if saving and len(self.images):
            row["held_out_cosine"] = self._held_out_cosine()
        self.rows.append(row)
        on_row(row)
        if saving:
            self.save()

    def save(self) -> Path:
        """Writes all files and returns the path of the weights."""
        weights = self.path / "encoder.safetensors"
        save_checkpoint(self.path / CHECKPOINT, self.trainer.state(), {"rows": self.rows})
        write_rows(self.path / "metrics.jsonl", self.rows)
        save_small_encoder(weights, self.trainer.average, licence=self.licence)
        return weights

    def _held_out_cosine(self) -> float:
        encoder = SmallEncoder(self.trainer.average, name=self.path.name, licence=self.licence, fingerprint="")
        return F.cosine_similarity(encoder.embed(self.images), self.targets).mean().item()


def _split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that are held out, and of those to train on."""
    order = torch.randperm(count, generator=stream(seed, "held out"))
    held_out = min(count // 20, MOST_HELD_OUT)
    return order[:held_out], order[held_out:]
