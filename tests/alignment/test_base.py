"""Strategies of other packages: the documentation's example, and what is refused when it is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.documents import ROOT, python_blocks

from ktl.alignment import ALIGNMENTS, robust
from ktl.class_statistics import class_statistics
from ktl.errors import UsageError
from ktl.generators import base
from ktl.generators.base import ImageGenerator
from ktl.prototypes import Prototypes
from ktl.settings import describe
from ktl.spaces.latent import LatentSpace

PAGE = ROOT / "docs" / "explanation" / "alignment.md"
SOME = Prototypes(torch.eye(4)[[0, 2]], torch.tensor([0, 2]), torch.tensor([1, 3]))


def test_the_documentations_example_is_a_strategy(
    builtin: ImageGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = python_blocks("extending/alignments.md")
    (tmp_path / "my_alignment.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    choice = ALIGNMENTS.choose("my_alignment:NearestNoise", draws=1)
    aligned = ALIGNMENTS.load(choice.name)(4, 4, 1, choice.settings).align([SOME], builtin, per_class=3)
    assert aligned.classes.tolist() == [0, 2]
    assert aligned.latents.shape == (2, 3, builtin.latent_dim)
    first, second = aligned.latents.sum(dim=2).sort().values  # with one draw for each latent all classes share them
    assert torch.equal(first, second)
    with pytest.raises(UsageError, match=r"draws is 0: give a whole number of at least 1 and at most 100"):
        ALIGNMENTS.choose("my_alignment:NearestNoise", draws=0)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("Other = 3", "alignment 'others:Other' is 3: give a class derived from ktl.alignment.base.Alignment"),
        ("class Other:\n    pass", "is <class 'others.Other'>: give a class derived from"),
        ("class Other(Alignment):\n    pass", r"alignment 'others:Other' lacks align\(\): define it"),
        (
            "class Other(Alignment):\n    Settings = dict\n    def align(self, *_):\n        return None",
            "has Settings that are <class 'dict'>: derive ktl.settings.Settings",
        ),
    ],
)
def test_what_is_no_strategy_is_refused_in_one_line(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "others.py").write_text(f"from ktl.alignment.base import Alignment\n{source}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "others", raising=False)
    with pytest.raises(UsageError, match=reason) as refused:
        ALIGNMENTS.load("others:Other")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ALIGNMENTS.builtin())
def test_every_setting_is_bounded_described_and_documented(name: str) -> None:
    for setting in describe(ALIGNMENTS.settings_of(name)):
        assert "at most" in setting.expected
        assert setting.description
        assert f"`{setting.name}`" in PAGE.read_text()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("robust", {"spread": 0.2}),
        ("published", {"epochs": 3}),
        ("published", {"batch": 2}),
        ("published", {"gradient_norm": 1e-3}),
        ("published", {"clustering_weight": 0.0}),
        ("published", {"learning_rate": 0.5}),
    ],
)
def test_every_setting_changes_the_latents(builtin: ImageGenerator, name: str, values: dict[str, float]) -> None:
    vectors = torch.nn.functional.normalize(torch.eye(4) + 0.2, dim=1)
    pooled = [Prototypes(vectors, torch.arange(4), torch.ones(4, dtype=torch.int64))] * 2
    default, changed = (
        ALIGNMENTS.load(name)(4, 4, 1, ALIGNMENTS.choose(name, **given).settings).align(pooled, builtin, per_class=3)
        for given in ({}, values)
    )
    assert not torch.equal(default.latents, changed.latents)


@pytest.mark.parametrize("name", ["robust", "pooled", "random", "published"])
def test_latents_that_are_made_in_parts_are_the_same(
    builtin: ImageGenerator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def latents() -> torch.Tensor:
        strategy = ALIGNMENTS.load(name)(4, 4, 1)
        known = class_statistics(F.normalize(builtin.latents(torch.eye(4, builtin.noise_dim)), dim=1), torch.arange(4))
        strategy.learn(known, LatentSpace(builtin))
        return strategy.align([SOME], builtin, per_class=150).latents

    at_once = latents()
    for module in (base, robust):
        monkeypatch.setattr(module, "MAPPED_AT_ONCE", 128)
    torch.testing.assert_close(latents(), at_once)
