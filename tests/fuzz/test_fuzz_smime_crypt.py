"""Encrypted messages under hostile input: whatever the octets, a view or a typed fault; nothing altered is taken for the original.

Structures are altered before they are put in base64, so that most alterations reach the CMS reader; others alter the message.
"""

from __future__ import annotations

from functools import lru_cache

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.envelopes import (
    AES256_CBC,
    bob,
    bob_key,
    cbc_content,
    content_info,
    encrypt_for,
    envelope_message,
    enveloped,
    refusal,
    structure_of,
)
from support.smime import letter

from mssante.smime.ber import OCTET_STRING, PRIMITIVE_0, SEQUENCE, der, der_integer, der_oid
from mssante.smime.cms import ID_DATA, ID_ENVELOPED_DATA
from mssante.smime.decrypt import Opened, open_message, safe_view
from mssante.smime.efail import check_entity, has_remote_content
from mssante.smime.encrypt import encrypt_message
from mssante.smime.framing import algorithm, set_of
from mssante.smime.keys import load_key
from mssante.smime.recipients import wrap_for
from mssante.smime.values import Cipher, SmimeCode, SmimeFault, SmimeLimits

ENTITY = b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Le compte rendu est joint.</p>\r\n"
KEY, VECTOR = b"0123456789abcdef0123456789abcdef", b"vecteur initial!"
edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.sampled_from(["set", "flip", "drop", "add", "cut", "copy"]), st.binary(min_size=1, max_size=5)),
                 min_size=1, max_size=4)
FEW = settings(max_examples=150, deadline=None)


def edited(raw: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """Apply edits, positions taken modulo the length."""
    data = bytearray(raw)
    for at, kind, octets in changes:
        position = at % (len(data) + 1)
        if kind == "set":
            data[position:position + len(octets)] = octets
        elif kind == "flip" and position < len(data):
            data[position] ^= 1 << octets[0] % 8
        elif kind == "drop":
            del data[position:position + len(octets)]
        elif kind == "add":
            data[position:position] = octets
        elif kind == "cut":
            del data[position:]
        elif kind == "copy":
            data[position:position] = data[position:position + 40]
    return bytes(data)


@lru_cache(maxsize=8)
def good(kind: str, gcm: bool) -> bytes:
    """Give a structure that opens."""
    if gcm:
        return structure_of(encrypt_for(ENTITY, Cipher.AES256_GCM, kind))
    return enveloped(ENTITY, bob(kind), version=0 if kind == "rsa" else 2)


def tried(message: bytes, kind: str) -> Opened | None:
    """Open; None when it is refused as it should be. Any other exception goes through and fails the test."""
    try:
        return open_message(message, [bob_key(kind)], limits=SmimeLimits(message_bytes=1 << 20, depth=3, count=10))
    except SmimeFault as fault:
        assert fault.public.isascii() and isinstance(fault.code, SmimeCode)
        assert "compte rendu" not in str(fault)
        return None


@FEW
@given(changes=edits, kind=st.sampled_from(["rsa", "P-256"]))
def test_an_altered_gcm_structure_opens_to_the_original_or_not_at_all(changes: list[tuple[int, str, bytes]], kind: str) -> None:
    opened = tried(envelope_message(edited(good(kind, True), changes), kind=b""), kind)
    if opened is not None:
        assert opened.message.endswith(ENTITY) and opened.authenticated


@FEW
@given(changes=edits, kind=st.sampled_from(["rsa", "P-256"]))
def test_an_altered_cbc_structure_never_fetches(changes: list[tuple[int, str, bytes]], kind: str) -> None:
    opened = tried(envelope_message(edited(good(kind, False), changes)), kind)
    if opened is not None and not opened.authenticated:
        try:
            assert not has_remote_content(safe_view(opened, signature_holds=False).message)
        except SmimeFault as fault:
            assert fault.code is SmimeCode.UNSAFE


@FEW
@given(changes=edits)
def test_altered_messages(changes: list[tuple[int, str, bytes]]) -> None:
    tried(edited(envelope_message(good("rsa", True), kind=b"authEnveloped-data"), changes), "rsa")


@FEW
@given(octets=st.binary(max_size=400))
def test_any_octets_as_a_structure(octets: bytes) -> None:
    tried(envelope_message(octets), "rsa")
    tried(envelope_message(b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80" + octets), "rsa")
    tried(b"Content-Type: application/pkcs7-mime\r\n\r\n" + octets, "rsa")


@FEW
@given(content=st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(
    [b"Content-Type: text/html\r\n", b"Content-Type: multipart/mixed; boundary=x\r\n", b"\r\n", b"--x\r\n", b"--x--\r\n", b"<img src=", b"http://a/", b"\0",
     b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: application/pkcs7-mime\r\n", b"<p>", b"\xff\x91", b"Content-Type: message/rfc822\r\n"]),
    max_size=12).map(b"".join)))
def test_any_content_under_our_key(content: bytes) -> None:
    """Whoever has the certificate can encrypt anything: the content is hostile too."""
    structure = content_info(ID_ENVELOPED_DATA, der_integer(0), set_of([wrapped()]),
                             der(SEQUENCE, der_oid(ID_DATA), algorithm(AES256_CBC, der(OCTET_STRING, VECTOR)), der(PRIMITIVE_0, cbc_content(content, KEY, VECTOR))))
    opened = tried(envelope_message(structure), "rsa")
    if opened is not None:
        check_entity(content)
        assert b"\0" not in opened.message or b"binary" in opened.message


@lru_cache(maxsize=1)
def wrapped() -> bytes:
    return wrap_for(bob().certificate, KEY, oaep=False)


@FEW
@given(recipient=st.binary(max_size=200), parameters=st.binary(max_size=40))
def test_any_recipient_and_any_parameters(recipient: bytes, parameters: bytes) -> None:
    content = der(SEQUENCE, der_oid(ID_DATA), algorithm(AES256_CBC, parameters), der(PRIMITIVE_0, b"x" * 32))
    tried(envelope_message(content_info(ID_ENVELOPED_DATA, der_integer(0), der(0x31, recipient, wrapped()), content)), "rsa")
    tried(envelope_message(content_info(ID_ENVELOPED_DATA, der_integer(0), der(0x31, der(0xA1, recipient), wrapped()), content)), "rsa")


@FEW
@given(raw=st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda body: letter(body))))
@example(raw=b"Content-Type:application/pkcs7-mime")
def test_whatever_is_encrypted_comes_back(raw: bytes) -> None:
    """But for what says that it is CMS itself and is none: that is told as unreadable, with the original kept."""
    message = encrypt_message(raw, [bob("P-256").certificate])
    opened = tried(message, "P-256")
    allowed = {SmimeCode.CONFUSED, *([SmimeCode.UNREADABLE] if b"pkcs7" in raw.lower() else [])}
    assert opened is not None or refusal(lambda: open_message(message, [bob_key("P-256")])) in allowed
    if opened is not None and b"\r\n\r\n" in raw and b"\n\n" not in raw and raw.startswith(b"From:"):
        assert opened.message.partition(b"\r\n\r\n")[2] == raw.partition(b"\r\n\r\n")[2]


@FEW
@given(key=st.binary(max_size=200), certificates=st.binary(max_size=100), password=st.one_of(st.none(), st.binary(max_size=5)))
def test_any_octets_as_a_key(key: bytes, certificates: bytes, password: bytes | None) -> None:
    assert refusal(lambda: load_key(key, certificates, password)) in SmimeCode
    assert refusal(lambda: load_key(b"-----BEGIN PRIVATE KEY-----\n" + key, b"-----BEGIN CERTIFICATE-----\n" + certificates, password)) in SmimeCode


@FEW
@given(page=st.text(max_size=200), kind=st.sampled_from([b"text/html", b"image/svg+xml", b"text/css", b"text/plain"]))
def test_looking_for_references_never_fails(page: str, kind: bytes) -> None:
    assert has_remote_content(b"Content-Type: " + kind + b"\r\n\r\n" + page.encode("utf-8", "replace")) in (True, False)
