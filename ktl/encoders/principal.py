"""The directions in which embeddings vary most."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_directions(embeddings: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Of embeddings (n, E): their mean (E,) and orthonormal directions (E, dimension), those of most variance first.

    A direction and its opposite are as good: the one is taken whose largest number is positive.
    """
    centre = embeddings.mean(dim=0)
    centred = (embeddings - centre).double()
    _, ascending = torch.linalg.eigh(centred.T @ centred)
    directions = ascending.flip(1)[:, :dimension]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    return centre, (directions * largest.sign()).float()
