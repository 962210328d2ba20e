"""The JSON messages that open a session."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from ktl.errors import WireError
from ktl.wire import MAX_JSON_BYTES, SessionReply, SessionRequest, decode_message, encode_message

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
        ("num_classes", "10", "num_classes is '10': expected a whole number of at least 2 and at most 1000"),
        ("num_classes", True, "num_classes is True: expected a whole number of at least 2 and at most 1000"),
        ("num_classes", 10.0, "num_classes is 10.0: expected a whole number of at least 2 and at most 1000"),
        ("num_classes", None, "num_classes is None: expected a whole number of at least 2 and at most 1000"),
        ("num_classes", [10], "num_classes is [10]: expected a whole number of at least 2 and at most 1000"),
        ("num_classes", 1, "num_classes is 1: expected a whole number of at least 2 and at most 1000"),
        (
            "num_classes",
            10**30,
            "num_classes is 1000000000000000000000000000000: expected a whole number of at least 2 and at most 1000",
        ),
        ("image_size", 3, "image_size is 3: expected a whole number of at least 4 and at most 1024"),
        ("image_size", 1025, "image_size is 1025: expected a whole number of at least 4 and at most 1024"),
        ("pairs_per_class", 0, "pairs_per_class is 0: expected a whole number of at least 1 and at most 1000"),
        ("pairs_per_class", -1, "pairs_per_class is -1: expected a whole number of at least 1 and at most 1000"),
        ("seed", -1, "seed is -1: expected a whole number of at least 0 and at most 9223372036854775807"),
        ("seed", 2**63, "seed is 9223372036854775808: expected a whole number"),
        ("channels", 2, "channels is 2: expected one of 1, 3"),
        ("image_format", "jpeg", "image_format is 'jpeg': expected one of webp, png"),
        ("alignment", 7, "alignment is 7: expected text"),
        ("alignment", "robust\n\x1b[2J", r"alignment is 'robust\n\x1b[2J': expected printable text"),
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


@pytest.mark.parametrize(
    "value",
    [[1], "deep", {"spread": [1]}, {"spread": {"a": 1}}, None],
)
def test_alignment_settings_that_are_no_table_of_plain_values_are_refused(value: Any) -> None:
    reason = "expected a table of numbers, texts, true, false or null"
    assert f"alignment_settings is {value!r}: {reason}" in refusal(request_with(alignment_settings=value))


@pytest.mark.parametrize("value", [{"a\n": 1}, {"a": "\x1b[2J"}])
def test_alignment_settings_are_printable(value: Any) -> None:
    assert "expected printable text" in refusal(request_with(alignment_settings=value))


def test_alignment_settings_travel_and_empty_ones_are_left_out() -> None:
    settings = {"epochs": 5, "rate": 0.5, "text": "x", "on": True, "weight": None}
    request = replace(REQUEST, alignment_settings=settings)
    assert decode_message(encode_message(request), SessionRequest) == request
    assert b"alignment_settings" not in encode_message(REQUEST)
    assert decode_message(request_with(alignment_settings={}), SessionRequest) == REQUEST


def test_the_bytes_are_those_of_every_release() -> None:
    expected = (
        b'{"version":1,"num_classes":10,"image_size":28,"channels":1,"pairs_per_class":70,"download_bytes":1000000,'
        b'"alignment":"robust","image_format":"webp","seed":3}'
    )
    assert encode_message(REQUEST) == expected
    assert encode_message(REPLY).endswith(b'"licence":"Apache-2.0 \\u00a9 Zo\\u00eb","fingerprint":"5f3a"}')


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff\xfe\xfd", b"\0" * 100, b'{"version":1', b"[" * 8_000, b"9" * 5_000, b'{"\x85":1}']
)
def test_what_is_no_json_is_refused_as_damaged(payload: bytes) -> None:
    assert "a damaged session message" in refusal(payload)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_numbers_and_texts_that_json_does_not_have_are_refused_as_damaged(value: Any) -> None:
    assert "a damaged session message" in refusal(request_with(alignment=value))


@pytest.mark.parametrize("payload", [b"[]", b"null", b"3", b'"text"'])
def test_json_that_is_no_table_is_refused(payload: bytes) -> None:
    assert "expected a table" in refusal(payload)


def test_a_message_cut_short_at_any_byte_is_refused() -> None:
    payload = encode_message(REQUEST)
    for length in range(len(payload)):
        assert "a damaged session message" in refusal(payload[:length])


def test_an_oversized_message_is_refused_unread() -> None:
    text = refusal(b" " * MAX_JSON_BYTES + encode_message(REQUEST))
    assert f"at most {MAX_JSON_BYTES} are read" in text


@pytest.mark.parametrize("name", ["seed", "version"])
def test_a_deep_nested_value_is_refused_in_short(name: str) -> None:
    for depth in range(1, 1_200):
        refusal(request_with(**{name: "NEST"}).replace(b'"NEST"', b"[" * depth + b"]" * depth))


def test_a_long_hostile_name_or_value_is_quoted_in_short() -> None:
    refusal(request_with(**{"x\n" * 5_000: 1}))
    refusal(request_with(image_format="y" * 10_000))
