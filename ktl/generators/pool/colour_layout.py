"""What a pool's image is told by where no encoder is at hand: its layout of colours, as MPEG-7 describes it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 8  # on each side of the thumbnail
DIAGONALS = 6  # of frequencies that are kept: the lowest 21 of each plane
BATCH = 1024  # images at a time

TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])  # of ITU-R BT.601


class ColourLayout:
    """Low frequencies of the cosine transform of an 8 x 8 thumbnail in luma and two chromas, lowest first.

    The colour layout descriptor of MPEG-7 (ISO/IEC 15938-3), with 21 numbers a plane, not quantised. It knows nothing
    of what is in an image: distances are those of blurred thumbnails.
    """

    dimension = 3 * DIAGONALS * (DIAGONALS + 1) // 2
    fingerprint = "colour layout, 21 frequencies a plane"

    def embed(self, images: Tensor) -> Tensor:
        """uint8 RGB images (n, 3, size, size) -> float32 (n, 63)."""
        return torch.cat([self._layout(batch) for batch in images.split(BATCH)])

    def _layout(self, images: Tensor) -> Tensor:
        thumbnails = F.adaptive_avg_pool2d(images.float() / 127.5 - 1.0, CELLS)
        planes = torch.einsum("pc,ncyx->npyx", TO_YCC, thumbnails)
        basis = _cosines(CELLS)
        frequencies = basis @ planes @ basis.T
        lowest = sorted((row + column, row, column) for row in range(DIAGONALS) for column in range(DIAGONALS - row))
        return torch.stack([frequencies[:, :, row, column] for _, row, column in lowest], dim=1).flatten(1)


def _cosines(count: int) -> Tensor:
    """The orthonormal cosine basis (count, count), one frequency a row."""
    place = (torch.arange(count) + 0.5) * math.pi / count
    basis = torch.cos(torch.arange(count)[:, None] * place) * math.sqrt(2 / count)
    basis[0] /= math.sqrt(2)
    return basis
