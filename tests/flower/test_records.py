"""What messages hold is checked where it is read."""

from __future__ import annotations

import msgspec
import pytest

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from flwr.app import ConfigRecord, RecordDict

from ktl.errors import WireError
from ktl.flower.records import Answer, Order, packed, unpacked

ORDER = Order("0123456789abcdef", client=2, version=1, round=3, message=b"abc")


def test_what_is_packed_is_read_again() -> None:
    assert unpacked(packed(ORDER), Order) == ORDER
    answer = Answer(message=b"x", right=3, tested=4, losses={"shot_loss": 0.5, "pair_loss": None})
    assert unpacked(packed(answer), Answer) == answer


@pytest.mark.parametrize(
    "change",
    [
        {"run": "../../somewhere else"},
        {"client": -1},
        {"version": "1"},
        {"round": 2**40},
        {"message": 3},
        {"client": None},
    ],
)
def test_values_that_are_none_are_refused(change: dict[str, object]) -> None:
    table = msgspec.msgpack.decode(msgspec.msgpack.encode(ORDER)) | change
    with pytest.raises(WireError, match="a damaged order"):
        unpacked(packed(table), Order)


def test_other_contents_are_refused() -> None:
    for content in (
        RecordDict(),
        RecordDict({"ktl": ConfigRecord({"body": "text"})}),
        RecordDict({"x": ConfigRecord()}),
    ):
        with pytest.raises(WireError, match="is it from ktl"):
            unpacked(content, Order)
    for body in (b"", b"\xc1", packed(ORDER).config_records["ktl"]["body"][:-2]):  # type: ignore[index]
        with pytest.raises(WireError, match="is the same ktl at both ends"):
            unpacked(RecordDict({"ktl": ConfigRecord({"body": body})}), Order)
