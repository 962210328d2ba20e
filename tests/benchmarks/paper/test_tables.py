"""The reproduction's own arithmetic and what it does without files; its measurements take hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Printed


def cells(lines: list[str]) -> list[list[str]]:
    """The rows of a markdown table, without its two heading lines."""
    rows = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def saved(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_table_sets_ours_beside_the_published_figure(printed: Printed, tmp_path: Path) -> None:
    cell = {"table": 8, "size": "full", "column": "StyleGAN-XL", "method": "fedktl", "rounds": 1000, "generator": "xl"}
    out = saved(tmp_path / "t.jsonl", [cell | {"seed": s, "value": v} for s, v in enumerate((85.0, 87.0, 89.0))])
    found = cells(printed("tables", "table", 8, "--size", "full", "--out", out))
    assert found == [
        # half-width 4.30 * 2 / sqrt(3)
        ["StyleGAN-XL", "fedktl", "87.63", "87.00 ± 4.97", "-0.63", "3", "1000", "xl"],
        ["Stable Diffusion", "fedktl", "87.71", "not run", "", "0", "", ""],
    ]
    assert [row[3] for row in cells(printed("tables", "table", 8, "--out", out))] == ["not run", "not run"]


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
    lines = printed("tables", "run", table, "--out", tmp_path / "t.jsonl", "--data-root", tmp_path)
    assert missing.format(root=tmp_path) in lines
    assert not (tmp_path / "t.jsonl").exists()


def test_generators_are_found_by_their_names(printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "tiny-imagenet-10k").mkdir()
    (tmp_path / "StyleGAN3_r_WikiArt.pkl").touch()
    run = ["run", 6, "--out", tmp_path / "t.jsonl", "--data-root", tmp_path, "--seeds", 0]
    assert len(printed("tables", *run)) == 12
    lines = printed("tables", *run, "--generators", tmp_path)
    assert len(lines) == 9
    assert not any("WikiArt" in line for line in lines)


def test_a_method_that_no_table_has_is_refused(printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "cifar100-20k.npz").touch()
    run = ["run", 9, "--out", tmp_path / "t.jsonl", "--data-root", tmp_path, "--seeds", 0, "--methods", "KTL"]
    assert printed("tables", *run) == []
    with pytest.raises(SystemExit, match="table 9 has no method KLT: choose of client data only, KTL"):
        printed("tables", *run, "KLT")


def test_methods_are_compared_in_pairs_by_seed(printed: Printed, tmp_path: Path) -> None:
    traffic = {"bytes_up": 5_000, "bytes_down": 20_000, "bytes_broadcast": 1_000, "numbers_up": 1, "numbers_down": 2}
    base = {"setting": "dirichlet cnn4", "rounds": 10, "local_epochs": 1, "last": 20.0, "worst": 5.0, "seconds": 7.0}
    rows = []
    for seed, (local, ktl) in enumerate([(30.0, 34.0), (32.0, 38.0), (28.0, 36.0)]):
        rows += [base | traffic | {"seed": seed, "arm": a, "best": v} for a, v in (("fedktl", ktl), ("local", local))]
    found = cells(printed("federated", "table", "--out", saved(tmp_path / "f.jsonl", rows)))
    carried = ["20.00 ± 0.00", "5.00 ± 0.00", "7.0", "5,000", "20,000", "1,000"]
    assert found == [
        ["dirichlet cnn4, 10 rounds x 1", "local", "3", "30.00 ± 4.97", "+6.00 ± 4.97", *carried],
        ["dirichlet cnn4, 10 rounds x 1", "fedktl", "3", "36.00 ± 4.97", "", *carried],
    ]
