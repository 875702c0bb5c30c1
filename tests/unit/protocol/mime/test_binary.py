"""NUL octets of an appended message: parts that hold them become base64, and nothing else moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.mime.binary import without_nul
from mssante.protocol.mime.scan import scan
from mssante.protocol.mime.sections import decode_part

MULTIPART = (b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
             b"--b\r\n\r\ntexte\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding:\r\n binary\r\n"
             b"Content-Description: d\r\n\r\n\0\1\r\n\0\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\na\0b\r\n--b--\r\n")


def test_only_the_parts_with_nul_change() -> None:
    mended = without_nul(MULTIPART)
    assert mended == MULTIPART.replace(b"Content-Transfer-Encoding:\r\n binary\r\n", b"Content-Transfer-Encoding: base64\r\n").replace(
        b"\0\1\r\n\0", b"AAENCgA=").replace(b"Subject: in\r\n\r\na\0b", b"Subject: in\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi")


def test_a_message_without_nul_stays() -> None:
    text = MULTIPART.replace(b"\0", b"0")
    assert without_nul(text) == text


@pytest.mark.parametrize("message", [
    b"Subject: \0\r\n\r\nx", b"no header end \0", MULTIPART.replace(b"--b\r\n\r\ntexte", b"pre\0amble\r\n--b\r\n\r\ntexte"),
    b"Content-Transfer-Encoding: base64\r\n\r\nAA\0A", b"Content-Transfer-Encoding: x-other\r\n\r\n\0",
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno part \0",
    b"Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64\r\n\r\n\0"])
def test_what_cannot_be_mended(message: bytes) -> None:
    assert without_nul(message) is None


@given(st.binary(max_size=400), st.sampled_from([b"", b"Content-Transfer-Encoding: BINARY\r\n", b"content-transfer-encoding : 8bit\r\n"]))
def test_binary_octets_stay_what_they_were(body: bytes, field: bytes) -> None:
    message = b"Subject: x\r\n" + field + b"\r\n" + body
    mended = without_nul(message)
    assert mended is not None
    part = scan(mended)
    assert b"\0" not in mended
    assert decode_part(mended[part.body_start:part.body_end], part.headers.get(b"content-transfer-encoding") or b"") == body
    assert max(map(len, mended.split(b"\r\n"))) <= 76 or b"\0" not in body
