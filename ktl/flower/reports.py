"""Whether what clients report fits together: one that does not is left out, and does not end the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from ktl.loop.clients import Outcome
from ktl.methods.message import Message

Form = tuple[tuple[str, str, tuple[int, ...]], ...]


def check_reports(outcomes: Mapping[int, Outcome], classes: int) -> dict[int, Outcome]:
    """The same outcomes, but for reports that are unlike most others or name classes that are none of `classes`.

    Alike are names, dtypes and, after the first axis, shapes: along that one a client has as many rows as classes.
    """
    finished = {client: outcome for client, outcome in outcomes.items() if outcome.error is None}
    if not finished:
        return dict(outcomes)
    forms = {client: _form(outcome.report) for client, outcome in finished.items()}
    usual, _ = Counter(forms.values()).most_common(1)[0]
    checked = dict(outcomes)
    for client, outcome in finished.items():
        if forms[client] != usual:
            checked[client] = Outcome(error=f"its report has the form {forms[client]}, others' {usual}"[:200])
        elif (problem := _odd_classes(outcome.report, classes)) is not None:
            checked[client] = Outcome(error=problem)
    return checked


def _form(report: Message) -> Form:
    tensors = [(name, str(tensor.dtype), tuple(tensor.shape[1:])) for name, tensor in report.tensors.items()]
    return tuple(sorted([*tensors, *((kind, "bytes", ()) for kind in report.payloads)]))


def _odd_classes(report: Message, total: int) -> str | None:
    """What is wrong with the rows of a report whose rows are classes, if anything."""
    if "classes" not in report.tensors:
        return None
    named = report["classes"]
    if named.dtype != torch.int64 or named.ndim != 1 or len(named.unique()) != len(named):
        return "its report does not name each class once"
    if ((named < 0) | (named >= total)).any():
        return f"its report names classes {int(named.min())} to {int(named.max())} of {total}"
    odd = [name for name, tensor in report.tensors.items() if len(tensor) != len(named)]
    return f"{odd[0]} of its report has other rows than its classes" if odd else None
