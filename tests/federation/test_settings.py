"""Whose classifier the clients' models have: the method's own, or the one that the settings name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ktl.data.partition import FederatedData
from ktl.errors import UsageError
from ktl.federation.problem import federated_problem
from ktl.federation.processes import federated_edges
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.methods import METHODS
from ktl.models.classifiers import EtfClassifier, LinearClassifier
from ktl.settings import as_table, from_table


@pytest.mark.parametrize("method", [name for name in METHODS.builtin() if name != "fedmrl"])
def test_every_method_runs_with_either_classifier(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path, method: str
) -> None:
    for name, kind in (("etf", EtfClassifier), ("linear", LinearClassifier)):
        config = replace(plain, method=method, classifier=name, rounds=2)
        problem = federated_problem(config, shared)
        assert type(federated_edges(config, problem, {0: shared.task(0)}).learners[0].model.classifier) is kind
        rows = federate(config, tmp_path / name, data=shared, workers=0).rows
        assert [row["left_out"] for row in rows] == [{}, {}]


def test_a_classifier_that_is_part_of_its_method_stays() -> None:
    with pytest.raises(UsageError, match=r"^FedMRL has no etf classifier, only its FusedClassifier: leave classifier"):
        FederationConfig(method="fedmrl", classifier="etf")
    assert FederationConfig(method="fedmrl", classifier="linear").classifier == "linear"


def test_a_run_from_before_the_setting_has_the_methods_own() -> None:
    table = as_table(FederationConfig())
    del table["classifier"]
    assert from_table(FederationConfig, table) == FederationConfig()
