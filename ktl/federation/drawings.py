"""What the cloud of a run could draw of its edges' class statistics, kept in the run's folder for its report."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ktl.class_statistics import pooled
from ktl.cloud.drawing import drawn_means
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import FederatedData
from ktl.data.transforms import fit_batch
from ktl.files import write_atomically
from ktl.loop.exchange import CloudExchange
from ktl.methods.base import Exchange
from ktl.run_folder import DRAWINGS
from ktl.seeds import stream
from ktl.spaces.latent import LatentSpace
from ktl.wire import decode_pooled, decode_statistics

MAX_CLASSES = 10


def keep_drawings(out: Path, data: FederatedData, exchange: Exchange | None) -> None:
    """Writes drawings.safetensors for the first client of the last pooled round.

    `own`, `pooled` and `shots`, uint8 (m, size, size, channels): for the first classes that the client has, what its
    own statistics and the pooled ones can be drawn as, and a labelled image. The metadata names client and classes.
    Nothing is written where no round was pooled, where vectors are no latents that a generator could draw, or where the
    cloud is elsewhere with its generator. Raises CheckpointError when the file cannot be written.
    """
    if not isinstance(exchange, CloudExchange) or not isinstance(exchange.connection, EmbeddedCloud):
        return
    if exchange.about.space != LatentSpace.name or (last := exchange.last_pooled()) is None:
        return
    (sent, together), generator = last, exchange.connection.generator
    client = min(sent)
    own = decode_statistics(sent[client], len(data.class_names), generator.latent_dim)
    of_all = pooled(decode_pooled(together, len(data.class_names), generator.latent_dim))
    classes = own.classes[:MAX_CLASSES]
    task = data.task(client)
    means = torch.cat([own.means[: len(classes)], of_all.means[torch.searchsorted(of_all.classes, classes)]])
    _, channels, size, _ = task.shot_images.shape
    pictures = fit_batch(drawn_means(means, generator, stream(0, "drawings")), size, channels)
    shots = torch.stack([task.shot_images[task.shot_labels == c][0] for c in classes])
    of_own, of_pooled = pictures.split(len(classes))
    arrays = {name: _for_people(each) for name, each in (("own", of_own), ("pooled", of_pooled), ("shots", shots))}
    about = {"client": client, "classes": [data.class_names[c] for c in classes]}
    write_atomically(out / DRAWINGS, save(arrays, metadata={"ktl": json.dumps(about)}))


def _for_people(images: Tensor) -> Tensor:
    """uint8 (n, c, h, w) -> (n, h, w, c)."""
    return images.permute(0, 2, 3, 1).contiguous()
