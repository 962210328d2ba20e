"""How well a model does on the test images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ktl.data.transforms import to_network

BATCH = 200  # images at a time: bounds the memory


@dataclass(frozen=True)
class Evaluation:
    """confusion (C, C) int64: rows are true classes, columns predicted ones."""

    confusion: Tensor

    @property
    def right(self) -> int:
        """Test images classified right."""
        return int(self.confusion.diagonal().sum())

    @property
    def tested(self) -> int:
        """Test images in all."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of test images classified right, 0..1."""
        return self.right / self.tested

    @property
    def class_accuracy(self) -> list[float | None]:
        """The same for each class; None for one without test images, as other data than a task's may have."""
        right, tested = self.confusion.diagonal().tolist(), self.confusion.sum(dim=1).tolist()
        return [r / t if t else None for r, t in zip(right, tested, strict=True)]


@torch.no_grad()
def class_logits(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """uint8 images (n, c, h, w) -> logits (n, classes), in eval mode, on the CPU."""
    model.eval()
    return torch.cat([model(to_network(batch.to(device))).cpu() for batch in images.split(BATCH)])


def predict_classes(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """uint8 images (n, c, h, w) -> predicted class indices (n,): those of the largest logits."""
    return class_logits(model, images, device).argmax(dim=1)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, num_classes: int, device: torch.device) -> Evaluation:
    """Classifies uint8 images (n, c, h, w) with labels (n,)."""
    predicted = predict_classes(model, images, device)
    cells = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return Evaluation(cells.reshape(num_classes, num_classes))
