"""Methods in which a small model travels beside the clients' own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ktl.methods.base import Method
from ktl.methods.message import Message, weights_message


class SharedModel(Method):
    """What the cloud sends is the group's first model with a linear head, from its initial weights on."""

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return self.broadcast or weights_message(self.small_model())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self.broadcast = weights_message(self.small_model(), tensors)
