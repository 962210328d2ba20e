"""How a message is counted: in bytes as it travels, and in numbers as the published comparison counts."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from ktl.errors import WireError
from ktl.methods.message import Message, message_bytes, read_message, weights_message


def test_an_empty_message_is_nothing() -> None:
    assert not Message()
    assert (Message().size, Message().numbers) == (0, 0)
    assert Message({"a": torch.zeros(1)})
    assert Message(payloads={"pairs": b""})


def test_tensors_are_counted_as_the_safetensors_that_they_would_travel_as() -> None:
    tensors = {"means": torch.ones(3, 5), "classes": torch.arange(3)}
    message = Message(tensors)
    assert message.size == len(save(tensors)) > 3 * 5 * 4 + 3 * 8
    assert message.numbers == 15  # integers say which, and are not counted
    assert torch.equal(message["means"], torch.ones(3, 5))
    with pytest.raises(KeyError):
        message["none-such"]


def test_a_tensor_that_is_a_view_counts_by_what_it_shows() -> None:
    whole = torch.arange(20.0).reshape(4, 5)
    message = Message({"columns": whole.T[:2]})
    assert message.size == len(save({"columns": whole.T[:2].contiguous()}))
    assert message.numbers == 8


def test_payloads_are_counted_as_they_are_and_hold_no_numbers() -> None:
    message = Message(payloads={"pairs": b"12345", "reply": b"123"})
    assert (message.size, message.numbers) == (8, 0)
    both = Message({"a": torch.zeros(2)}, {"pairs": b"12345"})
    assert both.size == 5 + len(save({"a": torch.zeros(2)}))
    assert both.numbers == 2


def test_uncounted_tensors_have_a_size_but_no_numbers() -> None:
    tensors = {"weight": torch.zeros(4), "mean": torch.zeros(6)}
    message = Message(tensors, uncounted=frozenset({"mean"}))
    assert message.numbers == 4
    assert message.size == Message(tensors).size


def test_a_modules_weights_are_copied_and_its_running_statistics_are_uncounted() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    message = weights_message(module)
    assert message.tensors.keys() == module.state_dict().keys()
    assert message.numbers == 3 * 2 + 2 + 2 + 2
    assert message.uncounted == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    before = message["0.weight"].clone()
    with torch.no_grad():
        module[0].weight.add_(1.0)
    assert torch.equal(message["0.weight"], before)
    assert not message["0.weight"].requires_grad
    assert load(save(dict(message.tensors))).keys() == message.tensors.keys()


def test_other_tensors_of_a_modules_names_take_their_place() -> None:
    module = nn.BatchNorm1d(2)
    message = weights_message(module, {"weight": torch.zeros(2), "running_mean": torch.zeros(2)})
    assert message.tensors.keys() == {"weight", "running_mean"}
    assert message.numbers == 2


def test_a_message_travels_as_the_bytes_that_it_is() -> None:
    tensors = {"means": torch.randn(3, 5), "classes": torch.arange(3), "half": torch.ones(2, dtype=torch.bfloat16)}
    message = Message(tensors, {"pairs": b"12345", "none": b""}, frozenset({"half"}))
    read = read_message(message_bytes(message))
    assert read.tensors.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert (read.payloads, read.uncounted) == (message.payloads, message.uncounted)
    assert message_bytes(read) == message_bytes(message)
    assert not read_message(message_bytes(Message()))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "cut short"),
        (message_bytes(Message({"a": torch.zeros(9)}))[:-1], "damaged or cut short"),
        (message_bytes(Message({"a": torch.tensor([1.0, float("nan")])})), "a of a message is not finite"),
        (save({"tensor:a": torch.zeros(1)}), "is it from ktl"),
        (save({"tensor:a": torch.zeros(1)}, {"ktl": "pairs/1"}), "is it from ktl"),
        (save({"tensor:a": torch.zeros(1)}, {"ktl": "message/9"}), "version"),
        (save({"other:a": torch.zeros(1)}, {"ktl": "message/1"}), "expected tensors and payloads"),
        (save({"payload:a": torch.zeros(1)}, {"ktl": "message/1"}), "expected tensors and payloads"),
    ],
)
def test_what_is_no_message_is_refused_in_a_line(payload: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words) as refused:
        read_message(payload)
    assert "\n" not in str(refused.value)
