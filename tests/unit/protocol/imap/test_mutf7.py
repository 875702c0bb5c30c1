"""Modified UTF-7."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.imap import mutf7


@pytest.mark.parametrize(("text", "raw"), [
    ("INBOX", b"INBOX"),
    ("Entw\u00fcrfe", b"Entw&APw-rfe"),
    ("R&D", b"R&-D"),
    ("R\u00e9sultats/\u00c9t\u00e9", b"R&AOk-sultats/&AMk-t&AOk-"),
    ("~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
    ("\U0001f600", b"&2D3eAA-"),
    ("", b""),
])
def test_both_ways(text: str, raw: bytes) -> None:
    assert mutf7.encode(text) == raw
    assert mutf7.decode(raw) == text


@pytest.mark.parametrize("raw", [
    b"&AC8-",  # hides /
    b"a&AC8-b",
    b"&AEE-",  # hides A
    b"&ACY-",  # hides &
    b"&",
    b"a&b",
    b"&AOk",  # not closed
    b"&AOk-&AOk-",  # superfluous shift
    b"&AOl-x&-&AO-",  # half a unit
    b"&AOkA-",  # stray octet
    b"&AOn-x&AOl-"[:6] + b"\x80",
    b"&2D0-",  # lone surrogate
    b"&3gDYPQ-",  # surrogates in the wrong order
    b"&AOk=-",
    b"&A/k-",  # plain base64 alphabet
    b"caf\xc3\xa9",
    b"a\x00b",
    b"a\r\nb",
    b"a\x7fb",
    b"&AOl-"[:4] + b"/-",
    b"&AOkh-",  # stray bits
])
def test_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        mutf7.decode(raw)


def test_a_control_in_base64_is_shown_to_the_caller() -> None:
    """NUL has a form; folder names with it are refused by the tokens reader."""
    assert mutf7.decode(b"&AAA-") == "\x00"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_round_trip(text: str) -> None:
    assert mutf7.decode(mutf7.encode(text)) == text


@given(st.text("&-+,/AOk \u00e9", max_size=12).map(lambda text: text.encode("utf-8")) | st.binary(max_size=12))
def test_one_form_only(raw: bytes) -> None:
    try:
        text = mutf7.decode(raw)
    except ValueError:
        return
    assert mutf7.encode(text) == raw
