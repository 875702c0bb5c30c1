"""Any octets give a preview that is short, printable and safe to write; entries of METADATA never get past their grammar."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap.commands.metadata import parse_getmetadata, parse_setmetadata
from mssante.protocol.imap.faults import ClientFault, CommandRefused
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.mime.preview import LENGTH, preview

HEADS = st.sampled_from([b"", b"Content-Type: text/html\r\n\r\n", b"Content-Type: text/plain; charset=utf-16\r\n\r\n",
                         b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n",
                         b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"])


@settings(max_examples=150, deadline=None)
@given(HEADS, st.binary(max_size=500))
def test_preview(head: bytes, body: bytes) -> None:
    found = preview(head + body)
    assert len(found) <= LENGTH and found.isprintable() and found == found.strip()
    found.encode("utf-8", "strict")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b" ", b"(", b")", b"/shared/", b"/private/a", b'"', b"NIL", b"~", b"{1}\r\n", b"DEPTH", b"1", b"INBOX", b"\xc3", b"*"]),
                max_size=12))
def test_metadata(pieces: list[bytes]) -> None:
    for parse in (parse_getmetadata, parse_setmetadata):
        try:
            found = parse(Tokens(b"a", b" " + b"".join(pieces), literals=(b"\0",)))
        except (ClientFault, CommandRefused):
            continue
        names = found.entries if hasattr(found, "entries") else [entry for entry, _ in found.changes]
        assert names and all(name.isascii() and name.startswith(("/shared", "/private")) and "*" not in name for name in names)
