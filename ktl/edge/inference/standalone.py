"""Classify pictures with the model beside this file. Needs onnxruntime, numpy and pillow, nothing else.

Run: python predict.py IMAGE [IMAGE ...]    prints a line for each: file, class, probability; exit code 1 if one failed
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime

from ktl.data.reading import EARLIER_RANGES, read_picture

FOLDER = Path(__file__).parent
LABELS = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))


def main(paths: list[str]) -> int:
    failed = False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name need not be UTF-8
    warnings.simplefilter("ignore")  # Pillow's, of odd metadata
    session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
    ranges = json.loads(session.get_modelmeta().custom_metadata_map["ktl"]).get("ranges", EARLIER_RANGES)
    for path in paths:
        try:
            picture = np.asarray(read_picture(Path(path), ranges).convert("RGB"))[None]
            probabilities = session.run(None, {"images": picture})[0][0]
            print(f"{path}\t{LABELS[probabilities.argmax()]}\t{probabilities.max():.3f}")
        except Exception as error:  # the other files go on
            failed = True
            print(f"{path}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
