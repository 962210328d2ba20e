"""Writes small networks with random weights, one per family: pickles with the official structure, and a pipeline.

Run: python benchmarks/small_networks.py FOLDER

They stand in for the files of docs/how-to/generators.md where those cannot be had: same structure, same commands, no
training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import support_path  # noqa: F401
from support.official_files import OfficialWriter, golden_network
from support.tiny_pipeline import write_pipeline


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        writer = OfficialWriter(patch, canary=folder / "executed")
        for name in ("stylegan2-32", "stylegan3-t-32", "stylegan-xl-stem-16"):
            print(writer.write(folder / f"{name}.pkl", {"G_ema": writer.network(*golden_network(name))}))
    print(write_pipeline(folder / "stable-diffusion-16"))


if __name__ == "__main__":
    main()
