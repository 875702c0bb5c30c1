"""Revocation lists: which are believed, which of two is kept, what they answer."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from support.pki import TestIgc, key_for

from mssante.errors import InputFault
from mssante.trust.crl import Crl, CrlSet, RevocationStatus, admit_crl, parse_any_crl, parse_crl

HOUR = timedelta(hours=1)


def scope(**options: object) -> x509.IssuingDistributionPoint:
    fields: dict[str, object] = {
        "full_name": None, "relative_name": None, "only_contains_user_certs": False, "only_contains_ca_certs": False,
        "only_some_reasons": None, "indirect_crl": False, "only_contains_attribute_certs": False}
    return x509.IssuingDistributionPoint(**(fields | options))  # type: ignore[arg-type]


POINT = [x509.UniformResourceIdentifier("http://igc-sante.esante.gouv.fr/CRL/ACI-EL-ORG.crl")]
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def rule(igc: TestIgc, raw: bytes, now: datetime) -> str:
    with pytest.raises(InputFault) as caught:
        parse_crl(raw, igc.organisations.certificate, now)
    return caught.value.rule


def test_content(igc: TestIgc, now: datetime) -> None:
    raw = igc.crl([3, 1 << 140], number=12, this_update=now - HOUR, next_update=now + HOUR)
    found = parse_crl(raw, igc.organisations.certificate, now)
    assert found.revoked == {3, 1 << 140} and (found.number, found.this_update, found.next_update) == (12, now - HOUR, now + HOUR)
    pem = x509.load_der_x509_crl(raw).public_bytes(Encoding.PEM)
    assert parse_crl(b"\n" + pem, igc.organisations.certificate, now) == found
    assert parse_crl(igc.crl(number=None), igc.organisations.certificate, now).number == -1


@pytest.mark.parametrize(("extra", "expected"), [
    ([(UNKNOWN, False)], ""),
    ([(scope(full_name=POINT), True)], ""),
    ([(scope(only_contains_user_certs=True), True)], ""),
    ([(scope(only_contains_ca_certs=True), True)], "CRL-PORTEE"),
    ([(scope(only_contains_attribute_certs=True), True)], "CRL-PORTEE"),
    ([(scope(indirect_crl=True), True)], "CRL-PORTEE"),
    ([(scope(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})), True)], "CRL-PORTEE"),
    ([(x509.DeltaCRLIndicator(1), True)], "CRL-PORTEE"),
    ([(UNKNOWN, True)], "CRL-PORTEE"),
])
def test_scopes(igc: TestIgc, now: datetime, extra: list[tuple[x509.ExtensionType, bool]], expected: str) -> None:
    raw = igc.crl([1], extra=extra)
    if expected:
        assert rule(igc, raw, now) == expected
    else:
        assert parse_crl(raw, igc.organisations.certificate, now).revoked == {1}


@pytest.mark.parametrize(("critical", "expected"), [(False, ""), (True, "CRL-PORTEE")])
def test_extensions_of_an_entry(igc: TestIgc, now: datetime, critical: bool, expected: str) -> None:
    """An indirect CRL names other issuers in critical entry extensions (RFC 5280 §5.3.3)."""
    entry = x509.RevokedCertificateBuilder().serial_number(1).revocation_date(now).add_extension(
        x509.CertificateIssuer([x509.DirectoryName(igc.personnes.certificate.subject)]), critical=critical)
    raw = (x509.CertificateRevocationListBuilder().issuer_name(igc.organisations.certificate.subject).last_update(now)
           .next_update(now + HOUR).add_revoked_certificate(entry.build())
           .sign(igc.organisations.key, hashes.SHA256()).public_bytes(Encoding.DER))
    if expected:
        assert rule(igc, raw, now) == expected
    else:
        assert parse_crl(raw, igc.organisations.certificate, now).revoked == {1}


def test_who_signed(igc: TestIgc, now: datetime) -> None:
    assert rule(igc, igc.crl(key=key_for("attacker")), now) == "CRL-SIGNATURE"
    assert rule(igc, igc.crl(issuer="foreign"), now) == "CRL-SIGNATURE", "same name, another key"
    assert rule(igc, igc.crl(issuer="personnes"), now) == "CRL-EMETTEUR"
    good = igc.crl([0x1234567890])
    assert rule(igc, good.replace(b"\x12\x34\x56\x78\x90", b"\x12\x34\x56\x78\x91"), now) == "CRL-SIGNATURE"
    sealed, _ = igc.list_signer()
    with pytest.raises(InputFault) as caught:  # a key that may not sign CRLs
        parse_crl(x509.CertificateRevocationListBuilder().issuer_name(sealed.subject).last_update(now).next_update(now + HOUR)
                  .sign(igc.list_signer()[1], hashes.SHA256()).public_bytes(Encoding.DER), sealed, now)
    assert caught.value.rule == "CRL-SIGNATURE"


def test_dates(igc: TestIgc, now: datetime) -> None:
    assert rule(igc, igc.crl(this_update=now + HOUR), now) == "CRL-DATE"
    assert parse_crl(igc.crl(this_update=now + timedelta(minutes=4)), igc.organisations.certificate, now)
    expired = parse_crl(igc.crl([1], next_update=now - HOUR), igc.organisations.certificate, now)
    assert expired.next_update == now - HOUR, "read, for what it revokes"


@pytest.mark.parametrize("raw", [b"", b"junk", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", b"\x30\x80" * 1000])
def test_unreadable(igc: TestIgc, now: datetime, raw: bytes) -> None:
    assert rule(igc, raw, now) == "CRL-LECTURE"


def test_size(igc: TestIgc, now: datetime) -> None:
    assert rule(igc, b"\x30" * (64 * 1024 * 1024 + 1), now) == "CRL-TAILLE"


def test_whichever_authority(igc: TestIgc, now: datetime) -> None:
    assert parse_any_crl(igc.crl(issuer="root"), igc.anchors, now).issuer_id != \
        parse_any_crl(igc.crl(), igc.anchors, now).issuer_id
    for issuer, expected in (("personnes", "CRL-EMETTEUR"), ("foreign", "CRL-SIGNATURE"), ("lookalike", "CRL-EMETTEUR")):
        with pytest.raises(InputFault) as caught:
            parse_any_crl(igc.crl(issuer=issuer), igc.anchors, now)
        assert caught.value.rule == expected


@pytest.mark.parametrize(("number", "hours", "kept"), [
    (6, 1, "new"), (6, 0, "new"), (5, 1, "new"), (5, 0, "current"), (4, 1, "refused"), (6, -1, "refused"), (-1, 1, "refused")])
def test_which_is_kept(now: datetime, number: int, hours: int, kept: str) -> None:
    current = Crl("a", 5, now, now + 9 * HOUR, frozenset())
    new = Crl("a", number, now + hours * HOUR, now + 9 * HOUR, frozenset({1}))
    if kept == "refused":
        with pytest.raises(InputFault) as caught:
            admit_crl(new, current)
        assert caught.value.rule == "CRL-RECUL"
        with pytest.raises(InputFault):
            CrlSet().admit(current).admit(new)
        return
    assert admit_crl(new, current) is (new if kept == "new" else current)
    held = CrlSet().admit(current)
    assert (held.admit(new) is held) is (kept == "current")
    assert admit_crl(new, None) is new


def test_statuses(igc: TestIgc, now: datetime) -> None:
    issuer = igc.organisations.certificate
    held = CrlSet().admit(parse_crl(igc.crl([7], next_update=now), issuer, now))
    assert held.status(7, issuer, now) is RevocationStatus.REVOKED
    assert held.status(8, issuer, now) is RevocationStatus.GOOD
    late = now + timedelta(seconds=1)
    assert held.status(7, issuer, late) is RevocationStatus.REVOKED
    assert held.status(8, issuer, late) is RevocationStatus.UNKNOWN
    assert held.status(8, issuer, late, HOUR) is RevocationStatus.GOOD
    assert held.status(8, igc.root.certificate, now) is RevocationStatus.UNKNOWN
    assert held.status(7, igc.foreign.certificate, now) is RevocationStatus.UNKNOWN, "same name, another key"
    assert CrlSet().status(8, issuer, now) is RevocationStatus.UNKNOWN
    with pytest.raises(TypeError):
        held.by_issuer["x"] = held.by_issuer[next(iter(held.by_issuer))]  # type: ignore[index]
