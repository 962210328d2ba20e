"""Files that people give in place of a generator: each is called what it is."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from ktl.errors import KtlError
from ktl.generators import load_generator
from ktl.generators.arrays import read_noise
from ktl.generators.diffusion.pipeline_files import load_pipeline

PAGE = b"\n<!DOCTYPE html>\n<html><title>Quota exceeded</title></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 381673535\n"


def checkpoint(*, zipped: bool) -> bytes:
    written = io.BytesIO()
    torch.save({"g_ema": {"weight": torch.zeros(4)}}, written, _use_new_zipfile_serialization=zipped)
    return written.getvalue()


def tensorflow_pickle() -> bytes:
    """As the first StyleGANs' networks begin: three objects of dnnlib.tflib."""
    return pickle.PROTO + b"\x03" + b"cdnnlib.tflib.network\nNetwork\n" + b")\x81q\x00."


WRONG = [
    (PAGE, "a web page"),
    (POINTER, "a Git-LFS pointer"),
    (b"", "an empty file"),
    (bytes(5000), "a file of zeros, as of an unfinished download"),
    (checkpoint(zipped=True), "a PyTorch checkpoint"),
    (checkpoint(zipped=False), "a PyTorch checkpoint"),
    (tensorflow_pickle(), "a TensorFlow pickle"),
    (b'{"error": "not found"}', "a JSON text"),
]


@pytest.mark.parametrize("suffix", [".safetensors", ".pkl", ".npz", ".pt", ""])
@pytest.mark.parametrize(("content", "kind"), WRONG, ids=[kind for _, kind in WRONG])
def test_a_wrong_file_is_called_what_it_is(content: bytes, kind: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"network{suffix}"
    file.write_bytes(content)
    with pytest.raises(KtlError, match=f"is {kind}") as caught:
        load_generator(str(file))
    assert "\n" not in str(caught.value)


def test_an_unfinished_download_is_called_so(tmp_path: Path) -> None:
    file = tmp_path / "network.safetensors"
    file.write_bytes(save({"weight": torch.zeros(1000)})[:-100])
    with pytest.raises(KtlError, match="it is cut short, as of an unfinished download"):
        load_generator(str(file))


def test_noise_that_is_a_web_page_is_called_so(tmp_path: Path) -> None:
    file = tmp_path / "z.npy"
    file.write_bytes(PAGE)
    with pytest.raises(KtlError, match="it is a web page"):
        read_noise(file, 4)
    np.savez(tmp_path / "z.npz", z=np.zeros((2, 4)))
    with pytest.raises(KtlError, match="is an archive of arrays"):
        read_noise(tmp_path / "z.npz", 4)


def test_a_pipeline_whose_weights_are_pointers_names_the_file(tiny_pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(tiny_pipeline, folder)
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.write_bytes(POINTER)
    with pytest.raises(KtlError, match=rf"unet/{weights.name} is a Git-LFS pointer"):
        load_pipeline(folder, None, torch.float32)
