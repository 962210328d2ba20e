"""A distillation in a folder: configuration, targets, figures, weights, and the state to resume from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.data.transforms import fit_batch, to_network
from ktl.encoders.base import Encoder
from ktl.encoders.principal import principal_directions
from ktl.encoders.small import SmallEncoderConfig, SmallEncoderNetwork, save_small_encoder
from ktl.encoders.training.distillation import Distillation, Row
from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.encoders.training.targets import AT_ONCE, Draw, kept_embeddings, training_images
from ktl.errors import UsageError
from ktl.files import write_json, write_rows
from ktl.seeds import initialising, stream
from ktl.settings import as_table

CHECKPOINT = "checkpoint.safetensors"
MOST_HELD_OUT = 2000  # images
DIRECTIONS = 256  # principal ones of the large encoder's embeddings, which the small one learns


@dataclass(frozen=True)
class Student:
    """A network that learns what a large encoder makes of images: the images that it takes, and its file.

    `network`: float32 (n, channels, image_size, image_size) in [-1, 1] -> (n, DIRECTIONS). `save` writes the weights of
    such a network and returns the path.
    """

    network: nn.Module
    channels: int  # 1 or 3
    image_size: int  # pixels, square
    save: Callable[[nn.Module], Path]


def train_encoder(
    source: Path,
    out: Path,
    teacher: Encoder,
    draw: Draw,
    config: EncoderTrainingConfig,
    *,
    licence: str = "not stated",
    **how: Any,
) -> Path:
    """Distils `teacher` into an encoder of ktl's own; returns `out/encoder.safetensors`. Else as `distil`."""
    sizes = SmallEncoderConfig(dimension=DIRECTIONS)
    with initialising(config.seed, "initial weights"):
        network = SmallEncoderNetwork(sizes)

    def save(network: nn.Module) -> Path:
        assert isinstance(network, SmallEncoderNetwork)
        save_small_encoder(out / "encoder.safetensors", network, licence=licence)
        return out / "encoder.safetensors"

    return distil(source, out, teacher, draw, Student(network, 3, sizes.image_size, save), config, **how)


def distil(
    source: Path | None,
    out: Path,
    teacher: Encoder,
    draw: Draw,
    student: Student,
    config: EncoderTrainingConfig,
    *,
    resume: bool = False,
    on_embedded: Callable[[int], None] = lambda count: None,
    on_row: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Distils `teacher` on the images of a folder or tar file, if one is given, and on those that `draw` gives; returns
    the student's file.

    In `out` there are also config.json, targets.safetensors (the teacher's embeddings, computed once; `on_embedded` is
    told of how many images there are some), metrics.jsonl (one row per `config.log_every` steps) and
    checkpoint.safetensors, from which `resume` goes on. A twentieth of the images (2,000 at most) is held out: rows of
    steps at which all is saved tell the mean cosine of its embeddings to their targets. Raises UsageError if `out`
    already holds a training that was not to be resumed or there is no image, DataError if one cannot be read.
    """
    if (out / CHECKPOINT).exists() and not resume:
        raise UsageError(f"{out} already holds a training; go on with --resume or name another --out")
    out.mkdir(parents=True, exist_ok=True)
    batches = training_images(source, draw, config.generated, config.seed)
    embeddings = kept_embeddings(out / "targets.safetensors", teacher, batches, on_embedded)
    centre, directions = principal_directions(embeddings, DIRECTIONS)
    targets = (embeddings - centre) @ directions
    images = torch.cat([fit_batch(batch, student.image_size, student.channels) for batch in batches])
    held_out, shown = _split(len(images), config.seed)
    training = Distillation(student.network, images[shown], targets[shown], config)
    folder = _TrainingFolder(out, training, images[held_out], targets[held_out], student.save)
    folder.open()
    training.train(lambda row: folder.keep(row, on_row), should_stop)
    return folder.save()


class _TrainingFolder:
    """The files of one training, and its rows of figures so far."""

    def __init__(
        self,
        path: Path,
        training: Distillation,
        images: Tensor,
        targets: Tensor,
        save_weights: Callable[[nn.Module], Path],
    ) -> None:
        """images and targets: those that are held out."""
        self.path = path
        self.training = training
        self.images = images
        self.targets = targets
        self.save_weights = save_weights
        self.rows: list[Row] = []

    def open(self) -> None:
        """Lets the trainer go on from the state in the folder, if there is one."""
        if (self.path / CHECKPOINT).exists():
            state, metadata = load_checkpoint(self.path / CHECKPOINT)
            self.training.restore(state)
            self.rows = metadata["rows"]
        write_json(self.path / "config.json", as_table(self.training.config))

    def keep(self, row: Row, on_row: Callable[[Row], None]) -> None:
        """Adds a row of figures; every `save_every` steps also measures the embeddings and saves all."""
        saving = self.training.step % self.training.config.save_every == 0
        if saving and len(self.images):
            row["held_out_cosine"] = self._held_out_cosine()
        self.rows.append(row)
        on_row(row)
        if saving:
            self.save()

    def save(self) -> Path:
        """Writes all files and returns the path of the weights."""
        save_checkpoint(self.path / CHECKPOINT, self.training.state(), {"rows": self.rows})
        write_rows(self.path / "metrics.jsonl", self.rows)
        return self.save_weights(self.training.average)

    @torch.no_grad()
    def _held_out_cosine(self) -> float:
        found = [self.training.average(to_network(batch)) for batch in self.images.split(AT_ONCE)]
        return F.cosine_similarity(torch.cat(found), self.targets).mean().item()


def _split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that are held out, and of those to train on."""
    order = torch.randperm(count, generator=stream(seed, "held out"))
    held_out = min(count // 20, MOST_HELD_OUT)
    return order[:held_out], order[held_out:]
