"""Folders of photographs as people have them, from the images that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

EMBEDDED = Path(__file__).resolve().parents[2] / "ktl" / "data" / "embedded" / "fashion-mnist.npz"


def save_photographs(folder: Path, classes: int, of_each: int) -> None:
    """`folder`/class-N/*.jpg: the first training images of the first classes of Fashion-MNIST."""
    bundle = np.load(EMBEDDED)
    for label in range(classes):
        (folder / f"class-{label}").mkdir(parents=True)
        for index, image in enumerate(bundle["x_train"][bundle["y_train"] == label][:of_each]):
            Image.fromarray(image).save(folder / f"class-{label}" / f"{index}.jpg")
