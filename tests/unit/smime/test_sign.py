"""Signing: what moves, what stays, what is refused, and that all we make is believed by our own reader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from support.pki import key_for
from support.smime import (
    ALICE,
    ENTITY,
    NOW,
    HandMade,
    Person,
    admit,
    alice,
    alice_ec,
    authority,
    certificate_der,
    clear_entity,
    ec_key,
    edward,
    letter,
    mallory,
    message_of,
    mixed,
    opaque_entity,
    person,
)

from mssante.errors import OperatorFault
from mssante.smime.cms import read_signed_data
from mssante.smime.layer import LayerKind, cms_octets, find_layer
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits
from mssante.smime.verify import signed_content, verify_message

BOTH = pytest.mark.parametrize("opaque", [False, True], ids=["clear", "opaque"])
FIELDS = (b"Received: from a by b;\r\n\tMon, 23 Nov 2026 06:00:00 +0000\r\nDKIM-Signature: v=1;  b=\r\n abc\r\nX-Odd:no space\r\n"
          b"from: alice.martin@clinique.mssante.example\r\nSUBJECT:  =?utf-8?q?=C3=A9?=   \r\nX-Contents: stays\r\n")
CONTENT = b"content-TYPE: text/plain;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
LANGUAGE = b"Content-Language: fr\r\n"


@dataclass(frozen=True, slots=True)
class FalseKey(Person):
    """A key whose signatures are those of another."""

    def sign(self, data: bytes) -> bytes:
        return mallory().sign(data)


def valid(raw: bytes, author: str = ALICE) -> bool:
    """Our own verdict."""
    return verify_message(raw, author=author, check=admit, now=NOW).signature is SmimeCode.VALID


@BOTH
@pytest.mark.parametrize("who", [alice(), alice_ec(), person(ALICE, ec_key("c", "P-384")), person(ALICE, key_for("long", 3072))],
                         ids=["rsa-2048", "p256", "p384", "rsa-3072"])
@pytest.mark.parametrize("body", [b"", b"\r\n", b"x", b"Bonjour\r\n", "Été\r\n".encode(), b"--\r\n-- \r\n\r\n\r\n", b" \t\r\n"])
def test_what_we_sign_we_believe(opaque: bool, who: Person, body: bytes) -> None:
    signed = sign_message(letter(body), who, opaque=opaque, now=NOW)
    assert valid(signed)
    assert signed_content(signed) == b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body


@BOTH
def test_fields_stay_or_move_octet_for_octet(opaque: bool) -> None:
    raw = FIELDS + CONTENT + b"MIME-VERSION: 1.0 (x)\r\n" + LANGUAGE + b"X-Last: y\r\n\r\n" + "à\r\n".encode()
    signed = sign_message(raw, alice(), opaque=opaque, now=NOW)
    outside = signed.partition(b"\r\n\r\n")[0]
    assert outside.startswith(FIELDS + b"MIME-VERSION: 1.0 (x)\r\nX-Last: y\r\nContent-Type: ")
    assert outside.upper().count(b"MIME-VERSION") == 1
    assert signed_content(signed) == CONTENT + LANGUAGE + b"\r\n" + "à\r\n".encode()
    assert valid(signed)


@BOTH
def test_mime_version_and_type_are_added_when_missing(opaque: bool) -> None:
    raw = b"From: " + ALICE.encode() + b"\r\nSubject: x\r\n\r\nBonjour\r\n"
    signed = sign_message(raw, alice(), opaque=opaque, now=NOW)
    assert signed.startswith(b"From: " + ALICE.encode() + b"\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: ")
    assert signed_content(signed) == b"Content-Type: text/plain; charset=us-ascii\r\n\r\nBonjour\r\n"
    accented = sign_message(raw.replace(b"Bonjour", "Été".encode()), alice(), opaque=opaque, now=NOW)
    assert signed_content(accented).startswith(b"Content-Type: text/plain; charset=utf-8\r\n\r\n")
    assert valid(signed) and valid(accented)


def test_eight_bits_are_kept_and_said_outside() -> None:
    signed = sign_message(letter("Été\r\n".encode()), alice(), now=NOW)
    outside, _, rest = signed.partition(b"\r\n\r\n")
    assert b"Content-Transfer-Encoding: 8bit" in outside and "Été".encode() in rest
    assert b"8bit" not in sign_message(letter(), alice(), now=NOW)
    opaque = sign_message(letter("Été\r\n".encode()), alice(), opaque=True, now=NOW)
    assert opaque.isascii() and b"Content-Transfer-Encoding: base64" in opaque


def test_form_of_the_two_kinds() -> None:
    clear = sign_message(letter(), alice(), now=NOW)
    assert b'multipart/signed; protocol="application/pkcs7-signature";\r\n\tmicalg=sha-256; boundary="' in clear
    assert find_layer(clear).kind is LayerKind.CLEAR_SIGNED
    opaque = sign_message(letter(), alice(), opaque=True, now=NOW)
    assert b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n' in opaque
    assert find_layer(opaque).kind is LayerKind.OPAQUE_SIGNED
    for raw in (clear, opaque):
        assert max(len(line) for line in raw.split(b"\r\n")) <= 78
        assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")


def test_signing_is_repeatable_with_rsa() -> None:
    assert sign_message(letter(), alice(), now=NOW) == sign_message(letter(), alice(), now=NOW)


def test_chain_goes_without_its_root() -> None:
    middle = person("ac.intermediaire@x.example", key_for("middle"))
    who = Person(alice().certificate, alice().key, (middle.certificate, authority().certificate))
    raw = sign_message(letter(), who, now=NOW)
    root = find_layer(raw).root
    assert root is not None
    data = read_signed_data(cms_octets(raw, root.children[1], SmimeLimits()), SmimeLimits())
    assert set(data.certificates) == {certificate_der(alice()), certificate_der(middle)}
    assert len(data.signers) == 1 and data.content is None


def test_certificate_to_encrypt_to_is_named_and_sent() -> None:
    other = person(ALICE, key_for("encryption"), usage=("key_encipherment",))
    signed = sign_message(letter(), alice(), now=NOW, encryption=other.certificate)
    verdict = verify_message(signed, author=ALICE, check=admit, now=NOW)
    assert verdict.certificates == (alice().certificate, other.certificate)
    only = person(ALICE, ec_key("only"), usage=("digital_signature",))
    assert verify_message(sign_message(letter(), only, now=NOW), author=ALICE, check=admit, now=NOW).certificates == (only.certificate,)


@pytest.mark.parametrize("year", [2026, 2049, 2050, 2077])
def test_signing_time_in_both_forms(year: int) -> None:
    instant = datetime(year, 3, 1, 12, 30, 15, tzinfo=UTC)
    signed = sign_message(letter(), alice(), now=instant)
    assert verify_message(signed, author=ALICE, check=admit, now=NOW).signed_at == instant


@BOTH
def test_forwarded_signed_mail_can_be_signed(opaque: bool) -> None:
    inner = b"Content-Type: message/rfc822\r\n\r\n" + message_of(clear_entity(ENTITY, HandMade().build()))
    assert valid(sign_message(message_of(mixed(ENTITY, inner)), alice(), opaque=opaque, now=NOW))


REFUSED = {
    "bare line feed": letter(b"a\nb\r\n"), "bare carriage return": letter(b"a\rb\r\n"), "NUL": letter(b"a\0b\r\n"),
    "already signed": message_of(clear_entity(ENTITY, HandMade().build())),
    "already signed, opaque": message_of(opaque_entity(HandMade(attach=True).build())),
    "broken S/MIME": message_of(opaque_entity(b"broken")),
    "two types": letter(header=b"Content-Type: text/html\r\n"),
    "two encodings": letter(header=b"Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 7bit\r\n"),
    "line without a field": letter(header=b"hello\r\n"), "folded blank line": letter(header=b"X: 1\r\n \r\n"),
    "fold first": b" a\r\n" + letter(),
}


@BOTH
@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_refused(raw: bytes, opaque: bool) -> None:
    with pytest.raises(SmimeFault) as fault:
        sign_message(raw, alice(), opaque=opaque, now=NOW)
    assert fault.value.code is SmimeCode.CONFUSED
    assert fault.value.remedy and fault.value.public.isascii() and fault.value.rule == "SMIME-CONFUS"


@pytest.mark.parametrize("who", [edward(), person(ALICE, key_for("short", 1024))], ids=["ed25519", "rsa-1024"])
def test_keys_that_we_do_not_write_with(who: Person) -> None:
    with pytest.raises(SmimeFault) as fault:
        sign_message(letter(), who, now=NOW)
    assert fault.value.code is SmimeCode.ALGORITHM


def test_key_that_signs_falsely_is_our_fault_and_nothing_leaves() -> None:
    with pytest.raises(OperatorFault) as fault:
        sign_message(letter(), FalseKey(alice().certificate, alice().key), now=NOW)
    assert fault.value.rule == "SMIME-CLE" and fault.value.temporary


def test_boundary_is_not_in_the_content() -> None:
    first = sign_message(letter(), alice_ec(), now=NOW)
    boundary = first.partition(b'boundary="')[2].partition(b'"')[0]
    again = sign_message(letter(b"--" + boundary + b"\r\n--" + boundary + b"--\r\n"), alice_ec(), now=NOW)
    assert valid(again) and again.count(b'boundary="') == 1


@BOTH
def test_thirty_mebibytes(opaque: bool) -> None:
    line = b"Compte rendu de consultation, ligne de soixante-dix octets environ....\r\n"
    raw = letter(line * (30 * 1024 * 1024 // len(line)))
    signed = sign_message(raw, alice(), opaque=opaque, now=NOW)
    assert valid(signed)
    middle = len(signed) // 2
    altered = signed[:middle] + (b"A" if signed[middle:middle + 1] != b"A" else b"B") + signed[middle + 1:]
    assert not valid(altered)
