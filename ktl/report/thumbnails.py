"""Small pictures inside a page: WebP files as data: addresses."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from ktl.edge.record import Array

MAX_HEIGHT = 64  # pixels; larger pictures are scaled down
QUALITY = 90


def thumbnails(pictures: Array) -> str:
    """Pictures, uint8 (n, size, size, channels), side by side as one image's data: address."""
    row = np.concatenate(list(pictures), axis=1)
    image = Image.fromarray(row[:, :, 0] if row.shape[2] == 1 else row)
    if image.height > MAX_HEIGHT:
        image = image.resize((MAX_HEIGHT * len(pictures), MAX_HEIGHT), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
