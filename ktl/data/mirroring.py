"""Whether pictures may be mirrored at random: not where left and right are what tells classes apart."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ktl.intervals import newcombe_interval

SAMPLE = 300  # pictures that are compared, at most
MISLED = 0.3  # of the nearest neighbours, at least, for certain: far more than chance

log = logging.getLogger(__name__)


def mirroring_misleads(images: Tensor, labels: Tensor) -> bool:
    """Whether mirror images look like another class, of labelled images uint8 (n, c, size, size) and labels (n,) int64.

    By the nearest other picture, pixel by pixel: of the picture as it is often its class, of its mirror image often
    another. Logs a line if so.
    """
    some = torch.arange(0, len(labels), 1 + (len(labels) - 1) // SAMPLE)
    if len(some) < 2:
        return False
    pictures, known = images[some].float(), labels[some]
    as_it_is, mirrored = (
        _nearest_label(queries.flatten(1), pictures.flatten(1), known) == known
        for queries in (pictures, pictures.flip(3))
    )
    misleads = newcombe_interval(as_it_is.tolist(), mirrored.tolist())[0] > MISLED
    if misleads:
        log.warning("mirror images of one class look like another's: the labelled images are not mirrored in training")
    return misleads


def _nearest_label(queries: Tensor, pictures: Tensor, labels: Tensor) -> Tensor:
    distances = torch.cdist(queries, pictures)
    distances.fill_diagonal_(float("inf"))  # a picture's own
    return labels[distances.argmin(dim=1)]
