"""How edges agree on their classes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ktl.class_agreement import class_digest, is_agreed, read_class_names
from ktl.errors import UsageError
from ktl.protocol import CLASS_DIGEST


def test_the_same_names_in_the_same_order_are_agreed_on() -> None:
    digest = class_digest(["good", "scratched"])
    assert re.match(CLASS_DIGEST, digest)
    assert is_agreed(["good", "scratched"], digest)
    assert not is_agreed(["scratched", "good"], digest)
    assert not is_agreed(["good"], digest)
    assert class_digest(["good", "scratched"]) != digest  # of two sessions nobody can tell that they have the same


def test_names_come_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("good\n\n  cafe\u0301 au lait \r\n", encoding="utf-8")
    assert read_class_names(file) == ["good", "caf\u00e9 au lait"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"good\n", "has 1 names"),
        (b"a\nb\na\n", "has 'a' twice"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_list_of_classes_is_refused(content: bytes | None, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        read_class_names(file)
