"""What travels between an edge and a cloud in one step of a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from safetensors.torch import save
from torch import Tensor, nn


@dataclass(frozen=True)
class Message:
    """Tensors by name, and finished payloads of `ktl.wire` by kind, which travel as the bytes that they are.

    Tensors are on the CPU, detached, and copies where training goes on with the original. An empty message is false.
    `uncounted` names the tensors that the published comparison leaves out when it counts numbers.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)
    uncounted: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.tensors or self.payloads)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @property
    def size(self) -> int:
        """Bytes: of the payloads as they are, of the tensors as safetensors."""
        payloads = sum(len(payload) for payload in self.payloads.values())
        if not self.tensors:
            return payloads
        return payloads + len(save({name: tensor.contiguous() for name, tensor in self.tensors.items()}))

    @property
    def numbers(self) -> int:
        """Floating-point numbers in the tensors, but for those that are uncounted."""
        counted = (tensor for name, tensor in self.tensors.items() if name not in self.uncounted)
        return sum(tensor.numel() for tensor in counted if tensor.is_floating_point())


def weights_message(module: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> Message:
    """A copy of a module's weights and buffers, or `tensors` of its names in their place.

    Buffers (running statistics) are not counted as published numbers.
    """
    if tensors is None:
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
    return Message(tensors, uncounted=frozenset(name for name, _ in module.named_buffers()))
