"""Classify pictures with the model beside this file. Needs onnxruntime, numpy and pillow, nothing else.

Run: python predict.py IMAGE [IMAGE ...]    prints a line for each: file, class, probability; exit code 1 if one failed
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
LABELS = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))


def read(path: str) -> np.ndarray:
    """An image file as the model takes it: uint8 RGB (1, height, width, 3), upright, over white where transparent."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    white = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(white, upright).convert("RGB"))[None]


def main(paths: list[str]) -> int:
    failed = False
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    for path in paths:
        try:
            probabilities = session.run(None, {"images": read(path)})[0][0]
            print(f"{path}\t{LABELS[probabilities.argmax()]}\t{probabilities.max():.3f}")
        except Exception as error:  # the other files go on
            failed = True
            print(f"{path}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
