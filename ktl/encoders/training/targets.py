"""What a small encoder is trained on: images at its size, and what a large encoder makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.data.collection import read_collection
from ktl.data.transforms import fit_batch
from ktl.encoders.base import Encoder
from ktl.errors import UsageError
from ktl.seeds import stream

SIZE = 64  # pixels, of unlabelled images: the large encoder sees more than the small one will
AT_ONCE = 128  # images
Draw = Callable[[int, torch.Generator], Iterable[Tensor]]  # that many generated images, uint8 (m, 3, s, s) at a time


def training_images(source: Path | None, draw: Draw, generated: int, seed: int) -> list[Tensor]:
    """Batches of images, each uint8 (m, 3, s, s): those of a folder or tar file, if any, of SIZE pixels, then
    `generated` fresh ones of the size that they are drawn in, SIZE at most: scaled up and down, they would be blurred.

    Raises DataError if an image cannot be read, UsageError if there is none.
    """
    if source is None and not generated:
        raise UsageError("there are no images to learn from: name a folder or tar file, or have some generated")
    unlabelled = [] if source is None else [torch.from_numpy(read_collection(source, SIZE)).permute(0, 3, 1, 2)]
    drawn = draw(generated, stream(seed, "encoder training")) if generated else ()
    fresh = [fit_batch(batch, min(batch.shape[2], SIZE), 3) for batch in drawn]
    return [batch for images in (*unlabelled, *fresh) for batch in images.split(AT_ONCE)]


def kept_embeddings(path: Path, teacher: Encoder, images: list[Tensor], on_count: Callable[[int], None]) -> Tensor:
    """A large encoder's embeddings (n, E) float32 of batches, computed once in bfloat16 and kept in `path` in float16.

    Raises UsageError if the file is of another encoder or of another number of images.
    """
    about = {"teacher": teacher.fingerprint, "images": sum(map(len, images))}
    if path.exists():
        tensors, known = load_checkpoint(path)
        if known != about:
            raise UsageError(f"{path} has the embeddings of other images or of another encoder: name another folder")
        return tensors["embeddings"].float()
    parts: list[Tensor] = []
    for batch in images:
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(teacher.embed(batch).half())
        on_count(sum(map(len, parts)))
    save_checkpoint(path, {"embeddings": torch.cat(parts)}, about)
    return torch.cat(parts).float()
