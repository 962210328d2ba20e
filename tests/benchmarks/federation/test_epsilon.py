"""Who is in which superclass, and the table; a measurement takes minutes."""

from __future__ import annotations

import numpy as np
from support.markdown_table import cells

from benchmarks.federation import epsilon
from ktl.data.dataset import Dataset, Split


def test_each_of_a_hundred_classes_is_in_one_superclass() -> None:
    names = sorted(name for members in epsilon.SUPERCLASSES.values() for name in members.split())
    assert (len(epsilon.SUPERCLASSES), len(names), len({*names})) == (20, 100, 100)
    split = Split(np.zeros((100, 4, 4, 3), dtype=np.uint8), np.arange(100))
    found = epsilon.by_superclass(Dataset("cifar100", names, 4, 3, split, split))
    assert np.bincount(found.train.labels).tolist() == [5] * 20
    assert found.class_names[found.train.labels[names.index("trout")]] == "fish"


def test_the_table_has_a_column_for_each_number_of_edges() -> None:
    rows = [
        {"clients": clients, "steps": 40, "accuracy": dict.fromkeys(epsilon.PREDICTED_BY, 10.0 + clients + seed)}
        for clients in (100, 20)
        for seed in (0, 2)
    ]
    found = cells(epsilon.TABLES["all"](rows))
    assert len(found) == 2 + 2 * len(epsilon.EPSILONS)
    assert found[0] == ["their own classifier alone", "31.00 ± 12.71", "111.00 ± 12.71"]
