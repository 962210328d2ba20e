"""A warm start of more than a generator: an extractor distilled from a large encoder on unlabelled images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ktl.encoders.base import Encoder
from ktl.encoders.training.run import DIRECTIONS, Student, distil
from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.files import write_atomically
from ktl.generators.base import ImageGenerator, drawn
from ktl.learning.settings import PRETRAINED_RATE
from ktl.models import MODELS
from ktl.seeds import initialising
from ktl.warm_start.ready import ready_name
from ktl.warm_start.settings import Architecture
from ktl.wire import encode_warm_start


class HeadedExtractor(nn.Module):
    """images -> unit vectors (n, DIRECTIONS): an extractor, and a linear map that is no part of the warm start."""

    def __init__(self, extractor: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.head(self.extractor(images)).float(), dim=1)


def distil_warm_start(
    source: Path | None,
    out: Path,
    teacher: Encoder,
    generator: ImageGenerator,
    wanted: Architecture,
    config: EncoderTrainingConfig,
    **how: Any,
) -> Path:
    """Distils `teacher` into an extractor; returns the warm start `out/NAME`, as `ready_name` calls it.

    Else as `ktl.encoders.training.run.distil`.
    """
    file = out / ready_name(wanted)
    with initialising(config.seed, "initial weights"):
        extractor = MODELS.load(wanted.model)(wanted.channels, wanted.image_size)
        network = HeadedExtractor(extractor, nn.Linear(extractor.feature_dim, DIRECTIONS))

    def save(network: nn.Module) -> Path:
        assert isinstance(network, HeadedExtractor)
        write_atomically(file, encode_warm_start(network.extractor.state_dict(), PRETRAINED_RATE))
        return file

    student = Student(network, wanted.channels, wanted.image_size, save)
    return distil(source, out, teacher, partial(drawn, generator), student, config, **how)
