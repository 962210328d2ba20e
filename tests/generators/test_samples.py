from __future__ import annotations

import numpy as np
import torch

from ktl.generators import load_generator
from ktl.generators.base import sample_latents
from ktl.generators.samples import sample_grid
from ktl.seeds import stream


def test_the_sample_grid_is_a_picture_of_rows_and_columns() -> None:
    builtin = load_generator("builtin")
    picture = sample_grid(builtin, rows=2, columns=3, seed=0)
    assert picture.size == (96, 64)
    first = builtin.images(sample_latents(builtin, 6, stream(0, "samples")))[0]
    corner = torch.tensor(np.asarray(picture)[:32, :32]).permute(2, 0, 1)
    assert torch.equal(corner, first)
