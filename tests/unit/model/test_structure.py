"""What a body structure tells of a message."""

from __future__ import annotations

import pytest

from mssante.model.structure import is_plain, may_hold_document
from mssante.protocol.mime.imapview import facts


def structure(kind: bytes, name: bytes = b"") -> bytes:
    lines = b"From: a@b.fr\r\nContent-Type: " + kind + b"\r\n"
    if name:
        lines += b'Content-Disposition: attachment; filename="' + name + b'"\r\n'
    return facts(lines + b"\r\n--b\r\n\r\nx\r\n--b--\r\n").bodystructure


@pytest.mark.parametrize(("kind", "name"), [
    (b"text/plain", b""), (b"text/html; charset=utf-8", b""), (b"multipart/alternative; boundary=b", b""),
    (b"application/pdf", b"lettre.pdf"), (b"image/png", b"photo.png")])
def test_what_no_service_looks_into_is_plain(kind: bytes, name: bytes) -> None:
    assert is_plain(structure(kind, name)) and not may_hold_document(structure(kind, name))


@pytest.mark.parametrize(("kind", "name", "document"), [
    (b"application/zip", b"", True), (b"application/x-zip-compressed", b"", True), (b"application/pdf", b"IHE_XDM.ZIP", True),
    (b"text/xml", b"", True), (b"TEXT/XML", b"", True), (b"application/pdf", b"CDA.Xml", True),
    (b"multipart/report; boundary=b", b"", False), (b"multipart/signed; boundary=b", b"", False),
    (b"application/pkcs7-mime", b"", False), (b"application/x-pkcs7-signature", b"", False),
    (b"application/octet-stream", b"", False), (b"message/global", b"", False)])
def test_what_a_service_looks_into_is_not(kind: bytes, name: bytes, document: bool) -> None:
    assert not is_plain(structure(kind, name)) and may_hold_document(structure(kind, name)) is document
