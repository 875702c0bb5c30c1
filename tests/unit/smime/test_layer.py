"""What stands on top of a message, read from shapes only."""

from __future__ import annotations

import pytest
from support.smime import ALICE, ENTITY, HandMade, clear_entity, letter, message_of, mixed, opaque_entity, p7s_part

from mssante.smime.ber import SEQUENCE, der, der_integer, der_oid
from mssante.smime.layer import NO_LAYER, LayerKind, cms_octets, find_layer
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits

ENVELOPED, AUTH_ENVELOPED = "1.2.840.113549.1.7.3", "1.2.840.113549.1.9.16.1.23"
PDF = b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n"


def structure(oid: str) -> bytes:
    """The first fields of a ContentInfo of some type."""
    return der(SEQUENCE, der_oid(oid), der(0xA0, der(SEQUENCE, der_integer(0), bytes(300))))


def pkcs7(oid: str, kind: bytes = b"application/pkcs7-mime") -> bytes:
    """A message whose body is such a structure."""
    return message_of(opaque_entity(structure(oid), kind=kind))


@pytest.mark.parametrize("raw", [
    letter(), b"", b"\r\n", b"Subject: x", letter(content=b""), letter(content=b"Content-Type: text/html\r\n"),
    message_of(PDF),
], ids=["text", "empty", "no header", "header only", "no type", "html", "pdf"])
def test_ordinary_mail_is_told_from_its_header(raw: bytes) -> None:
    assert find_layer(raw) is NO_LAYER


@pytest.mark.parametrize("raw", [
    message_of(mixed(ENTITY, PDF)), message_of(mixed(ENTITY, mixed(PDF, boundary=b"b"))),
    message_of(mixed(ENTITY, b"Content-Type: message/rfc822\r\n\r\n" + letter())),
    message_of(b"Content-Type: application/octet-stream; name=notes.bin\r\n\r\nabc\r\n"),
    message_of(b"Content-Type: application/octet-stream; name=smime.p7m\r\n\r\nnot a structure\r\n"),
    message_of(b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=p\r\n\r\n--p\r\n' + ENTITY
               + b"\r\n--p\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--p--\r\n"),
], ids=["mixed", "nested", "forwarded", "octets", "p7m that is none", "pgp"])
def test_mail_in_parts_without_smime(raw: bytes) -> None:
    layer = find_layer(raw)
    assert (layer.kind, layer.nested_signed, layer.nested_encrypted) == (LayerKind.NONE, False, False)


@pytest.mark.parametrize(("raw", "kind"), [
    (message_of(clear_entity(ENTITY, HandMade().build())), LayerKind.CLEAR_SIGNED),
    (message_of(clear_entity(ENTITY, HandMade().build()).replace(b"pkcs7-signature", b"X-PKCS7-SIGNATURE")), LayerKind.CLEAR_SIGNED),
    (message_of(opaque_entity(HandMade(attach=True).build())), LayerKind.OPAQUE_SIGNED),
    (pkcs7(ENVELOPED), LayerKind.ENVELOPED),
    (pkcs7(AUTH_ENVELOPED), LayerKind.AUTH_ENVELOPED),
    (pkcs7(ENVELOPED, b"APPLICATION/X-PKCS7-MIME; smime-type=signed-data"), LayerKind.ENVELOPED),
    (pkcs7(ENVELOPED, b"application/octet-stream; name=smime.P7M"), LayerKind.ENVELOPED),
    (pkcs7(ENVELOPED, b"application/octet-stream; name*=utf-8''smime%2Ep7m"), LayerKind.ENVELOPED),
    (message_of(b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=smime.p7m\r\n"
                b"Content-Transfer-Encoding: binary\r\n\r\n" + structure(ENVELOPED)), LayerKind.ENVELOPED),
    (pkcs7("1.2.840.113549.1.9.16.1.9"), LayerKind.UNREADABLE),
    (message_of(opaque_entity(b"not a structure")), LayerKind.UNREADABLE),
    (message_of(b"Content-Type: application/pkcs7-mime\r\n\r\n"), LayerKind.UNREADABLE),
    (message_of(p7s_part(HandMade().build())), LayerKind.UNREADABLE),
], ids=["clear", "clear, old name", "opaque", "enveloped", "auth-enveloped", "type against parameter", "octet-stream p7m",
        "octet-stream p7m, RFC 2231", "binary", "compressed", "broken", "empty", "signature alone"])
def test_kind_is_that_of_the_structure(raw: bytes, kind: LayerKind) -> None:
    layer = find_layer(raw)
    assert layer.kind is kind
    assert layer.is_signed is (kind in (LayerKind.CLEAR_SIGNED, LayerKind.OPAQUE_SIGNED))
    assert layer.is_encrypted is (kind in (LayerKind.ENVELOPED, LayerKind.AUTH_ENVELOPED))


@pytest.mark.parametrize(("part", "signed", "encrypted"), [
    (clear_entity(ENTITY, HandMade().build()), True, False),
    (opaque_entity(HandMade(attach=True).build()), True, False),
    (p7s_part(HandMade().build()), True, False),
    (opaque_entity(structure(ENVELOPED)), False, True),
    (opaque_entity(structure(AUTH_ENVELOPED), kind=b"application/octet-stream; name=a.p7m"), False, True),
    (opaque_entity(b"broken"), False, True),
    (b"Content-Type: message/rfc822\r\n\r\n" + message_of(clear_entity(ENTITY, HandMade().build(), boundary=b"i")), True, False),
    (b"Content-Type: message/rfc822\r\n\r\n" + pkcs7(ENVELOPED), False, True),
], ids=["clear", "opaque", "p7s", "enveloped", "octet-stream", "broken", "signed mail attached", "encrypted mail attached"])
def test_parts_below_the_top(part: bytes, signed: bool, encrypted: bool) -> None:
    for raw in (message_of(mixed(ENTITY, part)), message_of(mixed(mixed(part, boundary=b"dedans"), ENTITY))):
        layer = find_layer(raw)
        assert (layer.kind, layer.nested_signed, layer.nested_encrypted) == (LayerKind.NONE, signed, encrypted)


def test_claimed_type_is_kept_for_the_log() -> None:
    assert find_layer(pkcs7(ENVELOPED, b"application/pkcs7-mime; smime-type=Signed-Data")).claimed == "signed-data"


@pytest.mark.parametrize("raw", [
    b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 20_000,
    b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3_000)),
    b"Content-Type: application/pkcs7-mime" + b"; a=b" * 50_000 + b"\r\n\r\n",
    b"Content-Type: multipart/signed; boundary=a\r\n\r\n" + b"--a\r\n" * 50_000,
    b"X: multipart\r\n" * 100_000,
], ids=["same boundary", "deep", "parameters", "parts", "fields"])
def test_hostile_shapes_give_an_answer(raw: bytes) -> None:
    assert find_layer(raw).kind in LayerKind


def test_cms_octets_are_strict() -> None:
    limits = SmimeLimits(message_bytes=10_000)

    def octets(raw: bytes) -> bytes:
        root = find_layer(raw).root
        assert root is not None
        return cms_octets(raw, root, limits)

    good = pkcs7(ENVELOPED)
    assert octets(good) == structure(ENVELOPED)
    for raw, code in [(good + b"!\r\n", SmimeCode.CONFUSED), (good[:-4] + b"=\r\n", SmimeCode.CONFUSED),
                      (good + b"QUJD\r\n" * 2000, SmimeCode.LIMIT),
                      (good.replace(b"MIME-Version: 1.0", b"Content-Transfer-Encoding: 7bit"), SmimeCode.CONFUSED)]:
        with pytest.raises(SmimeFault) as fault:
            octets(raw)
        assert fault.value.code is code
    assert ALICE.encode() in good
