"""From a trained model to an ONNX file that takes pictures as they are and gives probabilities."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ktl.data.reading import Ranges
from ktl.data.transforms import to_network
from ktl.edge.onnx.preprocessing import with_preprocessing
from ktl.files import replace_atomically

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
HEAD = "head/"  # begins the names of nodes outside of extractors, which quantisation may have to leave exact
SCOPES = "pkg.torch.onnx.name_scopes"  # of torch's exporter: the modules that a node comes from


@dataclass(frozen=True)
class ModelFacts:
    """What a model file says of itself, as JSON in its metadata."""

    labels: list[str]
    image_size: int  # pixels, square: what the network sees
    channels: int
    temperature: float  # by which the logits were divided; 1 if nothing could be calibrated
    ranges: Ranges = field(default_factory=dict)  # of deep pictures, measured on the shots


class PictureClassifier(nn.Module):
    """uint8 images (n, channels, size, size) -> probabilities (n, classes), float32.

    The softmax of the model's logits, divided by the temperature.
    """

    def __init__(self, model: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = (self.model(to_network(images)) / self.temperature).softmax(dim=1)
        return probabilities


def export_onnx(classifier: PictureClassifier, facts: ModelFacts, path: Path) -> None:
    """Writes `path`: input `images`, uint8 RGB (n, height, width, 3); output `probabilities`, float32 (n, classes).

    n, height and width are free: the central square of an image is scaled to the model's size inside the graph.
    """
    from onnx import helper, save

    model = with_preprocessing(_core(classifier, facts), facts.image_size, facts.channels)
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)  # torch writes the newest
    entry = model.metadata_props.add()
    entry.key, entry.value = "ktl", json.dumps(asdict(facts))
    replace_atomically(path, lambda temporary: save(model, temporary))


def head_nodes(path: Path) -> list[str]:
    """Names of the nodes of an exported model that belong to no extractor."""
    from onnx import load

    return [node.name for node in load(path).graph.node if node.name.startswith(HEAD)]


def _core(classifier: PictureClassifier, facts: ModelFacts) -> ModelProto:
    """The classifier alone, as torch exports it: input `pixels`."""
    example = torch.zeros(2, facts.channels, facts.image_size, facts.image_size, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            classifier.cpu().eval(),
            (example,),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is, with dynamo
    model: ModelProto = program.model_proto
    for node in model.graph.node:
        if not any(entry.key == SCOPES and "extractor" in entry.value for entry in node.metadata_props):
            node.name = f"{HEAD}{node.name}"
        del node.metadata_props[:]  # where in the source it came from: a tenth of a small model
    return model
