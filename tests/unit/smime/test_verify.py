"""What a verdict tells beside its code, and the mails of NIST. The codes themselves: test_attacks.py."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
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
    letter,
    mallory,
    message_of,
    mixed,
    opaque_entity,
    person,
)

from mssante.protocol.mime.lineends import LineEnds
from mssante.smime.ber import SEQUENCE, der, der_integer, der_oid
from mssante.smime.cms import ATTRIBUTE_ENCRYPTION_KEY, certificate_name
from mssante.smime.sender import certificate_addresses, is_for
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits, SmimeVerdict
from mssante.smime.verify import signed_content, verify_message


def verify(raw: bytes, author: str = ALICE, limits: SmimeLimits = SmimeLimits()) -> SmimeVerdict:
    """The verdict with our authority admitted."""
    return verify_message(raw, author=author, check=admit, now=NOW, limits=limits)


def preference(who: Person) -> tuple[str, bytes]:
    """SMIMEEncryptionKeyPreference by issuer and serial."""
    name = certificate_name(certificate_der(who))
    return ATTRIBUTE_ENCRYPTION_KEY, der(0xA0, name.issuer, der_integer(name.serial))


def test_ordinary_mail_has_the_empty_verdict() -> None:
    assert verify(letter()) == SmimeVerdict()
    assert verify(message_of(mixed(ENTITY, ENTITY))) == SmimeVerdict()


def test_verdict_tells_who_when_and_how() -> None:
    verdict = verify(sign_message(letter(), alice(), now=NOW))
    assert verdict == SmimeVerdict(
        signature=SmimeCode.VALID, signer=ALICE, name="alice.martin", signed_at=NOW,
        fingerprint=hashlib.sha256(certificate_der(alice())).hexdigest(), algorithms=("sha256", "rsa-pkcs1v15", "rsa-2048"),
        certificates=(alice().certificate,))
    assert verify(sign_message(letter(), alice_ec(), now=NOW)).algorithms == ("sha256", "ecdsa", "secp256r1")


def test_refusal_still_tells_who_claims_to_have_signed() -> None:
    verdict = verify(message_of(clear_entity(ENTITY, HandMade(who=mallory()).build())))
    assert (verdict.signature, verdict.name, verdict.certificates) == (SmimeCode.SENDER, "mallory", ())
    assert verdict.fingerprint == hashlib.sha256(certificate_der(mallory())).hexdigest()
    assert "attaque.mssante.example" in verdict.detail and "clinique.mssante.example" in verdict.detail


@pytest.mark.parametrize("code", [SmimeCode.CHAIN, SmimeCode.EXPIRED, SmimeCode.REVOKED, SmimeCode.REVOCATION_UNKNOWN, SmimeCode.USAGE])
def test_check_decides_on_the_certificate_and_sees_those_beside(code: SmimeCode) -> None:
    seen: list[tuple[x509.Certificate, Sequence[x509.Certificate], datetime]] = []

    def check(certificate: x509.Certificate, others: Sequence[x509.Certificate], now: datetime) -> SmimeCode:
        seen.append((certificate, others, now))
        return code

    made = HandMade(certificates=[certificate_der(one) for one in (authority(), alice())])
    verdict = verify_message(message_of(clear_entity(ENTITY, made.build())), author=ALICE, check=check, now=NOW)
    assert verdict.signature is code
    assert seen == [(alice().certificate, (authority().certificate,), NOW)]


def test_check_is_not_asked_about_an_altered_message() -> None:
    def check(certificate: x509.Certificate, others: Sequence[x509.Certificate], now: datetime) -> SmimeCode:
        raise AssertionError

    raw = message_of(clear_entity(ENTITY, HandMade().build())).replace(b"joint", b"perdu")
    assert verify_message(raw, author=ALICE, check=check, now=NOW).signature is SmimeCode.ALTERED


def test_encryption_certificate_is_learnt_when_it_is_of_the_same_person() -> None:
    for other, learnt in ((person(ALICE, usage=("key_encipherment",)), True), (person("x@y.example"), False),
                          (person(ALICE, usage=("digital_signature",)), False)):
        made = HandMade(certificates=[certificate_der(alice()), certificate_der(other)])
        made.attributes = [*made.usual(), preference(other)]
        found = verify(message_of(clear_entity(ENTITY, made.build()))).certificates
        assert found == ((alice().certificate, other.certificate) if learnt else (alice().certificate,))


def test_encryption_certificate_named_by_its_key_identifier() -> None:
    other = person(ALICE, ec_key("other"), usage=("key_agreement",))
    identifier = other.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for value, learnt in ((der(0x82, identifier), True), (der(0xA1, der(0x04, identifier)), True), (der(0x82, b"x"), False),
                          (der(0xA0), False), (der(0x05), False), (der(0xA1), False)):
        made = HandMade(certificates=[certificate_der(alice()), certificate_der(other)])
        made.attributes = [*made.usual(), (ATTRIBUTE_ENCRYPTION_KEY, value)]
        found = verify(message_of(clear_entity(ENTITY, made.build()))).certificates
        assert found == ((alice().certificate, other.certificate) if learnt else (alice().certificate,))


def test_signing_time_that_cannot_be_read_is_none() -> None:
    made = HandMade()
    made.attributes = [*made.usual()[:2], ("1.2.840.113549.1.9.5", der(0x17, b"hier"))]
    verdict = verify(message_of(clear_entity(ENTITY, made.build())))
    assert (verdict.signature, verdict.signed_at) == (SmimeCode.VALID, None)
    made.attributes = [*made.usual()[:2], ("1.2.840.113549.1.9.5", der(0x18, b"20510203040506Z"))]
    assert verify(message_of(clear_entity(ENTITY, made.build()))).signed_at == datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_encrypted_top_is_left() -> None:
    for oid in ("1.2.840.113549.1.7.3", "1.2.840.113549.1.9.16.1.23"):
        structure = der(SEQUENCE, der_oid(oid), der(0xA0, der(SEQUENCE)))
        assert verify(message_of(opaque_entity(structure))) == SmimeVerdict(encryption=SmimeCode.ENCRYPTED)


def test_broken_top_that_claims_encryption() -> None:
    raw = message_of(opaque_entity(b"broken", kind=b"application/pkcs7-mime; smime-type=enveloped-data"))
    verdict = verify(raw)
    assert (verdict.signature, verdict.encryption) == (SmimeCode.NONE, SmimeCode.UNREADABLE)


def test_signed_content_gives_what_is_covered() -> None:
    for opaque in (False, True):
        assert signed_content(sign_message(letter(), alice(), opaque=opaque, now=NOW)) == ENTITY
    with pytest.raises(SmimeFault) as fault:
        signed_content(letter())
    assert fault.value.code is SmimeCode.NONE


def test_streamed_content_is_read_by_pieces() -> None:
    pieces = b"".join(der(0x04, ENTITY[at:at + 7]) for at in range(0, len(ENTITY), 7))
    whole = HandMade(attach=True).build()
    exact = der(0xA0, der(0x04, ENTITY))
    assert exact in whole
    indefinite = b"\xa0\x80\x24\x80" + pieces + b"\0\0\0\0"
    # every level above is written with an indefinite length, as a streaming signer does
    inside = HandMade(attach=True)
    fields = whole[whole.index(der_integer(1)):]
    start = fields.index(exact)
    encapsulated = der_oid("1.2.840.113549.1.7.1")
    before = fields[:fields.index(der(SEQUENCE, encapsulated, exact))]
    after = fields[start + len(exact):]
    streamed = (b"\x30\x80" + der_oid("1.2.840.113549.1.7.2") + b"\xa0\x80\x30\x80" + before + b"\x30\x80" + encapsulated + indefinite
                + b"\0\0" + after + b"\0\0\0\0\0\0")
    verdict = verify(message_of(opaque_entity(streamed)))
    assert verdict.signature is SmimeCode.VALID, verdict.detail
    assert signed_content(message_of(opaque_entity(streamed))) == inside.content


def test_certificate_with_strange_names_is_nobodys() -> None:
    odd = person("x", addresses=("pas une adresse", "a@b@c.example", "@", ""))
    assert len(certificate_addresses(odd.certificate)) == 4
    assert not is_for(odd.certificate, "a@b@c.example") and not is_for(odd.certificate, "")


def pkits_rows(shared: Path) -> list[dict[str, str]]:
    """The rows of expected.csv."""
    with (shared / "data/smime/pkits/expected.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_nist_mails(shared_dir: Path) -> None:
    """102 mails of PKITS: `cms_signature_alone` is ok for all; path validation is not asked here (the check admits all).

    DSA is refused by its algorithm; those whose signer is not for the address of From get SENDER; keyUsage and extendedKeyUsage are
    looked at before, so that a leaf that may not sign gets USAGE.
    """
    folder = shared_dir / "data/smime/pkits/eml"
    rows = pkits_rows(shared_dir)
    codes: Counter[SmimeCode] = Counter()
    for row in rows:
        ends = LineEnds()
        raw = ends.feed((folder / row["file"]).read_bytes()) + ends.close()
        subject = verify_message(raw, author="sender@testcertificates.gov", check=lambda *_: SmimeCode.VALID, now=NOW)
        assert row["cms_signature_alone"] == "ok"
        if row["key_type"] == "dsa":
            assert subject.signature is SmimeCode.ALGORITHM
        else:
            assert subject.signature in (SmimeCode.VALID, SmimeCode.SENDER), (row["file"], subject)
            assert subject.algorithms
            altered = raw.replace(b"sample signed message", b"sample signed massage")
            assert altered != raw
            again = verify_message(altered, author="sender@testcertificates.gov", check=lambda *_: SmimeCode.VALID, now=NOW)
            assert again.signature is SmimeCode.ALTERED, row["file"]
        codes[subject.signature] += 1
    assert sum(codes.values()) == len(rows) == 102
    assert codes[SmimeCode.ALGORITHM] == 1
