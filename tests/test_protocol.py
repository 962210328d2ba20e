"""Digests of bodies as RFC 9530 writes them."""

from __future__ import annotations

import hashlib

import pytest

from ktl.protocol import digest_field, read_digests

SHA_256 = hashlib.sha256(b"body").digest()
FIELD = digest_field(SHA_256)


@pytest.mark.parametrize(
    "field",
    [
        FIELD,
        f"  {FIELD}\t",
        f'{FIELD};quality=0.5;by="a, b";final',
        f"md5=:YWJj:,{FIELD}",
        f"{FIELD} , sha-512=:YWJj:",
        f"sha-256=:YWJj:, {FIELD}",  # the last counts
        f"{FIELD[:-2]}:",  # without the padding of base64
    ],
)
def test_every_legal_form_is_read(field: str) -> None:
    assert read_digests(field)["sha-256"] == SHA_256


def test_a_field_of_no_digests_has_none() -> None:
    assert read_digests("") == {}


@pytest.mark.parametrize(
    "field", ["sha-256", "sha-256=abc", f"{FIELD},", f",{FIELD}", f"{FIELD} {FIELD}", FIELD.upper(), "sha-256=:?:", '"']
)
def test_what_is_no_list_of_digests_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="is no list of digests like sha-256=:BASE64:"):
        read_digests(field)
