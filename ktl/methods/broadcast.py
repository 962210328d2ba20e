"""Methods whose cloud keeps one message from round to round, and sends it to everyone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ktl.methods.base import Method
from ktl.methods.message import Message, weights_message


class Broadcast(Method):
    """`collect` puts `message` together; until then there is none."""

    message = Message()

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return self.message

    def state(self) -> Mapping[str, Tensor]:
        return self.message.tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.message = Message(tensors)


class SharedModel(Broadcast):
    """What travels is the group's first model with a linear head, from its initial weights on."""

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return self.message or weights_message(self.small_model())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self.message = weights_message(self.small_model(), tensors)
