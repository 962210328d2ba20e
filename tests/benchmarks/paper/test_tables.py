"""The reproduction's own arithmetic and what it does without files; its measurements take hours."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.markdown_table import cells

from benchmarks.paper import tables

from ..conftest import Printed


def test_a_table_sets_ours_beside_the_published_figure() -> None:
    cell = {"table": 8, "size": "full", "column": "StyleGAN-XL", "method": "fedktl", "rounds": 1000, "generator": "xl"}
    rows = [cell | {"seed": seed, "value": value} for seed, value in enumerate((85.0, 87.0, 89.0))]
    assert cells(tables.TABLES["8 full"](rows)) == [
        # half-width 4.30 * 2 / sqrt(3)
        ["StyleGAN-XL", "fedktl", "87.63", "87.00 ± 4.97", "-0.63", "3", "1000", "xl"],
        ["Stable Diffusion", "fedktl", "87.71", "not run", "", "0", "", ""],
    ]
    assert [row[3] for row in cells(tables.TABLES["8 reduced"](rows))] == ["not run", "not run"]


@pytest.mark.parametrize(
    ("table", "missing"),
    [
        (1, "skipped Flowers102, practical: {root}/flowers102.npz is missing"),
        (2, "skipped HtFE2: {root}/cifar100-20k.npz is missing"),
        (8, "skipped StyleGAN-XL: {root}/cifar10-20k.npz is missing"),
        (9, "skipped 100-way 2-shot: {root}/cifar100-20k.npz is missing"),
    ],
)
def test_columns_without_their_files_are_skipped_and_the_file_named(
    printed: Printed, tmp_path: Path, table: int, missing: str
) -> None:
    lines = printed("paper.tables", "run", table, "--out", tmp_path / "t.jsonl", "--data-root", tmp_path)
    assert missing.format(root=tmp_path) in lines
    assert not (tmp_path / "t.jsonl").exists()


def test_generators_are_found_by_their_names(printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "tiny-imagenet-10k").mkdir()
    (tmp_path / "StyleGAN3_r_WikiArt.pkl").touch()
    run = ["run", 6, "--out", tmp_path / "t.jsonl", "--data-root", tmp_path, "--seeds", 0]
    assert len(printed("paper.tables", *run)) == 12
    lines = printed("paper.tables", *run, "--generators", tmp_path)
    assert len(lines) == 9
    assert not any("WikiArt" in line for line in lines)


def test_a_method_that_no_table_has_is_refused(printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "cifar100-20k.npz").touch()
    run = ["run", 9, "--out", tmp_path / "t.jsonl", "--data-root", tmp_path, "--seeds", 0, "--methods", "KTL"]
    assert printed("paper.tables", *run) == []
    with pytest.raises(SystemExit, match="table 9 has no method KLT: choose of client data only, KTL"):
        printed("paper.tables", *run, "KLT")
