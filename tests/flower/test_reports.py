"""A report that does not fit is left out, and does not end the run."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from ktl.flower.reports import check_reports
from ktl.loop.clients import Outcome
from ktl.methods.message import Message


def means_of(*classes: int, width: int = 4) -> Message:
    return Message({"means": torch.zeros(len(classes), width), "classes": torch.tensor(classes)})


def errors_of(*reports: Message) -> list[str | None]:
    outcomes = check_reports({client: Outcome(report) for client, report in enumerate(reports)}, classes=3)
    return [outcome.error for outcome in outcomes.values()]


def test_clients_may_have_unlike_many_classes() -> None:
    assert errors_of(means_of(0), means_of(0, 1, 2), means_of(2, 1)) == [None] * 3


def test_what_is_unlike_the_others_is_left_out() -> None:
    assert [error is not None for error in errors_of(means_of(0), means_of(1), means_of(0, width=5))] == [0, 0, 1]
    payload = Message(payloads={"statistics": b"x"})
    assert [error is not None for error in errors_of(means_of(0), payload, means_of(1))] == [0, 1, 0]
    text = errors_of(means_of(0), means_of(1), Message({"weights": torch.zeros(2)}))[2]
    assert text is not None
    assert "weights" in text


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (means_of(0, 3), "names classes 0 to 3 of 3"),
        (means_of(-1), "names classes -1"),
        (means_of(1, 1), "each class once"),
        (Message({"means": torch.zeros(2, 4), "classes": torch.tensor([0])}), "means of its report"),
    ],
)
def test_classes_that_are_none_are_left_out(odd: Message, words: str) -> None:
    errors = errors_of(means_of(0), means_of(1), odd)
    assert errors[:2] == [None, None]
    assert words in str(errors[2])


def test_a_client_that_failed_keeps_its_reason() -> None:
    outcomes = check_reports({0: Outcome(error="late"), 1: Outcome(means_of(0))}, classes=3)
    assert (outcomes[0].error, outcomes[1].error) == ("late", None)
    assert check_reports({0: Outcome(error="late")}, classes=3)[0].error == "late"
