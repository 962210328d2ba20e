"""`ktl datasets` and `ktl models`: what can be chosen by name."""

from __future__ import annotations

from rich.table import Table

from .console import output


def datasets() -> None:
    """The data sets that --data accepts."""
    from ktl.data import DATASETS

    table = Table(box=None, pad_edge=False)
    table.add_column("--data")
    table.add_column("what it is")
    for name in DATASETS.names():
        table.add_row(name, DATASETS.summary(name))
    table.add_row("FOLDER", "train/<class>/* and test/<class>/*, or <class>/* (a quarter is held out to test)")
    table.add_row("FILE.npz", "uint8 x_train, x_test (n, h, w[, c]); integer y_train, y_test; optional class_names")
    output.print(table)


def models() -> None:
    """The models that --model accepts."""
    from ktl.models import MODELS

    table = Table(box=None, pad_edge=False)
    table.add_column("--model")
    table.add_column("what it is")
    for name in MODELS.names():
        table.add_row(name, MODELS.summary(name))
    output.print(table)
