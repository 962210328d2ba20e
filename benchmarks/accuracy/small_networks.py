"""Writes small networks with random weights, one per family: pickles with the official structure, and a pipeline.

Run: python -m benchmarks.accuracy.small_networks FOLDER

They stand in for the files of docs/how-to/generators.md where those cannot be had: same structure, same commands, no
training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.support.official_files import OfficialWriter, golden_network
from tests.support.tiny_pipeline import write_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        writer = OfficialWriter(patch, canary=folder / "executed")
        for name in ("stylegan2-32", "stylegan3-t-32", "stylegan-xl-stem-16"):
            print(writer.write(folder / f"{name}.pkl", {"G_ema": writer.network(*golden_network(name))}))
    print(write_pipeline(folder / "stable-diffusion-16"))


if __name__ == "__main__":
    main()
