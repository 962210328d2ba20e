"""A run's folder while it is being made: whose it is, and what a crash leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError, UsageError
from ktl.federation.settings import FederationConfig
from ktl.files import read_rows
from ktl.learning.settings import TrainingConfig
from ktl.loop.folder import RunFolder, differences, load_config
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS


def test_a_free_folder_is_taken_and_then_it_is_not_free(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "some" / "run")
    folder.check(RunConfig(), resume=False)
    folder.check(RunConfig(), resume=True)
    assert not folder.path.exists()  # nothing is written
    folder.start(RunConfig())
    folder.check(RunConfig(), resume=True)
    with pytest.raises(UsageError) as refused:
        folder.check(RunConfig(), resume=False)
    assert str(refused.value) == f"{folder.path} already holds a run: go on with --resume or name another --out"


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start(RunConfig())
    changed = RunConfig(
        rounds=3, training=TrainingConfig(batch=7), transfer=TRANSFERS.choose("image-vector", temperature=0.5)
    )
    with pytest.raises(UsageError) as refused:
        folder.check(changed, resume=True)
    assert str(refused.value) == (
        f"{tmp_path} holds a run with other settings (rounds: 1, not 3; training.batch: 32, not 7; "
        "transfer.temperature: 0.2, not 0.5): resume it with its own, or name another --out"
    )
    assert load_config(tmp_path, RunConfig) == RunConfig()


def test_differences_are_told_by_the_names_of_settings() -> None:
    assert differences(RunConfig(), RunConfig()) == ""
    assert differences(RunConfig(transfer="mse"), RunConfig(transfer=None)) == "transfer: mse, not None"
    assert differences(RunConfig(transfer=None), RunConfig(transfer="mse")) == "transfer: None, not mse"
    methods = [FederationConfig(method=method) for method in ("local", "fml", "fedproto", "feddistill")]
    assert differences(methods[0], methods[1]) == "method: local, not fml"
    assert differences(methods[2], methods[3]) == "method: fedproto, not feddistill; method.weight: 10.0, not 1.0"
    cloud = replace(RunConfig(), cloud=CloudConfig("birds.safetensors"))
    assert differences(RunConfig(), cloud) == "cloud.generator: builtin, not birds.safetensors"


@pytest.mark.parametrize("text", ["", "{}", '{"layout": 2, "rounds": 0}', '{"layout": 3}'])
def test_a_damaged_run_is_not_gone_on_with(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json is damaged or from another ktl") as refused:
        RunFolder(tmp_path).check(RunConfig(), resume=True)
    assert "0.1.0" not in str(refused.value)


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(RunConfig(warm_start="edge"))
    with pytest.raises(CheckpointError, match=r"config\.json is damaged or from another ktl \('data' is no setting of"):
        RunFolder(tmp_path).check(FederationConfig(), resume=True)


def test_a_file_cannot_be_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match=r"cannot be a run directory \(.*\): name another --out"):
            RunFolder(path).start(RunConfig())


def test_a_checkpoint_holds_tensors_progress_and_rows(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        folder.load()
    rows = [{"round": 1, "accuracy": 1 / 3}]
    folder.save({"a/b": torch.arange(3)}, {"seconds": 0.1}, rows)
    tensors, progress = folder.load()
    assert tensors.keys() == {"a/b"}
    assert torch.equal(tensors["a/b"], torch.arange(3))
    assert progress == {"seconds": 0.1, "rows": rows}
    assert read_rows(tmp_path / "metrics.jsonl") == rows
    (tmp_path / "metrics.jsonl").unlink()  # as a kill between both would leave it
    folder.write_metrics(progress["rows"])
    assert read_rows(tmp_path / "metrics.jsonl") == rows


def test_a_checkpoint_of_another_run_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    checkpoint = tmp_path / "checkpoint.safetensors"
    refusal = str(folder.misfit(ValueError("wrong\nin many lines")))
    assert refusal == f"{checkpoint} does not fit this run (wrong); start the run anew"
    assert (
        str(folder.misfit(RuntimeError())) == f"{checkpoint} does not fit this run (RuntimeError); start the run anew"
    )
