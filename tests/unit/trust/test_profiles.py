"""Certificates recognised and explained: the real samples of IGC-Santé, every offer, every finding, hostile ones."""

from __future__ import annotations

import html
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pki import CLIENT, EMAIL, SERVER, TestIgc, build_igc, key_for

from mssante.errors import InputFault
from mssante.trust.names import DnMode, dn_from_x509, parse_dn, same_name
from mssante.trust.profile_findings import Fixer, Level, ProfileFinding, Use, findings_of
from mssante.trust.profile_subject import declared_dn, luhn, read_structure
from mssante.trust.profiles import Offer, category_words, read_issuer, recognise, same_holder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPERATOR = Use(offer=Offer.SERV_SSL)


def real(shared_dir: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((shared_dir / "data" / "whitelist" / "igc-sante-test" / name).read_bytes())


def rules(findings: tuple[ProfileFinding, ...]) -> dict[str, Level]:
    return {one.rule: one.level for one in findings}


def test_the_real_seal_is_recognised(shared_dir: Path) -> None:
    authority = real(shared_dir, "ac-elementaire-organisations-test.pem")
    profile = recognise(real(shared_dir, "leaf-liste-blanche-drim-m.pem"), [authority])
    assert profile.offer is Offer.ORG_SIGN and profile.issuer_verified
    assert (profile.issuer.range, profile.issuer.domain, profile.issuer.hierarchy) == ("ELEMENTAIRE", "ORGANISATIONS", "TEST")
    assert profile.category == 0x83 and profile.is_test and category_words(0x83)[0] == "certificat logiciel de TEST"
    assert profile.declared == ("CN=Liste Blanche DRIM-M,OU=318751275100020,O=AGENCE DU NUMERIQUE EN SANTE,ST=Paris (75),C=FR")
    assert profile.usages == ("digitalSignature", "nonRepudiation") and profile.extended == ("emailProtection",)
    assert profile.policies == ("1.2.250.1.213.1.7.2.1.1.1.1",) and profile.key == "RSA 2048"
    assert profile.ocsp_urls == ("http://ocsp.esante.gouv.fr",)
    assert profile.crl_urls[0] == "http://igc-sante.esante.gouv.fr/CRL/ACI-EL-ORG-TEST.crl"
    entity = next(one for one in profile.subject if one.attribute == "OU")
    assert "SIRET 18751275100020" in entity.meaning[0] and entity.warning == ("", "")
    found = findings_of(profile, Use(offer=Offer.ORG_SIGN), NOW)
    assert rules(found) == {"PROFIL-TEST": Level.INFO}
    assert rules(findings_of(profile, Use(offer=Offer.ORG_SIGN, production=True), NOW))["PROFIL-TEST"] is Level.FAIL
    as_operator = rules(findings_of(profile, OPERATOR, NOW))
    assert as_operator["PROFIL-OFFRE"] is Level.WARN and as_operator["PROFIL-EKU"] is Level.FAIL


def test_the_real_authority_is_recognised(shared_dir: Path) -> None:
    profile = recognise(real(shared_dir, "ac-elementaire-organisations-test.pem"))
    assert profile.offer is Offer.AUTHORITY and profile.issuer.root and profile.issuer_verified is None
    assert rules(findings_of(profile, OPERATOR, NOW))["PROFIL-OFFRE"] is Level.FAIL


@pytest.mark.parametrize(("cn", "expected"), [
    ("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", ("ELEMENTAIRE", "ORGANISATIONS", "PRODUCTION", False)),
    ("TEST AC IGC-SANTE STANDARD PERSONNES", ("STANDARD", "PERSONNES", "TEST", False)),
    ("LAB AC RACINE IGC-SANTE FORT", ("FORT", "", "LAB", True)),
    ("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS 2", ("", "", "", False)),
    ("X AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", ("", "", "", False)),
    ("AC IGC-SANTE ELEMENTAIRE 0RGANISATIONS", ("", "", "", False)),
])
def test_authority_names_are_read_whole(cn: str, expected: tuple[str, str, str, bool]) -> None:
    found = read_issuer(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]))
    assert (found.range, found.domain, found.hierarchy, found.root) == expected


MAIL_NAME = (x509.SubjectAlternativeName([x509.RFC822Name("cardio@chu.mssante.test")]), False)


@pytest.mark.parametrize(("offer", "order"), [
    (Offer.SERV_SSL, {"cn": "mta.a.fr"}),
    (Offer.SERV_SSL, {"cn": "mta.a.fr", "eku": None}),
    (Offer.SERV_SSL, {"cn": "mta.a.fr", "eku": (SERVER,), "san": ()}),
    (Offer.ORG_AUTH_CLI, {"cn": "BAL APP", "eku": (CLIENT,), "usage": ("digital_signature",)}),
    (Offer.ORG_SIGN, {"cn": "Cachet", "eku": (EMAIL,), "usage": ("digital_signature", "content_commitment")}),
    (Offer.SERV_SIGN, {"cn": "xdm.a.fr", "eku": (EMAIL,), "usage": ("digital_signature", "content_commitment"), "san": ()}),
    (Offer.ORG_CONF, {"cn": "Coffre", "eku": (EMAIL,), "usage": ("key_encipherment",)}),
    (Offer.SERV_CONF, {"cn": "xdm.a.fr", "eku": None, "usage": ("key_encipherment",), "san": ()}),
    (Offer.SERV_SMIME, {"cn": "cardio@chu.mssante.test", "eku": (EMAIL,),
                        "usage": ("digital_signature", "content_commitment", "key_encipherment")}),
    (Offer.SERV_SMIME, {"cn": "Cardiologie", "eku": (EMAIL,), "usage": ("key_encipherment",), "extra": [MAIL_NAME]}),
    (Offer.PERSON, {"cn": "899700000000", "issuer": "personnes"}),
    (Offer.AUTHORITY, {"cn": "fausse autorite", "ca": True}),
    (Offer.UNKNOWN, {"cn": "X", "eku": (ExtendedKeyUsageOID.CODE_SIGNING,)}),
    (Offer.UNKNOWN, {"cn": "X", "eku": None, "usage": None}),
])
def test_offers(igc: TestIgc, offer: Offer, order: dict[str, object]) -> None:
    assert recognise(igc.leaf(**order)[0]).offer is offer  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "level", "use", "order"), [
    ("PROFIL-AUTORITE", Level.FAIL, OPERATOR, {"issuer": "foreign"}),
    ("PROFIL-AUTORITE", Level.FAIL, OPERATOR, {"issuer": "lookalike"}),
    ("PROFIL-TEST", Level.FAIL, Use(Offer.SERV_SSL, production=True), {"category": 0x82}),
    ("PROFIL-CATEGORIE", Level.WARN, OPERATOR, {"category": 0x42}),
    ("PROFIL-USAGE", Level.FAIL, OPERATOR, {"usage": ("key_encipherment",)}),
    ("PROFIL-EKU", Level.WARN, OPERATOR, {"eku": (SERVER,)}),
    ("PROFIL-EKU", Level.FAIL, Use(Offer.SERV_SSL, eku="client"), {"eku": (SERVER,)}),
    ("PROFIL-EKU", Level.FAIL, OPERATOR, {"eku": (EMAIL,)}),
    ("PROFIL-EKU", Level.INFO, OPERATOR, {"eku": None}),
    ("PROFIL-NOM", Level.FAIL, Use(Offer.SERV_SSL, host="mta.b.fr"), {}),
    ("PROFIL-SAN", Level.INFO, OPERATOR, {"san": ()}),
    ("PROFIL-SAN", Level.WARN, OPERATOR, {"san": ("autre.a.fr",)}),
    ("PROFIL-JOKER", Level.WARN, OPERATOR, {"san": ("mta.a.fr", "*.a.fr")}),
    ("PROFIL-SUJET", Level.WARN, OPERATOR, {"o": ""}),
    ("PROFIL-OU", Level.WARN, OPERATOR, {"ou": "318751275100021"}),
    ("PROFIL-OU", Level.WARN, OPERATOR, {"ou": "Service informatique"}),
    ("PROFIL-EXPIRE", Level.FAIL, OPERATOR, {"not_after": NOW - timedelta(days=1)}),
    ("PROFIL-PAS-ENCORE", Level.FAIL, OPERATOR, {"not_before": NOW + timedelta(days=1)}),
    ("PROFIL-RENOUVELER", Level.WARN, OPERATOR, {"not_after": NOW + timedelta(days=59)}),
    ("PROFIL-DUREE", Level.INFO, OPERATOR, {}),
    ("PROFIL-CLE", Level.FAIL, OPERATOR, {"key_bits": 1024}),
    ("PROFIL-CRITIQUE", Level.FAIL, OPERATOR, {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True)]}),
    ("PROFIL-REVOCATION", Level.INFO, OPERATOR, {}),
    ("PROFIL-OFFRE", Level.FAIL, OPERATOR, {"ca": True}),
    ("PROFIL-DN", Level.WARN, OPERATOR, {"o": "H" * 60, "ou": "O" * 64, "extra": ()}),
])
def test_every_finding(igc: TestIgc, rule: str, level: Level, use: Use, order: dict[str, object]) -> None:
    if rule == "PROFIL-DN":
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "H" * 64)] * 4 + [x509.NameAttribute(NameOID.COMMON_NAME, "a")])
        leaf = bare(name)
    else:
        leaf = igc.leaf("mta.a.fr", **order)[0]  # type: ignore[arg-type]
    found = findings_of(recognise(leaf, igc.anchors.issuers), use, NOW)
    assert rules(found).get(rule) is level
    assert all(one.text[0] and one.text[1] and one.seen and one.expected and one.fixer in Fixer for one in found)
    assert [one.level for one in found] == sorted((one.level for one in found), key=list(Level).index)


def test_a_good_certificate_has_only_notes(igc: TestIgc) -> None:
    profile = recognise(igc.leaf("mta.a.fr", category=0x02, ou="318751275100020")[0], igc.anchors.issuers)
    found = rules(findings_of(profile, Use(Offer.SERV_SSL, host="MTA.a.fr"), NOW))
    assert set(found.values()) == {Level.INFO} and profile.is_test, "the test hierarchy is no production"


def bare(name: x509.Name) -> x509.Certificate:
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key_for("bare").public_key())
            .serial_number(7).not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=100))
            .sign(key_for("bare"), hashes.SHA256()))


def test_unreadable_parts_are_a_typed_refusal(igc: TestIgc) -> None:
    broken = igc.leaf("mta.a.fr", usage=None, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x03\x82"), True)])[0]
    with pytest.raises(InputFault) as caught:
        recognise(broken)
    assert caught.value.rule == "PROFIL-LECTURE"
    odd = igc.leaf("mta.a.fr", extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.250.1.71.1.2.5"), b"\x0c\x01\x02"), False)])[0]
    assert recognise(odd).category == -2


def test_renewal_keeps_the_holder(igc: TestIgc) -> None:
    old, new = igc.leaf("mta.a.fr")[0], igc.leaf("MTA.a.fr", key_bits=3072)[0]
    assert same_holder(old, new)
    assert not same_holder(old, igc.leaf("mta.a.fr", o="AUTRE NOM")[0])


# ------------------------------------------------------------------ structures and the declared DN

@pytest.mark.parametrize(("ou", "type_", "check"), [
    ("318751275100020", "3", True), ("318751275100021", "3", False), ("1750000000", "1", False), ("2187512751", "2", True),
    ("12A0000123", "1", None), ("335600000000048", "3", True), ("335600000049837", "3", True)])
def test_structures(ou: str, type_: str, check: bool | None) -> None:
    found = read_structure(ou)
    assert found is not None and (found.type, found.check) == (type_, check)


@pytest.mark.parametrize("ou", ["", "3", "31875127510002", "3187512751000200", "7750000000", "10B0078671", "3A8751275100020", "1７50000000"])
def test_what_is_no_structure(ou: str) -> None:
    assert read_structure(ou) is None


def test_the_structures_of_the_real_list(shared_dir: Path) -> None:
    """All identifiers of the list of 2025 pass their check digit, but one, which is not a FINESS number."""
    text = (shared_dir / "data" / "whitelist" / "listeblanche-2025-03-13.xml").read_text(encoding="utf-8")
    names = {parse_dn(html.unescape(one)) for one in re.findall(r"<DNCertificatOperateur>(.*?)</DN", text, re.DOTALL)}
    found = Counter((structure.type, structure.check) if (structure := read_structure(ou.upper())) else ou
                    for ou in {one.value("OU") for one in names})
    assert found == {("1", True): 299, ("3", True): 43, "10b0078671": 1}


def test_luhn() -> None:
    assert luhn("732829320") and not luhn("732829321")


VALUES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(lambda text: bool(text.strip()))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME, NameOID.STATE_OR_PROVINCE_NAME]),
                          VALUES), max_size=3), VALUES)
def test_the_declared_dn_reads_back_as_the_certificate(middle: list[tuple[x509.ObjectIdentifier, str]], cn: str) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"), *(x509.NameAttribute(oid, value) for oid, value in middle),
                      x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    try:
        text = declared_dn(name)
    except InputFault:
        return  # told as PROFIL-DN: no writing of it exists
    assert parse_dn(text).pairs == dn_from_x509(name).pairs
    assert text.startswith("CN=") and (same_name(parse_dn(text), dn_from_x509(name), DnMode.STRICT) or not cn.strip())


def test_usual_names_are_declared_as_the_list_writes_them() -> None:
    igc = build_igc()
    assert declared_dn(igc.leaf("mta.a.fr", ou="1750000000", o="CENTRE, HOSPITALIER (LES PINS)")[0].subject) == (
        "CN=mta.a.fr,OU=1750000000,O=CENTRE, HOSPITALIER (LES PINS),ST=Paris (75),C=FR")
    forged = declared_dn(igc.leaf("mta.a.fr", ou="1750000000", o="X,OU=999")[0].subject)
    assert parse_dn(forged).value("OU") == "1750000000"
