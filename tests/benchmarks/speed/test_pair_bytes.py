"""What an image costs as one file of many, and what it loses."""

from __future__ import annotations

import math

import torch

from benchmarks.speed import pair_bytes
from ktl.seeds import stream


def test_a_sheet_saves_the_headers_and_a_lossless_format_loses_nothing() -> None:
    images = torch.randint(0, 256, (128, 1, 4, 4), generator=stream(0, "images"), dtype=torch.uint8)
    images = images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    alone, together = (pair_bytes.encoded(images, count, "png", 0) for count in (1, 128))
    assert together[0] < 0.7 * alone[0]
    assert alone[1] == together[1] == math.inf
    fine, coarse = (pair_bytes.encoded(images, 128, "webp", quality) for quality in (90, 20))
    assert fine[0] > coarse[0]
    assert fine[1] > coarse[1] > 10
