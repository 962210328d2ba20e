"""An edge that begins with a cloud's extractor: what travels, what is kept, resume, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ktl.checkpoint import load_checkpoint, under
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import train_beside_local
from ktl.edge.cross_validation import cross_validate
from ktl.edge.run import train_edge
from ktl.edge.settings import RunConfig
from ktl.edge.task import settled
from ktl.errors import Interrupted, KtlError, UsageError, WireError
from ktl.generators.network import NetworkGenerator
from ktl.learning.schedule import Span, joint_batch, round_plan
from ktl.loop.folder import load_config
from ktl.loop.rounds import Observer
from ktl.models.edge_model import extractor_weights
from ktl.objectives import TRANSFERS
from ktl.warm_start.settings import WarmStartConfig
from ktl.wire import SessionRequest, decode_message, decode_warm_start, encode_warm_start

Contents = Callable[[Path], dict[str, Any]]
KEPT = "warm-start-cnn4.safetensors"
MADE_WITH = WarmStartConfig(images=32, chunk=32, passes=2, batch=16)


@pytest.fixture(scope="module")
def config(small_config: RunConfig) -> RunConfig:
    return replace(
        small_config, warm_start="cloud", transfer=TRANSFERS.choose("image-vector", warmup_steps=15), rounds=2
    )


@pytest.fixture
def cloud(tiny_generator: NetworkGenerator) -> EmbeddedCloud:
    return EmbeddedCloud(tiny_generator, warm_starts=MADE_WITH)


def test_it_begins_with_the_cloud_s_extractor_and_leaves_out_its_own_warm_up(
    config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    spans: set[str] = set()

    def stop_at_once() -> bool:
        return True

    def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
        spans.add(span.name)

    with pytest.raises(Interrupted):
        train_edge(config, tmp_path / "run", cloud, observer=Observer(should_stop=stop_at_once))
    payload = (tmp_path / "run" / "wire" / KEPT).read_bytes()
    sent = decode_warm_start(payload, extractor_weights("cnn4", 3, 16)).weights
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    began = under("model/extractor", {name.replace("extractor.", "extractor/"): t for name, t in tensors.items()})
    assert all(torch.equal(began[name], weight) for name, weight in sent.items())
    result = train_edge(config, tmp_path / "run", cloud, resume=True, observer=Observer(on_step))
    assert spans == {"shots"}
    opening, rounds = result.rows[0]["bytes_down"], (tmp_path / "run" / "wire").glob("round-001-pairs*")
    assert opening > len(payload) + sum(file.stat().st_size for file in rounds)


def test_a_few_steps_of_its_own_can_be_asked_for(config: RunConfig) -> None:
    few = replace(config, transfer=TRANSFERS.choose("image-vector", warmup_steps=15, warm_started_steps=4))
    assert [round_plan(each, 0, 12, 3).warm_up.steps for each in (config, few)] == [0, 4]
    own = replace(few, warm_start="edge")
    assert round_plan(own, 0, 12, 3).warm_up.steps == 15
    assert [joint_batch(each) for each in (few, own, replace(few, transfer=None))] == [16, 64, 0]
    given = TRANSFERS.choose("image-vector", joint_batch=5)
    assert [joint_batch(replace(each, transfer=given)) for each in (few, own)] == [5, 5]


def test_stopped_anywhere_it_ends_with_the_same_bits_and_asks_the_cloud_once(
    config: RunConfig, cloud: EmbeddedCloud, contents_of: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_edge(config, tmp_path / "whole", cloud)
    steps = 0

    def count(round_index: int, span: Span, step: int, loss: float) -> None:
        nonlocal steps
        steps += 1

    with pytest.raises(Interrupted):
        train_edge(config, tmp_path / "parts", cloud, observer=Observer(count, should_stop=lambda: steps == 7))
    monkeypatch.setattr(EmbeddedCloud, "warm_start", lambda self, model: pytest.fail("asked again"))
    shutil.move(tmp_path / "parts", tmp_path / "moved")  # the warm start travels with the run
    again = train_edge(config, tmp_path / "moved", cloud, resume=True)
    assert contents_of(tmp_path / "moved") == contents_of(tmp_path / "whole")
    assert again.evaluation.accuracy == whole.evaluation.accuracy


def test_the_download_budget_holds_for_the_warm_start_too(
    config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    size = len(encode_warm_start({n: torch.zeros(w.shape) for n, w in extractor_weights("cnn4", 3, 16).items()}))
    tight = replace(config, cloud=replace(config.cloud, pairs_per_class=1000, download_budget=size + 50_000))
    down = sum(row["bytes_down"] for row in train_edge(tight, tmp_path / "run", cloud).rows)
    assert size + 40_000 < down <= size + 50_000
    short = replace(tight, cloud=replace(tight.cloud, download_budget=size))
    with pytest.raises(UsageError, match=rf"a warm start of cnn4 takes {size:,} bytes: give at least"):
        train_edge(short, tmp_path / "short", cloud)


def test_the_cloud_is_told_the_model_s_name_and_nothing_else_new(
    config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SessionRequest] = []
    opened = EmbeddedCloud.open

    def noted(self: EmbeddedCloud, request: bytes, *more: Any) -> bytes:
        asked.append(decode_message(request, SessionRequest))
        return opened(self, request, *more)

    monkeypatch.setattr(EmbeddedCloud, "open", noted)
    train_beside_local(replace(config, rounds=1), tmp_path / "with", cloud)
    train_edge(replace(config, rounds=1, warm_start="edge"), tmp_path / "without", cloud)
    assert [each.warm_starts for each in asked] == [["cnn4"], []]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda payload: payload[:-1], "bytes where .* were announced"),
        (lambda payload: payload + b"0", "bytes where .* were announced"),
        (lambda payload: payload.replace(b'"I8"', b'"U8"', 1), "expected I8"),
        (lambda payload: payload.replace(b"warm-start/1", b"warm-start/2"), "version"),
        (lambda payload: bytes(len(payload)), "header"),
    ],
)
def test_another_payload_than_was_announced_is_refused_and_not_kept(
    config: RunConfig,
    cloud: EmbeddedCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    sent = EmbeddedCloud.warm_start
    monkeypatch.setattr(EmbeddedCloud, "warm_start", lambda self, model: damage(sent(self, model)))
    with pytest.raises(WireError, match=message):
        train_edge(config, tmp_path / "run", cloud)
    assert not list((tmp_path / "run").glob(f"wire/{KEPT}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "torchvision.models:squeezenet1_1"}, "is this edge's own, and a cloud has warm starts of ktl's"),
        ({"warm_start": "both"}, "warm_start is 'both': give one of auto, edge, cloud"),
    ],
)
def test_what_cannot_be_is_said(config: RunConfig, change: dict[str, Any], message: str) -> None:
    with pytest.raises(KtlError, match=message):
        replace(config, **change)


def test_what_ships_is_taken_unless_an_edge_says_otherwise(
    config: RunConfig, cloud: EmbeddedCloud, small_task: FewShotTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ended = replace(config, warm_start="auto")
    assert settled(open_ended, small_task).warm_start == "edge"  # none ships for images of 16 pixels
    monkeypatch.setattr("ktl.edge.task.shipped_extractor", lambda model, channels, size: b"")
    assert settled(open_ended, small_task).warm_start == "cloud"
    grey = replace(small_task, shot_images=small_task.shot_images[:, :1], test_images=small_task.test_images[:, :1])
    assert settled(open_ended, grey).warm_start == "cloud"
    assert settled(replace(open_ended, warm_start="edge"), small_task).warm_start == "edge"
    assert settled(replace(open_ended, transfer=None), small_task).warm_start == "edge"
    stopped = Observer(should_stop=lambda: True)
    with pytest.raises(Interrupted):
        train_edge(open_ended, tmp_path / "run", cloud, observer=stopped)
    assert load_config(tmp_path / "run", RunConfig).warm_start == "cloud"
    monkeypatch.setattr("ktl.edge.task.shipped_extractor", lambda model, channels, size: None)
    with pytest.raises(Interrupted):  # a run that has begun stays as it was
        train_edge(open_ended, tmp_path / "run", cloud, resume=True, observer=stopped)


def test_folds_begin_with_the_same_extractor(config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path) -> None:
    quick = replace(config, training=replace(config.training, steps=4))
    train_beside_local(quick, tmp_path / "run", cloud)
    untouched = cross_validate(tmp_path / "run", 2)
    file = tmp_path / "run" / "wire" / KEPT
    file.write_bytes(encode_warm_start({n: torch.zeros(w.shape) for n, w in extractor_weights("cnn4", 3, 16).items()}))
    (tmp_path / "run" / "folds.json").unlink()
    assert cross_validate(tmp_path / "run", 2).right["KTL"] != untouched.right["KTL"]
