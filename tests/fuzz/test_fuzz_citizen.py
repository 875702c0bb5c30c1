"""Any octets through what reads messages of and to citizens: no fault, no markup, bounded names."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.documents.patients import cx_identity, patients_of
from mssante.model.message import FolderRow
from mssante.protocol.mime.headers import parse_headers
from mssante.services.citizen import identifiers, is_sealed, read_end, reply_to_of
from mssante.services.citizen_bounces import folded, read_return
from mssante.services.citizen_reading import LetterShown, read_file, read_letter

ROW = FolderRow(1, 1, 0, "", datetime(2026, 11, 23, tzinfo=UTC), 10, 1)
PIECES = st.sampled_from([
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
    b"Subject: Message non distribu\xe9\r\n", b"In-Reply-To: <a@b>\r\n", b"\r\n", b"--b\r\n", b"--b--\r\n", b"Action: failed\r\nStatus: 5.1.1\r\n",
    b"Content-Type: message/delivery-status\r\n\r\n", b"Content-Type: text/html\r\n", b"PK\x03\x04", b"%PDF-1.4", b"Reply-To: <x@y.fr>\r\n",
    b"Content-Disposition: attachment; filename*=utf-8''%00%0d%0a..%2f\r\n", b"Content-Transfer-Encoding: base64\r\n", b"<script>", b"\xff\xfe"])
MESSAGES = st.lists(PIECES | st.binary(max_size=60), max_size=25).map(b"".join)


@settings(max_examples=250)
@given(MESSAGES)
def test_messages(raw: bytes) -> None:
    read_return(raw)
    patients_of(raw)
    headers = parse_headers(raw)
    reply_to_of(headers)
    read_end(headers)
    is_sealed(headers)
    shown = read_letter(raw, LetterShown.of(ROW, 1, raw, mine=False))
    assert "@" not in shown.who
    assert all(one.isprintable() or one in "\n\t" for one in shown.text)
    for listed in shown.files:
        assert len(listed.name) <= 100 and not set(listed.name) & set("/\\\r\n\0\"<>")
        found = read_file(raw, listed.number)
        assert (found is not None) == bool(listed.kind)


@given(st.text(max_size=300))
def test_texts(text: str) -> None:
    cx_identity(text)
    folded(text)
    assert all(one.startswith("<") and one.endswith(">") for one in identifiers(text))
