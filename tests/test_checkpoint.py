from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from ktl.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_checkpoint,
    under,
    write_atomically,
)
from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError
from ktl.loop.folder import RunFolder

TENSORS = {
    "float": torch.tensor([[1.5, -2.25], [float("inf"), 1e-30]]),
    "half": torch.tensor([0.1, 3.0], dtype=torch.bfloat16),
    "count": torch.tensor(7, dtype=torch.int64),
    "none": torch.empty(0, 3),
}
METADATA = {"round": 3, "rows": [{"accuracy": 0.5}], "name": "Ünïcode\n"}


@contextmanager
def disk_that_takes(most: int) -> Iterator[None]:
    """Inside, every write beyond `most` bytes of a file fails as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="needs POSIX file size limits")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(path)
    text = str(refused.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_tensors_and_metadata_survive_exactly(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    tensors, metadata = load_checkpoint(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_views_of_one_storage_are_saved_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4).requires_grad_()
    views = {"rows": base[1:], "turned": base.T, "whole": base}
    save_checkpoint(tmp_path / "views", views, {})
    tensors, _ = load_checkpoint(tmp_path / "views")
    for name, view in views.items():
        assert torch.equal(tensors[name], view)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    assert "there is no checkpoint at" in refusal(tmp_path / "checkpoint.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert "there is no checkpoint at" in refusal(tmp_path)


def test_a_checkpoint_cut_short_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "is damaged or no ktl checkpoint" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"not a checkpoint",
        bytes(1000),
        b"\xff" * 1000,
        save({"a": torch.ones(1)}),
        save({"a": torch.ones(1)}, metadata={"ktl": "{"}),
        save({"a": torch.ones(1)}, metadata={"ktl": "[1]"}),
        save({"a": torch.ones(1)}, metadata={"ktl": "[" * 20_000 + "]" * 20_000}),
    ],
    ids=["text", "zeros", "ones", "no metadata", "broken metadata", "metadata list", "deep metadata"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    assert refusal(path).endswith("start the run anew")


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, write: Callable[[Any, Path], Any]) -> None:
    path, trace = tmp_path / "checkpoint.safetensors", tmp_path / "executed"
    write({"state": Trap(trace)}, path)
    assert "is damaged or no ktl checkpoint" in refusal(path)
    assert not trace.exists()


def test_a_full_disk_leaves_the_old_checkpoint_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    old = path.read_bytes()
    with disk_that_takes(4096), pytest.raises(CheckpointError) as refused:
        save_checkpoint(path, {"large": torch.zeros(10_000)}, {"round": 4})
    assert str(refused.value).startswith(f"cannot write {path}: File too large; ")
    assert "free space or choose another folder, and try again" in str(refused.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_config(tmp_path: Path) -> None:
    folder, path = RunFolder(tmp_path), tmp_path / "config.json"
    folder.start(RunConfig(seed=1))
    old = path.read_bytes()
    with (
        disk_that_takes(10),
        pytest.raises(CheckpointError, match="free space or choose another folder"),
    ):
        folder.start(RunConfig(seed=2))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "missing" / "checkpoint", tmp_path / "file" / "checkpoint"):
        with pytest.raises(CheckpointError, match=f"cannot write {path}: "):
            write_atomically(path, b"content")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_atomically(path, b"a long first version")
    write_atomically(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_prefixes_keep_several_sets_of_tensors_apart() -> None:
    model, optimizer = {"weight": torch.ones(1)}, {"weight": torch.zeros(1), "0/step": torch.ones(())}
    together = prefixed("model", model) | prefixed("model-optimizer", optimizer)
    assert under("model", together) == model
    assert under("model-optimizer", together) == optimizer


def build(kind: type[torch.optim.Optimizer], **options: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(64, 2))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, kind(model.parameters(), lr=0.1, **options)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    inputs = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


def parameters(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("kind", "options"),
    [(torch.optim.AdamW, {}), (torch.optim.AdamW, {"fused": True}), (torch.optim.SGD, {"momentum": 0.9})],
    ids=["adamw", "fused adamw", "sgd with momentum"],
)
def test_a_restored_optimizer_goes_on_to_the_same_bits(
    tmp_path: Path, kind: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    straight, straight_optimizer = build(kind, **options)
    train(straight, straight_optimizer, 3)
    state = prefixed("model", straight.state_dict()) | prefixed("optimizer", optimizer_tensors(straight_optimizer))
    save_checkpoint(tmp_path / "checkpoint", state, {})
    train(straight, straight_optimizer, 3)

    tensors, _ = load_checkpoint(tmp_path / "checkpoint")
    resumed, resumed_optimizer = build(kind, **options)
    resumed.load_state_dict(under("model", tensors))
    restore_optimizer(resumed_optimizer, under("optimizer", tensors))
    train(resumed, resumed_optimizer, 3)
    for mine, other in zip(parameters(resumed), parameters(straight), strict=True):
        assert torch.equal(mine, other)
