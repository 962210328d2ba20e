"""What a run keeps of the pictures that its cloud could draw."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ktl.class_statistics import pooled
from ktl.cloud.drawing import drawn_means
from ktl.data.partition import FederatedData
from ktl.data.transforms import fit_batch
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.generators.network import NetworkGenerator
from ktl.methods import METHODS
from ktl.run_folder import DRAWINGS
from ktl.seeds import stream
from ktl.wire import decode_pooled, decode_statistics


def test_a_run_that_pools_keeps_what_its_cloud_could_draw_of_the_last_round(
    plain: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    federate(replace(plain, method=METHODS.choose("fedktl", pool="all")), tmp_path, data=shared, workers=0)
    kept, task = load_file(tmp_path / DRAWINGS), shared.task(0)
    with safe_open(tmp_path / DRAWINGS, framework="pt") as file:
        about = json.loads(file.metadata()["ktl"])
    classes = task.shot_labels.unique()
    assert about == {"client": 0, "classes": [shared.class_names[c] for c in classes]}
    for name, payload in (("own", "statistics-0"), ("pooled", "pooled")):
        sent = (tmp_path / "wire" / f"round-002-{payload}.safetensors").read_bytes()
        sizes = len(shared.class_names), tiny_generator.latent_dim
        statistics = decode_statistics(sent, *sizes) if name == "own" else pooled(decode_pooled(sent, *sizes))
        means = statistics.means[[statistics.classes.tolist().index(c) for c in classes]]
        drawn = fit_batch(drawn_means(means, tiny_generator, stream(0, "drawings")), 16, 3)
        assert (kept[name].permute(0, 3, 1, 2).int() - drawn.int()).abs().max() <= 1
    for picture, c in zip(kept["shots"], classes, strict=True):
        assert torch.equal(picture.permute(2, 0, 1), task.shot_images[task.shot_labels == c][0])


def test_a_run_without_pooling_keeps_none(plain: FederationConfig, shared: FederatedData, tmp_path: Path) -> None:
    federate(replace(plain, method=METHODS.choose("fedktl", pool="none"), rounds=1), tmp_path, data=shared, workers=0)
    assert not (tmp_path / DRAWINGS).exists()
