"""From a trained model to an ONNX file that takes pictures as they are."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ktl.data.transforms import to_network

OPSET = 18


class PictureClassifier(nn.Module):
    """uint8 images (n, size, size, channels) -> logits (n, classes): what the ONNX file holds."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(to_network(images.permute(0, 3, 1, 2))) * self.scale
        return logits


def export_onnx(model: nn.Module, scale: float, sample: Tensor, path: Path) -> None:
    """Writes `path`: input `images`, uint8 (n, size, size, channels) for any n; output `logits`, float32 (n, classes).

    Logits are the ETF cosines times `scale`. `sample` are uint8 images (n, c, h, w) that give the shapes.
    """
    classifier = PictureClassifier(model, scale).cpu().eval()
    example = sample[:2].permute(0, 2, 3, 1).contiguous()
    temporary = path.with_name(f".{path.name}.tmp")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            classifier,
            (example,),
            temporary,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    temporary.replace(path)
