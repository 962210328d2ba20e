"""A federation through the loop: rounds that nobody finishes, kept payloads, and a cloud elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.recording import CountingCloud
from support.served import ServedCloud

from ktl.checkpoint import load_checkpoint
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import FederatedData
from ktl.data.settings import PartitionConfig
from ktl.edge.network.http import HttpCloud
from ktl.edge.network.transport import Access
from ktl.errors import Interrupted
from ktl.federation.problem import federated_data
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.files import Row, read_rows
from ktl.generators.network import NetworkGenerator
from ktl.loop.folder import RunFolder


def without_seconds(out: Path) -> list[Row]:
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in read_rows(out / "metrics.jsonl")
    ]


def assert_same_federation(one: Path, other: Path, trained: int) -> None:
    assert without_seconds(one) == without_seconds(other)
    names = sorted(file.name for file in (one / "clients").iterdir())
    assert names == sorted(file.name for file in (other / "clients").iterdir())
    assert len(names) == trained
    for name in names:
        first, second = (load_checkpoint(out / "clients" / name)[0] for out in (one, other))
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == [], name
    wires = [{file.name: file.read_bytes() for file in (out / "wire").iterdir()} for out in (one, other)]
    assert wires[0] == wires[1]


def test_a_federation_whose_every_client_drops_out_writes_its_rows(
    plain: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    counting = CountingCloud(EmbeddedCloud(tiny_generator))
    config = replace(plain, drop_ratio=0.999)
    result = federate(config, tmp_path / "run", data=shared, workers=0, connection=counting)
    assert counting.asked == []
    assert [row["left_out"] for row in result.rows] == [{"0": "dropped out", "1": "dropped out"}] * 2
    assert [(row["clients"], row["bytes_up"], row["bytes_down"], row["numbers_down"]) for row in result.rows] == [
        (0, 0, 0, 0)
    ] * 2
    assert result.rows == read_rows(tmp_path / "run" / "metrics.jsonl")
    assert not (tmp_path / "run" / "wire").exists()


def test_rounds_in_which_all_drop_out_do_no_harm_to_those_around_them(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path
) -> None:
    config = replace(plain, rounds=6, drop_ratio=0.5, training=replace(plain.training, steps=6))
    whole = federate(config, tmp_path / "whole", data=shared, workers=0)
    finished = [row["clients"] for row in whole.rows]
    assert 0 in finished[1:-1]
    assert sum(finished) > 1
    for stop in range(1, 6):
        rows: list[Row] = []
        with pytest.raises(Interrupted):
            federate(
                config,
                tmp_path / "parts",
                data=shared,
                workers=0,
                resume=True,
                on_round=lambda row, _, rows=rows: rows.append(row),  # type: ignore[misc]
                should_stop=lambda rows=rows: len(rows) == 1,  # type: ignore[misc]
            )
        assert len(read_rows(tmp_path / "parts" / "metrics.jsonl")) == stop
    federate(config, tmp_path / "parts", data=shared, workers=0, resume=True)
    assert_same_federation(tmp_path / "whole", tmp_path / "parts", 2)


def test_what_was_answered_before_a_kill_is_not_asked_for_again(
    plain: FederationConfig, shared: FederatedData, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    first, second = CountingCloud(EmbeddedCloud(tiny_generator)), CountingCloud(EmbeddedCloud(tiny_generator))
    federate(plain, tmp_path / "whole", data=shared, workers=0, connection=first)
    assert [sorted(uploads) for uploads in first.asked] == [[0, 1], [0, 1]]
    killed = RunFolder(tmp_path / "killed")  # before the first checkpoint, but after all answers
    killed.start(plain)
    (killed.path / "wire").mkdir()
    for file in (tmp_path / "whole" / "wire").iterdir():
        (killed.path / "wire" / file.name).write_bytes(file.read_bytes())
    federate(plain, killed.path, data=shared, workers=0, resume=True, connection=second)
    assert second.asked == []
    assert second.opened == [first.asked]
    assert_same_federation(tmp_path / "whole", killed.path, 2)


def test_a_federation_with_a_cloud_elsewhere_ends_with_the_same_bits(
    plain: FederationConfig, tiny_generator_file: Path, tmp_path: Path
) -> None:
    config = replace(
        plain, partition=PartitionConfig("iid", clients=3), cloud=replace(plain.cloud, alignment="pooled"), rounds=3
    )
    data = federated_data(config.source, None, config.partition, config.seed)
    here = federate(config, tmp_path / "here", data=data, workers=0)
    (tmp_path / "cloud").mkdir()
    server = ServedCloud(tmp_path / "cloud", tiny_generator_file)
    try:
        access = Access(server.url, server.tokens["edge"], patience=30.0)
        there = tmp_path / "there"
        result = federate(config, there, data=data, workers=0, connection=HttpCloud(access, there, clients=3))
    finally:
        assert server.stop() == 0
    assert [row["clients"] for row in result.rows] == [3, 3, 3]
    assert result.accuracies == here.accuracies
    assert json.loads((there / "session.json").read_text())["url"] == server.url
    assert_same_federation(tmp_path / "here", there, 3)
