"""A federation's page says what its runs' files say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ktl.data.settings import PartitionConfig
from ktl.errors import CheckpointError, UsageError
from ktl.federation.settings import FederationConfig
from ktl.loop.folder import RunFolder
from ktl.report.page import write_report
from ktl.report.thumbnails import thumbnails

from .test_report import Page


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods, three seeds, two rounds, three clients of which the last has no test images."""
    base = FederationConfig(partition=PartitionConfig(clients=3), rounds=2)
    for method, accuracies, down in (("local", (0.50, 0.52, 0.48), 0), ("fedktl", (0.60, 0.64, 0.62), 2_000_000)):
        for seed, accuracy in enumerate(accuracies):
            folder = tmp_path / "runs" / f"{method}-seed{seed}"
            RunFolder(folder).start(replace(base, method=method, seed=seed))
            row = {"worst": 0.25, "spread": 0.1, "left_out": {"2": "dropped out"}, "seconds": 3.0, "bytes_up": 4_000}
            row |= {"bytes_down": down, "bytes_broadcast": down // 3, "numbers_up": 300, "numbers_down": 7_170_000}
            rows = [
                row | {"accuracy": accuracy - 0.2, "by_client": {}},
                row | {"accuracy": accuracy, "seconds": 5.0, "by_client": {"0": accuracy + 0.1, "1": accuracy - 0.1}},
            ]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "runs"


def page(*folders: Path, out: Path) -> Page:
    write_report(folders, out)
    return Page(out.read_text())


def test_methods_stand_beside_one_another_with_intervals_over_seeds(runs: Path) -> None:
    drawn = page(runs, out=runs / "report.html")
    figures = [text for text in drawn.alternatives if text]
    # 4.30 * 2 / sqrt(3) points
    assert "With 95% intervals over seeds: fedktl 62.0% ± 5.0; local 50.0% ± 5.0." in figures
    assert "After the last round: fedktl 62.0%; local 50.0%." in figures
    assert "From the worst client to the best: fedktl 52.0% to 72.0%; local 40.0% to 60.0%." in figures
    text = " ".join(drawn.text)
    assert "fedktl 3 62.0% ± 5.0 62.0% 25.0% 10.0% 4.0 6" in text
    assert "local 4.0 kB 0 B 0 B 300 7,170,000" in text
    assert "fedktl 4.0 kB 2.00 MB 666.7 kB 300 7,170,000" in text
    assert "they differ in method, method.epsilon, method.delta, method.pool, seed" in text


def test_one_methods_folder_is_a_page_too_and_needs_no_network(runs: Path) -> None:
    drawn = page(runs / "local-seed1", out=runs / "one.html")
    assert "With 95% intervals over seeds: local 52.0%." in [text for text in drawn.alternatives if text]
    html = (runs / "one.html").read_text()
    assert "default-src 'none'" in html
    assert "fedktl" not in html


def test_what_the_cloud_could_draw_is_shown_where_statistics_were_pooled(runs: Path, tmp_path: Path) -> None:
    heading = "What the cloud could draw from your class statistics"
    assert heading not in page(runs, out=tmp_path / "without.html").text
    pictures = {
        name: np.full((2, 8, 8, 1), level, np.uint8) for name, level in (("shots", 9), ("own", 90), ("pooled", 200))
    }
    about = {"client": 4, "classes": ["coat", "a <b> & c"]}
    save_file(pictures, runs / "fedktl-seed1" / "drawings.safetensors", metadata={"ktl": json.dumps(about)})
    drawn = page(runs, out=tmp_path / "with.html")
    assert drawn.text.count(heading) == 1
    assert "Client 4 sent no image" in " ".join(drawn.text)
    shown = [text for text in drawn.alternatives if text and text.startswith(("coat, ", "a <b> & c, "))]
    assert shown == [
        f"{name}, {title}"
        for title in ("an image of its own", "drawn from its statistics", "drawn from those of all")
        for name in ("coat", "a <b> & c")
    ]
    html = (tmp_path / "with.html").read_text()
    assert all(thumbnails(each[:1]) in html for each in pictures.values())
    (runs / "fedktl-seed1" / "drawings.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"drawings.safetensors is damaged .*; remove it, the report"):
        write_report([runs], tmp_path / "out.html")


def test_damaged_metrics_and_unlike_runs_are_refused(runs: Path, tmp_path: Path) -> None:
    (runs / "local-seed1" / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="local-seed1 are missing or damaged"):
        write_report([runs], tmp_path / "out.html")
    (tmp_path / "edge").mkdir()
    with pytest.raises(UsageError, match="do not fit on one page"):
        write_report([runs, tmp_path / "edge"], tmp_path / "out.html")
