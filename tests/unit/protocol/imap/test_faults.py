"""Faults to response lines."""

from __future__ import annotations

import pytest

from mssante.errors import InputFault, OperatorFault, StorageFull
from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, encode_fault


@pytest.mark.parametrize(("fault", "line"), [
    (ClientFault(b"a", "expected a space", at=7), b"a BAD expected a space (at octet 7)\r\n"),
    (ClientFault(b"a", "unknown command"), b"a BAD unknown command\r\n"),
    (CommandRefused("no such folder", code="NONEXISTENT"), b"a NO [NONEXISTENT] no such folder\r\n"),
    (CommandRefused("no"), b"a NO no\r\n"),
    (SessionEnd("bye now"), b"* BYE bye now\r\n"),
    (StorageFull("x"), b"a NO [UNAVAILABLE] no room left, nothing was changed\r\n"),
    (InputFault("bad shape"), b"a NO [CANNOT] bad shape\r\n"),
    (OperatorFault("secret /path"), b"a NO [SERVERBUG] internal error, please try again later\r\n"),
    (KeyError("secret"), b"a NO [SERVERBUG] internal error, please try again later\r\n"),
])
def test_one_line_each(fault: Exception, line: bytes) -> None:
    assert encode_fault(fault, b"a") == line


def test_without_a_tag_it_is_untagged() -> None:
    assert encode_fault(ClientFault(None, "expected a tag"), None) == b"* BAD expected a tag\r\n"


def test_text_cannot_break_the_line_or_look_like_a_code() -> None:
    line = encode_fault(CommandRefused("[ALERT] a\r\nb BAD \u00e9\x00"), b"a")
    assert line == b"a NO (ALERT] a??b BAD ??\r\n"
    assert len(encode_fault(CommandRefused("x" * 5000), b"a")) < 500
    assert encode_fault(CommandRefused(""), b"a") == b"a NO -\r\n"
