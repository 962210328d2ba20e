"""One generated image of each class, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load

from ktl.cloud.service.store import Store


@dataclass(frozen=True)
class ClassImage:
    """`data` is an image file of `media_type`, drawn from the class's aligned centroid."""

    class_index: int
    data: bytes
    media_type: str


def latest_images(store: Store, session: str) -> tuple[int, list[ClassImage]]:
    """The last finished round of a session (0: none yet) and its first image of each class, by class index.

    Raises Refused (not-found) if there is no such session.
    """
    stored = store.latest_stored(session)
    if stored is None:
        return 0, []
    return stored.round, first_images(b"".join(store.read(stored, 0, stored.size)))


def first_images(payload: bytes) -> list[ClassImage]:
    """The first image of each class in a payload that `ktl.wire.encode_pairs` of this server made."""
    arrays = load(payload)
    ends = arrays["lengths"].astype(np.int64).cumsum()
    classes, first = np.unique(arrays["classes"], return_index=True)
    images = []
    for class_index, index in zip(classes.tolist(), first.tolist(), strict=True):
        data = arrays["images"][ends[index] - arrays["lengths"][index] : ends[index]].tobytes()
        media_type = "image/png" if data.startswith(b"\x89PNG") else "image/webp"
        images.append(ClassImage(class_index, data, media_type))
    return images
