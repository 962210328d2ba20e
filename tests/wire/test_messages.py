"""The JSON messages that open a session."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from ktl.errors import WireError
from ktl.wire import MOST_JSON_BYTES, SessionReply, SessionRequest, decode_message, encode_message

REQUEST = SessionRequest(
    num_classes=10,
    image_size=28,
    channels=1,
    pairs_per_class=70,
    download_bytes=1_000_000,
    alignment="robust",
    image_format="webp",
    seed=3,
)
REPLY = SessionReply(etf_seed=3, latent_dim=64, generator="builtin", licence="Apache-2.0 © Zoë", fingerprint="5f3a")


def refusal(payload: bytes, kind: type[Any] = SessionRequest) -> str:
    with pytest.raises(WireError) as refused:
        decode_message(payload, kind)
    text = str(refused.value)
    assert "\n" not in text
    assert 10 < len(text) < 300
    return text


def request_with(**changed: Any) -> bytes:
    return json.dumps({"version": 1} | asdict(REQUEST) | changed).encode()


def test_session_messages_survive_exactly() -> None:
    assert decode_message(encode_message(REQUEST), SessionRequest) == REQUEST
    assert decode_message(encode_message(REPLY), SessionReply) == REPLY


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("num_classes", "10", "num_classes is '10': expected int"),
        ("num_classes", True, "num_classes is True: expected int"),
        ("num_classes", 10.0, "num_classes is 10.0: expected int"),
        ("num_classes", None, "num_classes is None: expected int"),
        ("num_classes", [10], "num_classes is [10]: expected int"),
        ("num_classes", float("nan"), "num_classes is nan: expected int"),
        ("num_classes", 1, "num_classes is 1: must be between 2 and 1000"),
        ("num_classes", 10**30, "num_classes is 1000000000000000000000000000000: must be between 2 and 1000"),
        ("image_size", 3, "image_size is 3: must be between 4 and 1024"),
        ("image_size", 1025, "image_size is 1025: must be between 4 and 1024"),
        ("pairs_per_class", 0, "pairs_per_class is 0: must be between 1 and 1000"),
        ("pairs_per_class", -1, "pairs_per_class is -1: must be between 1 and 1000"),
        ("seed", -1, "seed is -1: must be between 0 and 9223372036854775807"),
        ("seed", 2**63, "seed is 9223372036854775808: must be between"),
        ("channels", 2, "channels is 2: choose one of 1, 3"),
        ("image_format", "jpeg", "image_format is 'jpeg': choose one of webp, png"),
        ("alignment", 7, "alignment is 7: expected str"),
        ("alignment", "robust\n\x1b[2J", r"alignment is 'robust\n\x1b[2J': expected printable text"),
        ("alignment", "\ud800", r"alignment is '\ud800': expected printable text"),
        ("version", 2, "wire version 2 is not supported: this ktl speaks version 1"),
        ("version", None, "wire version None is not supported"),
        ("version", True, "wire version True is not supported"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any, reason: str) -> None:
    assert reason in refusal(request_with(**{name: value}))


@pytest.mark.parametrize("value", [0, 65_537, True, "8"])
def test_a_reply_with_an_impossible_latent_dimension_is_refused(value: Any) -> None:
    payload = json.dumps({"version": 1} | asdict(REPLY) | {"latent_dim": value}).encode()
    assert f"latent_dim is {value!r}: " in refusal(payload, SessionReply)


def test_an_unknown_setting_is_refused_by_name() -> None:
    assert "['colour'] missing or unknown" in refusal(request_with(colour=1))


def test_a_missing_setting_is_refused_by_name() -> None:
    values = {"version": 1} | asdict(REQUEST)
    del values["seed"]
    assert "['seed'] missing or unknown" in refusal(json.dumps(values).encode())


def test_a_reply_is_no_request() -> None:
    assert "missing or unknown" in refusal(encode_message(REPLY))


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe\xfd", b"\0" * 100, b'{"version":1', b"[" * 8_000])
def test_what_is_no_json_is_refused_as_damaged(payload: bytes) -> None:
    assert "a damaged session message" in refusal(payload)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"3", b'"text"'])
def test_json_that_is_no_table_is_refused(payload: bytes) -> None:
    assert "expected a table" in refusal(payload)


def test_a_message_cut_short_at_any_byte_is_refused() -> None:
    payload = encode_message(REQUEST)
    for length in range(len(payload)):
        assert "a damaged session message" in refusal(payload[:length])


def test_an_oversized_message_is_refused_unread() -> None:
    text = refusal(b" " * MOST_JSON_BYTES + encode_message(REQUEST))
    assert f"at most {MOST_JSON_BYTES} are read" in text


@pytest.mark.parametrize("name", ["seed", "version"])
def test_a_deep_nested_value_is_refused_in_short(name: str) -> None:
    for depth in range(1, 1_200):
        refusal(request_with(**{name: "NEST"}).replace(b'"NEST"', b"[" * depth + b"]" * depth))


def test_a_long_hostile_name_or_value_is_quoted_in_short() -> None:
    refusal(request_with(**{"x\n" * 5_000: 1}))
    refusal(request_with(image_format="y" * 10_000))
