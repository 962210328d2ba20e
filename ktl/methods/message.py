"""What travels between an edge and a cloud in one step of a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ktl.errors import WireError
from ktl.protocol import VERSION
from ktl.wire.tensors import check_version, read_header

MAX_MESSAGE_BYTES = 512 * 2**20
MAX_HEADER_BYTES = 2**20  # a large network's weights are a thousand tensors
TENSOR, UNCOUNTED, PAYLOAD = "tensor", "uncounted", "payload"  # what an entry of an encoded message is


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


def message_bytes(message: Message) -> bytes:
    """A message as safetensors: its tensors, and its payloads as arrays of their bytes."""
    entries = {f"{PAYLOAD}:{kind}": _bytes(payload) for kind, payload in message.payloads.items()}
    for name, tensor in message.tensors.items():
        entries[f"{UNCOUNTED if name in message.uncounted else TENSOR}:{name}"] = tensor.contiguous()
    return save(entries, metadata={"ktl": f"message/{VERSION}"})


def read_message(payload: bytes) -> Message:
    """Reads what `message_bytes` wrote, from a stranger: nothing is unpickled.

    Payloads stay bytes, which their own decoders check. Raises WireError for what is too large, damaged, of another
    version, or not finite.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {len(payload)} bytes: at most {MAX_MESSAGE_BYTES} are read")
    metadata = read_header(payload, "tensors of a message", MAX_HEADER_BYTES).get("__metadata__")
    kind, _, version = str(metadata.get("ktl") if isinstance(metadata, dict) else None).partition("/")
    if kind != "message":
        raise WireError("the payload does not say that it holds a message; is it from ktl?")
    check_version(version)
    try:
        entries = load(payload)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WireError(f"the message is damaged or cut short ({error}); send it again") from error
    parts: dict[str, dict[str, Tensor]] = {TENSOR: {}, UNCOUNTED: {}, PAYLOAD: {}}
    for label, entry in entries.items():
        part, _, name = label.partition(":")
        if part not in parts or (part == PAYLOAD and (entry.dtype != torch.uint8 or entry.ndim != 1)):
            raise WireError(f"a message holds {label[:80]!r}: expected tensors and payloads")
        if entry.is_floating_point() and not torch.isfinite(entry).all():
            raise WireError(f"{name[:80]} of a message is not finite; the model that made it has diverged")
        parts[part][name] = entry
    payloads = {name: entry.numpy().tobytes() for name, entry in parts[PAYLOAD].items()}
    return Message(parts[TENSOR] | parts[UNCOUNTED], payloads, frozenset(parts[UNCOUNTED]))


def _bytes(payload: bytes) -> Tensor:
    """uint8 (n,), of the payload's own memory or, where there is none, of none."""
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else torch.empty(0, dtype=torch.uint8)
