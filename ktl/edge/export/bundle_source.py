"""What a bundle is made from: a model with its images, from an edge's run or from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ktl.data.fewshot import FewShotTask
from ktl.data.images import Images
from ktl.edge.export.card import model_card
from ktl.edge.export.quantise import Quantisation, received_images
from ktl.edge.kept_pairs import pair_files
from ktl.edge.onnx.model_file import ModelFacts
from ktl.edge.record import read_record
from ktl.edge.run import load_pooled, load_run
from ktl.edge.settings import RunConfig
from ktl.edge.task import kept_task, task_to_test
from ktl.errors import DataError, UsageError
from ktl.learning.evaluation import predict_classes
from ktl.learning.settings import EdgeConfig
from ktl.loop.folder import load_config


@dataclass(frozen=True)
class Source:
    """A trained model and what it takes to export, check and describe it.

    model: images in [-1, 1] -> logits (n, classes), on the CPU; write_onnx: its ONNX file in float32;
    calibration: what int8 is calibrated on, and in words; float_head: whether int8 leaves what is not an extractor in
    float32; card: a model file's name and its quantisation -> Markdown; missing: why `task` has no test images, but
    pictures that the run keeps, of the classes that the model takes them for.
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
    missing: str | None = None


def edge_run(run: Path, data: str | None = None) -> Source:
    """A finished run of one edge; `data`: where its data is now, if not where it was.

    Raises CheckpointError for another or a damaged one, DataError for `data` that is not the run's.
    """
    record, config = read_record(run), load_config(run, RunConfig)
    kept, missing = kept_task(record, config.data.fit), None
    if config.shared:  # what it classifies by is made of its training images, too
        learner, model = load_pooled(run, data)
        task = learner.task
    else:
        try:
            task = task_to_test(run, data)
        except (DataError, UsageError) as error:
            if data is not None:
                raise
            task, missing = kept, str(error)
        learner = load_run(run, task)
        model = learner.model
    model.cpu().eval()
    if missing is not None:
        task = replace(task, test_labels=predict_classes(model, task.test_images, torch.device("cpu")))
    channels, size = task.shot_images.shape[1:3]
    generated = bool(pair_files(run))

    def write_onnx(path: Path) -> None:
        shutil.copyfile(run / "model.onnx", path)

    return Source(
        model=model,
        config=learner.config,
        facts=ModelFacts(record.class_names, size, channels, record.temperature, record.ranges, task.fit),
        task=task,
        write_onnx=write_onnx,
        calibration=lambda: received_images(run, record) if generated else rgb_pictures(kept.shot_images),
        calibrated_on="generated images" if generated else "the labelled images that the run keeps",
        float_head=config.shared,
        card=partial(model_card, run, record, tested=missing is None),
        missing=missing,
    )


def rgb_pictures(images: Tensor) -> Images:
    """uint8 (n, 1 or 3, size, size) -> uint8 RGB (n, size, size, 3), as an exported model takes them."""
    pictures: Images = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous().numpy()
    return pictures
