"""One edge's run as a folder: the same numbers for the same seed, what travels, and what is refused."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.settings import DataConfig
from ktl.edge.compare import Comparison, train_beside_local
from ktl.edge.run import evaluate_run, train_edge
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw
from ktl.errors import CheckpointError, DataError, Interrupted, UsageError
from ktl.files import Row, file_digest
from ktl.learning.schedule import Span
from ktl.learning.settings import TrainingConfig
from ktl.loop.folder import load_config
from ktl.loop.rounds import Observer

Contents = Callable[[Path], dict[str, Any]]


class CountingCloud:
    """An embedded cloud that notes every payload."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud
        self.up: list[bytes] = []
        self.down: list[bytes] = []

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        return self._noted(request, self.cloud.open(request, answered, pooled))

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        return self._noted(uploads[0], self.cloud.exchange(uploads))

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        return self._noted(uploads[0], self.cloud.pool(uploads))

    def _noted(self, sent: bytes, received: bytes) -> bytes:
        self.up.append(sent)
        self.down.append(received)
        return received


def test_the_same_seed_gives_the_same_run_bit_for_bit(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, contents_of: Contents, tmp_path: Path
) -> None:
    again = train_edge(small_config, tmp_path / "again", cloud)
    assert contents_of(again.out) == contents_of(finished.ktl.out)
    assert again.evaluation.confusion.tolist() == finished.ktl.evaluation.confusion.tolist()


def test_another_seed_gives_another_run(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, contents_of: Contents, tmp_path: Path
) -> None:
    other = contents_of(train_edge(replace(small_config, seed=1), tmp_path / "other", cloud).out)
    first = contents_of(finished.ktl.out)
    assert set(other) == set(first)
    steps_counted = {name for name in first if name.startswith("optimizer ") and name.endswith("/step")}
    assert {name for name in first if other[name] == first[name]} == steps_counted | {"labels"}


def test_metrics_have_a_row_for_each_round(finished: Comparison) -> None:
    rows = finished.ktl.rows
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert rows[-1]["test_accuracy"] == finished.ktl.evaluation.accuracy
    assert all(row["shot_loss"] > 0 and row["pair_loss"] > 0 and row["seconds"] > 0 for row in rows)
    lines = (finished.ktl.out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_the_observer_sees_every_step_and_every_row(
    small_config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    steps: list[tuple[int, str, int]] = []
    rows: list[Row] = []

    def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
        steps.append((round_index, span.name, step))

    config = replace(small_config, rounds=2, training=TrainingConfig(steps=4))
    result = train_edge(config, tmp_path / "run", cloud, observer=Observer(on_step, rows.append))
    warm_up = [(0, "warm-up", step) for step in range(1, 16)]
    assert steps == [*warm_up, (0, "shots", 1), (0, "shots", 2), (1, "shots", 1), (1, "shots", 2)]
    assert rows == result.rows


def test_the_bytes_of_a_row_are_those_that_travelled(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    counting = CountingCloud(cloud)

    def stop_in_the_last_round() -> bool:
        return len(counting.up) == 4

    with pytest.raises(Interrupted):
        train_edge(small_config, tmp_path / "run", counting, observer=Observer(should_stop=stop_in_the_last_round))
    wire = finished.ktl.out / "wire"
    uploads, downloads = sorted(wire.glob("*-prototypes-0.safetensors")), sorted(wire.glob("*-pairs.safetensors"))
    assert [file.read_bytes() for file in uploads] == counting.up[1:]
    assert [file.read_bytes() for file in downloads] == counting.down[1:]
    up, down = [len(payload) for payload in counting.up], [len(payload) for payload in counting.down]
    assert [row["bytes_up"] for row in finished.ktl.rows] == [up[0] + up[1], up[2], up[3]]
    assert [row["bytes_down"] for row in finished.ktl.rows] == [down[0] + down[1], down[2], down[3]]
    assert {"class_names", "labels", "images"}.isdisjoint(json.loads(counting.up[0]))
    assert b"red" not in b"".join(counting.up)


def test_an_upload_holds_prototypes_counts_and_class_indices_and_nothing_else(finished: Comparison) -> None:
    for upload in sorted((finished.ktl.out / "wire").glob("*-prototypes-0.safetensors")):
        payload = upload.read_bytes()
        (length,) = struct.unpack("<Q", payload[:8])
        header = json.loads(payload[8 : 8 + length])
        assert header.pop("__metadata__") == {"ktl": "prototypes/1"}
        assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
            "vectors": ("I8", [3, 3]),
            "scales": ("F32", [3]),
            "classes": ("I32", [3]),
            "counts": ("I32", [3]),
        }
        assert len(payload) == 8 + length + 9 + 3 * 12
        assert load(payload)["classes"].tolist() == [0, 1, 2]
        assert load(payload)["counts"].tolist() == [4, 4, 4]


def test_the_folder_says_what_the_run_was(small_config: RunConfig, finished: Comparison) -> None:
    assert load_config(finished.ktl.out, RunConfig) == replace(small_config, warm_start="edge")
    assert json.loads((finished.ktl.out / "labels.json").read_text()) == ["blue", "green", "red"]


def test_a_folder_with_a_run_is_not_overwritten(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, contents_of: Contents
) -> None:
    before = contents_of(finished.ktl.out)
    with pytest.raises(UsageError, match="already holds a run: go on with ktl edge train --resume"):
        train_edge(replace(small_config, seed=5), finished.ktl.out, cloud)
    with pytest.raises(UsageError, match="holds a run with other settings"):
        train_edge(replace(small_config, seed=5), finished.ktl.out, cloud, resume=True)
    assert contents_of(finished.ktl.out) == before


def test_a_finished_run_is_read_and_no_cloud_is_asked(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    run = shutil.copytree(finished.ktl.out, tmp_path / "run")
    before = {file: file_digest(file) for file in run.rglob("*") if file.is_file()}
    counting = CountingCloud(cloud)
    again = train_beside_local(small_config, run, counting, resume=True)
    assert counting.up == []
    for result, first in ((again.ktl, finished.ktl), (again.local, finished.local)):
        assert result.rows == first.rows
        assert result.evaluation.confusion.equal(first.evaluation.confusion)
    assert {file: file_digest(file) for file in run.rglob("*") if file.is_file()} == before


def test_other_arrays_than_the_run_was_made_of_are_refused(
    small_config: RunConfig, finished: Comparison, small_bundle: Path, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    run, changed = shutil.copytree(finished.ktl.out, tmp_path / "run"), tmp_path / "colours.npz"
    arrays = dict(np.load(small_bundle))
    np.savez_compressed(changed, **arrays | {"class_names": arrays["class_names"][::-1]})
    with pytest.raises(DataError, match=r"the class names of .*colours\.npz are not those that this run was made of"):
        evaluate_run(run, str(changed))
    np.savez_compressed(changed, **arrays | {"x_test": arrays["x_test"][::-1]})
    (run / "model.onnx").unlink()  # as of a run that has not ended
    with pytest.raises(DataError, match=r"the test images of .*colours\.npz are not those that this run was made of"):
        draw(small_config, run, str(changed))
    with pytest.raises(DataError, match=r"^the data of this run is not here \(no data set 'gone\.npz': .* by --data$"):
        draw(small_config, run, "gone.npz")


def test_a_connection_and_local_only_exclude_each_other(
    small_config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="needs a cloud connection"):
        train_edge(small_config, tmp_path / "run")
    with pytest.raises(UsageError, match="then it must have none"):
        train_edge(replace(small_config, transfer=None), tmp_path / "run", cloud)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, rounds=9, training=TrainingConfig(steps=8)),
        lambda c: replace(c, data=replace(c.data, image_size=8)),
        lambda c: replace(c, data=DataConfig("nowhere")),
        lambda c: replace(c, cloud=replace(c.cloud, alignment="perfect")),
    ],
)
def test_settings_that_cannot_be_leave_no_folder_behind(
    small_config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path, change: Callable[[RunConfig], RunConfig]
) -> None:
    with pytest.raises(UsageError):
        train_edge(change(small_config), tmp_path / "run", cloud)
    assert not (tmp_path / "run").exists()


def test_a_file_cannot_be_a_run_directory(small_config: RunConfig, cloud: EmbeddedCloud, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UsageError, match=r"file cannot be a run directory .*: name another --out"):
        train_edge(small_config, tmp_path / "file", cloud)
    assert (tmp_path / "file").read_text() == "a file"


def test_a_checkpoint_cut_short_is_named(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    run = shutil.copytree(finished.ktl.out, tmp_path / "run")
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged"):
        train_edge(small_config, run, cloud, resume=True)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged"):
        evaluate_run(run)


@pytest.mark.parametrize("missing", ["round", "losses", "rows"])
def test_a_checkpoint_that_lacks_its_progress_is_refused(
    small_config: RunConfig, finished: Comparison, cloud: EmbeddedCloud, tmp_path: Path, missing: str
) -> None:
    run = shutil.copytree(finished.ktl.out, tmp_path / "run")
    (run / "model.onnx").unlink()  # as of a run that has not ended
    tensors, progress = load_checkpoint(run / "checkpoint.safetensors")
    del (progress if missing == "rows" else progress["clients"])[missing]
    save_checkpoint(run / "checkpoint.safetensors", tensors, progress)
    with pytest.raises(CheckpointError, match=rf"does not fit this run \('{missing}'\); start the run anew"):
        train_edge(small_config, run, cloud, resume=True)
