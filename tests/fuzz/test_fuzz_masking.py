"""Fuzzing of the masking: a document invisible to the patient, put into a message in any way that a program may choose, is read as
such or told as unread; it never passes for nothing."""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
from functools import reduce

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.handing import cda
from support.structured_mail import archive

from mssante.documents.masking import INVISIBLE, departing
from mssante.services.departure import may_hold

_RAW = cda().replace(b'<confidentialityCode code="N"', b'<confidentialityCode code="INVISIBLE_PATIENT"')
_BARE = _RAW[_RAW.index(b"<ClinicalDocument"):].decode()
_PREFIXED = _BARE.replace("<ClinicalDocument", "<a:ClinicalDocument xmlns:a='urn:hl7-org:v3'").replace("</Clinical", "</a:Clinical")
_SIGNED, _DATA = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("06092a864886f70d010701")

BEFORE = st.lists(st.sampled_from(["<!-- x -->", "<!--" + "é" * 500 + "-->", "<?pi x?>", "\r\n" * 300, "\t", "<!DOCTYPE ClinicalDocument>",
                                   "<!DOCTYPE a [<!ENTITY b 'c'>]>", "<!-- <html> -->"]), max_size=4).map("".join)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "iso-8859-15", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
DOCUMENTS = st.tuples(st.sampled_from(["", "<?xml version='1.0'?>"]), BEFORE, st.sampled_from([_BARE, _PREFIXED]), ENCODINGS).map(
    lambda parts: "".join(parts[:3]).encode(parts[3], "xmlcharrefreplace"))
MEDIA = st.sampled_from([b"text/xml", b"text/plain", b"text/html", b"application/octet-stream", b"application/pdf; name=a.pdf", b"image/png",
                         b"application/zip; name=IHE_XDM.ZIP", b"nonsense", b"text/plain; name=\"lettre.eml.xml\""])


def tlv(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x84]) + len(content).to_bytes(4) + content


def signed(entity: bytes) -> bytes:
    inside = tlv(0x30, _DATA + tlv(0xA0, tlv(4, entity)))
    return tlv(0x30, _SIGNED + tlv(0xA0, tlv(0x30, b"\x02\x01\x01" + tlv(0x31, b"") + inside + tlv(0x31, b""))))


def zipped(content: bytes, name: str = "cr.xml") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr(name, content)
    return out.getvalue()


def coded(content: bytes, how: str) -> bytes:
    if how == "base64":
        return b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content)
    if how == "quoted-printable":
        return b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + binascii.b2a_qp(content, istext=False)
    return b"Content-Transfer-Encoding: " + how.encode() + b"\r\n\r\n" + content


CODINGS = st.sampled_from(["base64", "quoted-printable", "8bit", "binary"])
LEAVES = st.tuples(st.one_of(DOCUMENTS, DOCUMENTS.map(zipped), DOCUMENTS.map(lambda raw: zipped(zipped(raw), "a.zip")),
                             st.just(archive(_RAW))), MEDIA, CODINGS).map(
    lambda leaf: b"Content-Type: " + leaf[1] + b"\r\n" + coded(leaf[0], leaf[2]))
WRAPPERS = {
    "mixed": lambda part: b"Content-Type: multipart/mixed; boundary=xyz\r\n\r\n--xyz\r\n\r\nBonjour\r\n--xyz\r\n" + part + b"\r\n--xyz--\r\n",
    "cut": lambda part: b"Content-Type: multipart/mixed; boundary=zyx\r\n\r\n--zyx\r\n" + part,
    "message": lambda part: b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + part,
    "coded message": lambda part: b"Content-Type: message/rfc822\r\n" + coded(b"Subject: x\r\n" + part, "base64"),
    "file": lambda part: b"Content-Type: application/octet-stream; name=a.eml\r\n" + coded(part, "base64"),
    "signed": lambda part: b"Content-Type: application/pkcs7-mime\r\n" + coded(signed(part), "base64"),
}


def wrapped(part: bytes, wrappers: list[str]) -> bytes:
    return b"Subject: Bonjour\r\n" + reduce(lambda inner, name: WRAPPERS[name](inner), wrappers, part)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(LEAVES, st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=4, unique=True))
@example(b"Content-Type: text/plain\r\n\r\n" + _BARE.encode(), [])
def test_a_masked_document_never_passes_for_nothing(leaf: bytes, wrappers: list[str]) -> None:
    raw = wrapped(leaf, wrappers)
    found = departing(raw)
    assert found.hidden or any(INVISIBLE in codes for codes in found.masking)
    assert may_hold(raw)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400), MEDIA, st.sampled_from(["base64", "x-other", "7bit"]))
def test_any_octets_are_a_value(content: bytes, media: bytes, how: str) -> None:
    found = departing(b"Content-Type: " + media + b"\r\n" + coded(content, how))
    assert found.documents == 0 and found.masking == ()
