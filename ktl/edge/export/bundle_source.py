"""What a bundle is made from: a model with its images, from an edge's run or from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from ktl.data.fewshot import FewShotTask
from ktl.data.images import Images
from ktl.edge.export.card import model_card
from ktl.edge.export.quantise import Quantisation, received_images
from ktl.edge.onnx.model_file import ModelFacts
from ktl.edge.record import read_record
from ktl.edge.run import load_run
from ktl.learning.settings import EdgeConfig


@dataclass(frozen=True)
class Source:
    """A trained model and what it takes to export, check and describe it.

    model: images in [-1, 1] -> logits (n, classes), on the CPU; write_onnx: its ONNX file in float32;
    calibration: what int8 is calibrated on, and in words; float_head: whether int8 leaves what is not an extractor in
    float32; card: a model file's name and its quantisation -> Markdown.
    """

    model: nn.Module
    config: EdgeConfig
    facts: ModelFacts
    task: FewShotTask
    write_onnx: Callable[[Path], None]
    calibration: Callable[[], Images]
    calibrated_on: str
    float_head: bool
    card: Callable[[str, Quantisation | None], str]


def edge_run(run: Path) -> Source:
    """A finished run of one edge. Raises CheckpointError for another or a damaged one."""
    record, learner = read_record(run), load_run(run)
    channels, size = learner.task.shot_images.shape[1:3]

    def write_onnx(path: Path) -> None:
        shutil.copyfile(run / "model.onnx", path)

    return Source(
        model=learner.model.cpu().eval(),
        config=learner.config,
        facts=ModelFacts(record.class_names, size, channels, record.temperature, record.ranges),
        task=learner.task,
        write_onnx=write_onnx,
        calibration=partial(received_images, run, record),
        calibrated_on="generated images",
        float_head=False,
        card=partial(model_card, run, record),
    )


def rgb_pictures(images: Tensor) -> Images:
    """uint8 (n, 1 or 3, size, size) -> uint8 RGB (n, size, size, 3), as an exported model takes them."""
    pictures: Images = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous().numpy()
    return pictures
