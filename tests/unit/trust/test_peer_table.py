"""Who a peer is: every certificate of RELIABILITY §2 "client certificate", its rule, and whether to come back later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.pki import (
    CLIENT,
    CRL_UNTIL,
    EMAIL,
    ORGANISATIONS_CN,
    PERSONNES_CN,
    SERVER,
    authority,
    build_igc,
    certificate_pem,
    der,
    key_for,
)

from mssante.errors import PeerFault
from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.peer import PeerPolicy, identify

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
IGC = build_igc()
ANCHORS = IGC.anchors
CRLS = IGC.crl_set()
CN = "mx.a.mssante.fr"
CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
CONSTRAINTS = x509.NameConstraints([x509.DNSName("a.mssante.fr")], None)
ANY_EKU = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


def leaf(**options: object) -> bytes:
    return der(IGC.leaf(CN, **options)[0])  # type: ignore[arg-type]


def with_key(public: object) -> bytes:
    """A leaf of ORGANISATIONS that holds any public key."""
    parent = IGC.organisations
    model, _ = IGC.leaf(CN)
    builder = (x509.CertificateBuilder().subject_name(model.subject).issuer_name(parent.certificate.subject)
               .public_key(public).serial_number(7).not_valid_before(NOW - SECOND)  # type: ignore[arg-type]
               .not_valid_after(NOW + SECOND))
    return der(builder.sign(parent.key, hashes.SHA256()))


def refused(certificate: bytes, policy: PeerPolicy | None = None, crls: CrlSet = CRLS, anchors: TrustAnchors = ANCHORS,
            now: datetime = NOW) -> tuple[str, bool]:
    with pytest.raises(PeerFault) as caught:
        identify(certificate, anchors, crls, now, policy or PeerPolicy())
    assert caught.value.public.isascii() and caught.value.public.isprintable()
    return caught.value.rule, caught.value.temporary


def self_signed() -> bytes:
    key = key_for("self")
    name = IGC.leaf(CN)[0].subject
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
               .not_valid_before(NOW - SECOND).not_valid_after(NOW + SECOND))
    return der(builder.sign(key, hashes.SHA256()))


def under_a_leaf() -> bytes:
    """A certificate signed by an operator's own leaf key, under that leaf's name (leaf used as CA)."""
    parent, key = IGC.leaf("mx.evil.fr")
    builder = (x509.CertificateBuilder().subject_name(IGC.leaf(CN)[0].subject).issuer_name(parent.subject)
               .public_key(key_for("evil").public_key()).serial_number(1).not_valid_before(NOW - SECOND)
               .not_valid_after(NOW + SECOND))
    return der(builder.sign(key, hashes.SHA256()))


TABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "absent": (lambda: b"", "PEER-ABSENT"),
    "garbage": (lambda: b"garbage", "PEER-PARSE"),
    "PEM": (lambda: certificate_pem(IGC.leaf(CN)[0]), "PEER-PARSE"),
    "truncated": (lambda: leaf()[:-1], "PEER-PARSE"),
    "octets after": (lambda: leaf() + b"x", "PEER-PARSE"),
    "huge": (lambda: leaf(extra=[(x509.UnrecognizedExtension(CRITICAL.oid, b"x" * 20_000), False)]), "PEER-PARSE"),
    "same DN, other key": (lambda: leaf(issuer="foreign"), "PEER-ISSUER"),
    "sister authority": (lambda: leaf(issuer="personnes"), "PEER-ISSUER"),
    "look-alike authority": (lambda: leaf(issuer="lookalike"), "PEER-ISSUER"),
    "issued by the root": (lambda: leaf(issuer="root"), "PEER-ISSUER"),
    "self-signed": (self_signed, "PEER-ISSUER"),
    "issued by a leaf": (under_a_leaf, "PEER-ISSUER"),
    "signature altered": (lambda: leaf()[:-1] + bytes([leaf()[-1] ^ 1]), "PEER-ISSUER"),
    "the authority itself": (lambda: der(IGC.organisations.certificate), "PEER-ISSUER"),
    "expired": (lambda: leaf(not_after=NOW - SECOND), "PEER-EXPIRED"),
    "not yet valid": (lambda: leaf(not_before=NOW + SECOND), "PEER-NOT-YET"),
    "a CA under ORGANISATIONS": (lambda: leaf(ca=True), "PEER-CA"),
    "may sign certificates": (lambda: leaf(usage=("digital_signature", "key_cert_sign")), "PEER-CA"),
    "no digitalSignature": (lambda: leaf(usage=("key_encipherment",)), "PEER-USAGE"),
    "EKU of mail only": (lambda: leaf(eku=(EMAIL,)), "PEER-EKU"),
    "EKU anyExtendedKeyUsage": (lambda: leaf(eku=(ANY_EKU,)), "PEER-EKU"),
    "unknown critical extension": (lambda: leaf(extra=[(CRITICAL, True)]), "PEER-CRITICAL"),
    "critical name constraints": (lambda: leaf(extra=[(CONSTRAINTS, True)]), "PEER-CRITICAL"),
    "RSA 1024": (lambda: leaf(key_bits=1024), "PEER-KEY"),
    "Ed25519": (lambda: with_key(ed25519.Ed25519PrivateKey.generate().public_key()), "PEER-KEY"),
    "P-192": (lambda: with_key(ec.generate_private_key(ec.SECP192R1()).public_key()), "PEER-KEY"),
}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_refused_for_good(name: str) -> None:
    make, rule = TABLE[name]
    assert refused(make()) == (rule, False)


@pytest.mark.parametrize("certificate", [
    leaf(), leaf(not_after=NOW), leaf(not_before=NOW), leaf(usage=None), leaf(eku=None), leaf(san=()),
    leaf(category=0x82), leaf(extra=[(CRITICAL, False)]), leaf(extra=[(CONSTRAINTS, False)]), leaf(key_bits=3072),
    with_key(ec.generate_private_key(ec.SECP256R1()).public_key())])
def test_admitted(certificate: bytes) -> None:
    assert identify(certificate, ANCHORS, CRLS, NOW, PeerPolicy()).subject.value("CN") == CN


def test_what_an_identity_holds() -> None:
    certificate, _ = IGC.leaf("MX.a.mssante.fr", ou="318003502400041", san=("Alt.a.mssante.fr", "*.a.mssante.fr"), serial=4242)
    found = identify(der(certificate), ANCHORS, CRLS, NOW, PeerPolicy())
    assert (found.subject.value("CN"), found.subject.value("OU")) == ("mx.a.mssante.fr", "318003502400041")
    assert (found.issuer_cn, found.serial) == (ORGANISATIONS_CN, 4242)
    assert found.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert found.names == ("mx.a.mssante.fr", "alt.a.mssante.fr") and found.not_after == certificate.not_valid_after_utc


@pytest.mark.parametrize(("eku", "admitted"), [
    ((SERVER,), {"any", "server"}), ((CLIENT,), {"any", "client"}), ((SERVER, CLIENT), {"any", "server", "client"}),
    ((EMAIL, CLIENT), {"any", "client"}), ((EMAIL,), set()), (None, {"any", "server", "client"})])
def test_extended_usage_by_policy(eku: tuple[x509.ObjectIdentifier, ...] | None, admitted: set[str]) -> None:
    certificate = leaf(eku=eku)
    for wanted in ("any", "server", "client"):
        if wanted in admitted:
            identify(certificate, ANCHORS, CRLS, NOW, PeerPolicy(eku=wanted))
        else:
            assert refused(certificate, PeerPolicy(eku=wanted)) == ("PEER-EKU", False)


@pytest.mark.parametrize(("category", "good"), [(None, True), (0x00, True), (0x02, True), (0x03, True), (0x80, False),
                                                (0x82, False), (0x83, False)])
def test_a_test_certificate_is_refused_in_production_only(category: int | None, good: bool) -> None:
    certificate = leaf(category=category)
    identify(certificate, ANCHORS, CRLS, NOW, PeerPolicy())
    if good:
        identify(certificate, ANCHORS, CRLS, NOW, PeerPolicy(production=True))
    else:
        assert refused(certificate, PeerPolicy(production=True)) == ("PEER-CATEGORY", False)


def test_a_category_that_cannot_be_read_is_refused_in_production() -> None:
    oid = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")
    for octets in (b"", b"\x02", b"\x04\x00", b"\x04\x02\x02\x02", b"\x30\x00"):
        odd = leaf(extra=[(x509.UnrecognizedExtension(oid, octets), False)])
        assert refused(odd, PeerPolicy(production=True)) == ("PEER-CATEGORY", False)


# ---------------------------------------------------------------- revocation


def crls(revoked: list[x509.Certificate], **options: object) -> CrlSet:
    return CrlSet().admit(parse_any_crl(IGC.crl(revoked, **options), ANCHORS, NOW))  # type: ignore[arg-type]


def test_revoked_is_for_good_even_when_the_crl_is_late() -> None:
    certificate, _ = IGC.leaf(CN)
    assert refused(der(certificate), crls=crls([certificate])) == ("PEER-REVOKED", False)
    assert refused(der(certificate), crls=crls([certificate], next_update=NOW - SECOND)) == ("PEER-REVOKED", False)


def test_revocation_that_cannot_be_known_is_for_now() -> None:
    assert refused(leaf(), crls=CrlSet()) == ("PEER-CRL-STALE", True)
    assert refused(leaf(), crls=crls([], next_update=NOW - SECOND)) == ("PEER-CRL-STALE", True)
    other = CrlSet().admit(parse_any_crl(IGC.crl(issuer="root"), ANCHORS, NOW))
    assert refused(leaf(), crls=other) == ("PEER-CRL-STALE", True)


def test_grace_lengthens_the_life_of_a_crl_and_no_more() -> None:
    late = crls([], next_update=NOW)
    hour = PeerPolicy(crl_grace=timedelta(hours=1))
    identify(leaf(), ANCHORS, late, NOW, PeerPolicy())
    assert refused(leaf(), crls=late, now=NOW + SECOND) == ("PEER-CRL-STALE", True)
    identify(leaf(), ANCHORS, late, NOW + timedelta(hours=1), hour)
    assert refused(leaf(), hour, late, now=NOW + timedelta(hours=1) + SECOND) == ("PEER-CRL-STALE", True)
    assert refused(leaf(), replace(hour, crl_grace=timedelta(days=1)), CrlSet()) == ("PEER-CRL-STALE", True)


def test_a_bad_certificate_is_told_before_its_revocation_is_asked() -> None:
    assert refused(leaf(issuer="foreign"), crls=CrlSet()) == ("PEER-ISSUER", False)
    assert refused(leaf(not_after=NOW - SECOND), crls=CrlSet()) == ("PEER-EXPIRED", False)


def test_a_revoked_authority_takes_its_leaves_with_it() -> None:
    both = CRLS.admit(parse_any_crl(IGC.crl([IGC.organisations.certificate], issuer="root"), ANCHORS, NOW))
    assert refused(leaf(), crls=both) == ("PEER-REVOKED", False)


# ---------------------------------------------------------------- authorities


def test_an_authority_past_its_end_admits_nobody() -> None:
    assert refused(leaf(not_after=datetime(2049, 1, 1, tzinfo=UTC)), now=datetime(2045, 6, 1, tzinfo=UTC)) == (
        "PEER-ISSUER", False)
    assert datetime(2045, 6, 1, tzinfo=UTC) > CRL_UNTIL


def test_two_generations_of_one_name_live_side_by_side() -> None:
    second = authority(ORGANISATIONS_CN, "organisations 2", IGC.root)
    anchors = load_anchors([IGC.anchors_pem, certificate_pem(second.certificate)], IGC.issuer_cns)
    model, key = IGC.leaf(CN)
    builder = (x509.CertificateBuilder().subject_name(model.subject).issuer_name(second.certificate.subject)
               .public_key(key.public_key()).serial_number(9).not_valid_before(NOW - SECOND).not_valid_after(NOW + SECOND))
    newer = builder.sign(second.key, hashes.SHA256())
    assert refused(der(newer)) == ("PEER-ISSUER", False)
    assert refused(der(newer), anchors=anchors) == ("PEER-CRL-STALE", True), "each generation has its own CRL"
    identify(leaf(), anchors, CRLS, NOW, PeerPolicy())


def test_the_policy_may_not_be_widened_by_the_anchors_file() -> None:
    only_persons = load_anchors([IGC.anchors_pem], (PERSONNES_CN,))
    assert refused(leaf(), anchors=only_persons) == ("PEER-ISSUER", False)
