"""Hostile certificates and CRLs: explained, judged and walked without a crash, whatever octet of them was changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pki import build_igc, der

from mssante.errors import InputFault
from mssante.trust.anchors import READ_FAULTS
from mssante.trust.crl import RevocationStatus
from mssante.trust.crlbag import CrlBag
from mssante.trust.path import PathCode, PathRules, Purpose, validate_path
from mssante.trust.profile_findings import Use, findings_of
from mssante.trust.profiles import Offer, recognise

NOW = datetime(2026, 3, 1, tzinfo=UTC)
IGC = build_igc()
MAIL = x509.SubjectAlternativeName([x509.RFC822Name("cardio@chu.mssante.test"), x509.DNSName("a.fr")])
LEAF = IGC.leaf("mta.a.fr", category=0x83, extra=[
    (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.250.1.213"), ["http://x/PC"])]), False),
    (x509.NameConstraints([x509.DNSName("a.fr")], None), False), (x509.PolicyConstraints(1, 0), False)])[0]
MAILER = IGC.leaf("Cardio", san=(), extra=[(MAIL, False)])[0]
ISSUER, ROOT = IGC.organisations.certificate, IGC.root.certificate
CRL = IGC.crl([LEAF])
SEEDS = [der(LEAF), der(MAILER), der(ISSUER)]

edits = st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4)


def changed(raw: bytes, edit: list[tuple[int, int]]) -> bytes:
    octets = bytearray(raw)
    for place, value in edit:
        octets[place % len(octets)] = value
    return bytes(octets)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), edits)
def test_a_changed_certificate_is_never_admitted_and_never_crashes(seed: bytes, edit: list[tuple[int, int]]) -> None:
    raw = changed(seed, edit)
    try:
        certificate = x509.load_der_x509_certificate(raw)
    except READ_FAULTS:
        return
    bag = CrlBag([CRL])
    for purpose in Purpose:
        result = validate_path(certificate, [ISSUER, certificate], [ROOT], NOW, rules=PathRules(purpose, bag.status))
        assert result.code is not PathCode.VALID
    as_issuer = validate_path(LEAF, [certificate], [ROOT], NOW)
    assert not as_issuer.valid or raw == der(ISSUER)
    try:
        profile = recognise(certificate, [ISSUER])
    except InputFault as fault:
        assert fault.rule == "PROFIL-LECTURE"
        return
    assert profile.issuer_verified is False or raw in SEEDS
    found = findings_of(profile, Use(Offer.SERV_SSL, production=True, host="mta.a.fr"), NOW)
    assert any(one.level == "fail" for one in found)


@settings(max_examples=200, deadline=None)
@given(edits)
def test_a_changed_crl_clears_nobody(edit: list[tuple[int, int]]) -> None:
    raw = changed(CRL, edit)
    if raw != CRL:
        assert CrlBag([raw]).status(LEAF, ISSUER, NOW) is RevocationStatus.UNKNOWN


def test_the_seeds_themselves() -> None:
    bag = CrlBag([CRL])
    assert bag.status(LEAF, ISSUER, NOW) is RevocationStatus.REVOKED and bag.status(MAILER, ISSUER, NOW) is RevocationStatus.GOOD
    assert bag.status(MAILER, ROOT, NOW) is RevocationStatus.UNKNOWN
    assert validate_path(MAILER, [ISSUER], [ROOT], NOW, rules=PathRules(status=bag.status)).code is PathCode.REVOCATION
    with pytest.raises(InputFault):
        recognise(IGC.leaf("x", usage=None, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x01"), True)])[0])
