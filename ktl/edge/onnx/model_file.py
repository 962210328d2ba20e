"""From a trained model to an ONNX file that takes pictures as they are and gives probabilities."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ktl.data.reading import Ranges
from ktl.data.settings import Fit
from ktl.data.transforms import to_network
from ktl.edge.onnx.graph import HEAD, traced
from ktl.edge.onnx.preprocessing import with_preprocessing
from ktl.files import replace_atomically


@dataclass(frozen=True)
class ModelFacts:
    """What a model file says of itself, as JSON in its metadata."""

    labels: list[str]
    image_size: int  # pixels, square: what the network sees
    channels: int
    temperature: float  # by which the logits were divided; 1 if nothing could be calibrated
    ranges: Ranges = field(default_factory=dict)  # of deep pictures, measured on the shots
    fit: Fit = "crop"  # how pictures become square


class PictureClassifier(nn.Module):
    """uint8 images (n, channels, size, size) -> probabilities (n, classes), float32.

    The softmax of the model's logits, divided by the temperature.
    """

    temperature: Tensor

    def __init__(self, model: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = (self.model(to_network(images)) / self.temperature).softmax(dim=1)
        return probabilities


def export_onnx(classifier: PictureClassifier, facts: ModelFacts, path: Path) -> None:
    """Writes `path`: input `images`, uint8 RGB (n, height, width, 3); output `probabilities`, float32 (n, classes).

    n, height and width are free: an image is fitted to the model's size inside the graph.
    """
    from onnx import helper, save

    graph = traced(classifier, facts.channels, facts.image_size)
    model = with_preprocessing(graph, facts.image_size, facts.channels, facts.fit)
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)  # torch writes the newest
    entry = model.metadata_props.add()
    entry.key, entry.value = "ktl", json.dumps(asdict(facts))
    replace_atomically(path, lambda temporary: save(model, temporary))


def head_nodes(path: Path) -> list[str]:
    """Names of the nodes of an exported model that belong to no extractor."""
    from onnx import load

    return [node.name for node in load(path).graph.node if node.name.startswith(HEAD)]
