"""The certificate of a peer: who is admitted; each attack of issue 4 and RELIABILITY §2 with its rule and words.

With MSSANTE_REPORT_DIR the table of refusals, texts included, is written there as `certificates.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.lab import report
from support.pki import (
    CLIENT,
    CRL_UNTIL,
    EMAIL,
    ORGANISATIONS_CN,
    PERSONNES_CN,
    SERVER,
    SIGNER_OU,
    authority,
    authority_subject,
    build_igc,
    certificate_pem,
    der,
    key_for,
)

from mssante.errors import PeerFault
from mssante.model.identity import OperatorIdentity
from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.peer import PeerPolicy, UnknownRevocation, identify

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
IGC = build_igc()
ANCHORS = IGC.anchors
CRLS = IGC.crl_set()
CN = "mx.a.mssante.fr"
CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
CONSTRAINTS = x509.NameConstraints([x509.DNSName("a.mssante.fr")], None)
ANY_EKU = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
PRODUCTION = PeerPolicy(production=True)
CATEGORY = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")


def leaf(**options: object) -> bytes:
    return der(IGC.leaf(str(options.pop("cn", CN)), **options)[0])  # type: ignore[arg-type]


def with_key(public: object) -> bytes:
    """A leaf of ORGANISATIONS that holds any public key."""
    return signed_by(IGC.organisations.certificate.subject, IGC.organisations.key, public=public)


def signed_by(issuer: x509.Name, key: RSAPrivateKey, *, public: object = None, serial: int = 7) -> bytes:
    """A leaf with our subject, under any issuer name, signed by any key."""
    builder = (x509.CertificateBuilder().subject_name(IGC.leaf(CN)[0].subject).issuer_name(issuer)
               .public_key(public or key_for("evil").public_key()).serial_number(serial)  # type: ignore[arg-type]
               .not_valid_before(NOW - SECOND).not_valid_after(NOW + SECOND))
    return der(builder.sign(key, hashes.SHA256()))


def of_authority(cn: str, kind: _ASN1Type | None = None) -> bytes:
    """A leaf of an authority that the attacker made, whose CN is this text, encoded as told."""
    name = x509.Name([*list(authority_subject("x"))[:-1], x509.NameAttribute(NameOID.COMMON_NAME, cn, kind)])
    return signed_by(name, key_for("rogue authority"))


def under_root(cn: str) -> bytes:
    """A leaf of another authority that the real root signed."""
    rogue = authority(cn, f"under root {cn}", IGC.root)
    return signed_by(rogue.certificate.subject, rogue.key)


def self_signed() -> bytes:
    return signed_by(IGC.leaf(CN)[0].subject, key_for("self"), public=key_for("self").public_key())


def under_a_leaf() -> bytes:
    """A certificate signed by an operator's own leaf key, under that leaf's name (leaf used as CA)."""
    parent, key = IGC.leaf("mx.evil.fr")
    return signed_by(parent.subject, key)


def with_sha1() -> bytes:
    """Our leaf, signed by the right key, with SHA-1."""
    whole = asn1.Certificate.load(leaf())
    whole["tbs_certificate"]["signature"]["algorithm"] = "sha1_rsa"
    whole["signature_algorithm"]["algorithm"] = "sha1_rsa"
    whole["signature_value"] = IGC.organisations.key.sign(
        whole["tbs_certificate"].dump(force=True), padding.PKCS1v15(), hashes.SHA1())
    return bytes(whole.dump(force=True))


def odd(octets: bytes) -> bytes:
    return leaf(extra=[(x509.UnrecognizedExtension(CATEGORY, octets), False)])


def refusal(certificate: bytes, policy: PeerPolicy | None = None, crls: CrlSet = CRLS, anchors: TrustAnchors = ANCHORS,
            now: datetime = NOW) -> PeerFault:
    with pytest.raises(PeerFault) as caught:
        identify(certificate, anchors, crls, now, policy or PeerPolicy())
    fault = caught.value
    assert fault.public.isascii() and fault.public.isprintable() and len(fault.public) <= 440, "fit for one SMTP line"
    return fault


def refused(certificate: bytes, policy: PeerPolicy | None = None, crls: CrlSet = CRLS, anchors: TrustAnchors = ANCHORS,
            now: datetime = NOW) -> tuple[str, bool]:
    fault = refusal(certificate, policy, crls, anchors, now)
    return fault.rule, fault.temporary


def read(certificate: bytes, policy: PeerPolicy | None = None, crls: CrlSet = CRLS, now: datetime = NOW) -> OperatorIdentity:
    return identify(certificate, ANCHORS, crls, now, policy or PeerPolicy())


TABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    # ------------------------------------------------------------ nothing that can be read
    "absent": (lambda: b"", "PEER-ABSENT"),
    "octets quelconques": (lambda: b"garbage", "PEER-PARSE"),
    "longueur fausse": (lambda: b"\x30\x82" + b"\x00" * 20, "PEER-PARSE"),
    "20 000 fois 0x30": (lambda: b"\x30" * 20_000, "PEER-PARSE"),
    "PEM": (lambda: certificate_pem(IGC.leaf(CN)[0]), "PEER-PARSE"),
    "tronqué": (lambda: leaf()[:-1], "PEER-PARSE"),
    "octets après": (lambda: leaf() + b"x", "PEER-PARSE"),
    "énorme (17 ko)": (lambda: leaf(extra=[(x509.UnrecognizedExtension(CRITICAL.oid, b"x" * 17_000), False)]), "PEER-PARSE"),
    "énorme (20 ko)": (lambda: leaf(extra=[(x509.UnrecognizedExtension(CRITICAL.oid, b"x" * 20_000), False)]), "PEER-PARSE"),
    # ------------------------------------------------------------ wrong chain, wrong issuer
    "même nom d'autorité, autre clé": (lambda: leaf(issuer="foreign"), "PEER-ISSUER"),
    "autorité sœur (PERSONNES)": (lambda: leaf(issuer="personnes"), "PEER-ISSUER"),
    "autorité au nom voisin (0RGANISATIONS)": (lambda: leaf(issuer="lookalike"), "PEER-ISSUER"),
    "émis par la racine": (lambda: leaf(issuer="root"), "PEER-ISSUER"),
    "auto-signé": (self_signed, "PEER-ISSUER"),
    "noms justes, signé par sa propre clé": (
        lambda: signed_by(IGC.organisations.certificate.subject, key_for("twin"), public=key_for("twin").public_key()), "PEER-ISSUER"),
    "émis par un certificat d'opérateur": (under_a_leaf, "PEER-ISSUER"),
    "signature altérée": (lambda: leaf()[:-1] + bytes([leaf()[-1] ^ 1]), "PEER-ISSUER"),
    "nom altéré": (lambda: leaf().replace(b"mx.a", b"mx.b"), "PEER-ISSUER"),
    "l'autorité elle-même": (lambda: der(IGC.organisations.certificate), "PEER-ISSUER"),
    "signature SHA-1 de la bonne clé": (with_sha1, "PEER-ISSUER"),
    # ------------------------------------------------------------ look-alike names of the issuer
    "autorité au nom plus long (… X)": (lambda: of_authority(f"{ORGANISATIONS_CN} X"), "PEER-ISSUER"),
    "… la même, signée par la vraie racine": (lambda: under_root(f"{ORGANISATIONS_CN} X"), "PEER-ISSUER"),
    "autorité au nom plus court": (lambda: of_authority(ORGANISATIONS_CN[:-1]), "PEER-ISSUER"),
    "homoglyphe (А cyrillique)": (lambda: of_authority(ORGANISATIONS_CN.replace("A", "\u0410", 1)), "PEER-ISSUER"),
    "espace double": (lambda: of_authority(ORGANISATIONS_CN.replace(" ", "  ", 1)), "PEER-ISSUER"),
    "espace à la fin": (lambda: of_authority(f"{ORGANISATIONS_CN} "), "PEER-ISSUER"),
    "espace insécable": (lambda: of_authority(ORGANISATIONS_CN.replace(" ", "\u00a0", 1)), "PEER-ISSUER"),
    "casse": (lambda: of_authority(ORGANISATIONS_CN.lower()), "PEER-ISSUER"),
    "NUL puis autre chose": (lambda: of_authority(f"{ORGANISATIONS_CN}\x00.evil.fr"), "PEER-ISSUER"),
    "NUL au milieu": (lambda: of_authority(ORGANISATIONS_CN.replace(" ", "\x00", 1)), "PEER-ISSUER"),
    "même nom, encodé en BMPString": (lambda: of_authority(ORGANISATIONS_CN, _ASN1Type.BMPString), "PEER-ISSUER"),
    "même nom, encodé en PrintableString": (lambda: of_authority(ORGANISATIONS_CN, _ASN1Type.PrintableString), "PEER-ISSUER"),
    "caractères de commande et de sens": (lambda: of_authority("AC\r\n250 ok\x1b[31m\u202e"), "PEER-ISSUER"),
    # ------------------------------------------------------------ dates, usages, key
    "expiré": (lambda: leaf(not_after=NOW - SECOND), "PEER-EXPIRED"),
    "expiré d'un jour": (lambda: leaf(not_after=NOW - DAY), "PEER-EXPIRED"),
    "pas encore valable": (lambda: leaf(not_before=NOW + SECOND), "PEER-NOT-YET"),
    "pas encore valable d'un jour": (lambda: leaf(not_before=NOW + DAY), "PEER-NOT-YET"),
    "AC présentée comme serveur": (lambda: leaf(ca=True), "PEER-CA"),
    "AC qui peut signer": (lambda: leaf(ca=True, usage=("digital_signature", "key_cert_sign")), "PEER-CA"),
    "peut signer des certificats": (lambda: leaf(usage=("digital_signature", "key_cert_sign")), "PEER-CA"),
    "sans digitalSignature": (lambda: leaf(usage=("key_encipherment",)), "PEER-USAGE"),
    "EKU de messagerie seulement": (lambda: leaf(eku=(EMAIL,)), "PEER-EKU"),
    "EKU anyExtendedKeyUsage": (lambda: leaf(eku=(ANY_EKU,)), "PEER-EKU"),
    "extension critique inconnue": (lambda: leaf(extra=[(CRITICAL, True)]), "PEER-CRITICAL"),
    "contraintes de noms critiques": (lambda: leaf(extra=[(CONSTRAINTS, True)]), "PEER-CRITICAL"),
    "RSA 1024": (lambda: leaf(key_bits=1024), "PEER-KEY"),
    "Ed25519": (lambda: with_key(ed25519.Ed25519PrivateKey.generate().public_key()), "PEER-KEY"),
    "Ed25519, au gabarit": (lambda: leaf(key=ed25519.Ed25519PrivateKey.generate()), "PEER-KEY"),
    "P-192": (lambda: with_key(ec.generate_private_key(ec.SECP192R1()).public_key()), "PEER-KEY"),
    "P-224": (lambda: leaf(key=ec.generate_private_key(ec.SECP224R1())), "PEER-KEY"),
}
IN_PRODUCTION: dict[str, tuple[Callable[[], bytes], str]] = {
    **{f"catégorie de TEST {category:02X}, en production": (lambda category=category: leaf(category=category), "PEER-CATEGORY")  # type: ignore[misc]
       for category in (0x80, 0x82, 0x83)},
    **{f"catégorie illisible {octets.hex() or '(vide)'}, en production": (lambda octets=octets: odd(octets), "PEER-CATEGORY")  # type: ignore[misc]
       for octets in (b"", b"\x02", b"\x04\x00", b"\x04\x02\x02\x02", b"\x30\x00", b"\x0c\x0283")},
}


@pytest.mark.parametrize("name", TABLE)
def test_refused_for_good(name: str) -> None:
    make, rule = TABLE[name]
    assert refused(make()) == (rule, False)


@pytest.mark.parametrize("name", IN_PRODUCTION)
def test_refused_in_production_only(name: str) -> None:
    make, rule = IN_PRODUCTION[name]
    assert refused(make(), PRODUCTION) == (rule, False)
    assert read(make())


def test_the_table_with_its_words() -> None:
    """The same table as an administrator and a peer read it."""
    lines = ["| certificat présenté | verdict | règle | texte montré |", "|---|---|---|---|"]
    for table, policy in ((TABLE, None), (IN_PRODUCTION, PRODUCTION)):
        for name, (make, _) in table.items():
            fault = refusal(make(), policy)
            assert "\r" not in fault.public and "\n" not in fault.public and "\x1b" not in fault.public
            lines.append(f"| {name} | {454 if fault.temporary else 554} | {fault.rule} | {fault.public} |")
    certificate, _ = IGC.leaf(CN, serial=5)
    for name, crls in (("révoqué", IGC.crl_set([5])), ("révocation inconnue (aucune CRL)", CrlSet())):
        fault = refusal(der(certificate), crls=crls)
        lines.append(f"| {name} | {454 if fault.temporary else 554} | {fault.rule} | {fault.public} |")
    assert len(lines) == len(TABLE) + len(IN_PRODUCTION) + 4
    report("certificates.md", "\n".join(lines))


@pytest.mark.parametrize("certificate", [
    leaf(), leaf(not_after=NOW), leaf(not_before=NOW), leaf(usage=None), leaf(eku=None), leaf(san=()), leaf(eku=(SERVER,)),
    leaf(eku=(CLIENT,)), leaf(category=0x82), leaf(digest=hashes.SHA512()), leaf(extra=[(CRITICAL, False)]),
    leaf(extra=[(CONSTRAINTS, False)]), leaf(key_bits=3072), leaf(key=ec.generate_private_key(ec.SECP256R1())),
    with_key(ec.generate_private_key(ec.SECP256R1()).public_key())])
def test_admitted(certificate: bytes) -> None:
    assert read(certificate).subject.value("CN") == CN


def test_a_wildcard_proves_that_name_and_no_other() -> None:
    """The white list holds none (spec §1.3)."""
    assert read(leaf(cn="*.mssante.fr", san=("*.mssante.fr",))).names == ()


def test_what_an_identity_holds() -> None:
    certificate, _ = IGC.leaf("MX.a.mssante.fr", ou="318003502400041", san=("Alt.a.mssante.fr", CN, "*.a.mssante.fr"), serial=4242)
    found = read(der(certificate))
    assert found.subject.text == "CN=MX.a.mssante.fr,OU=318003502400041,O=ORGANISATION DE TEST,ST=Paris (75),C=FR"
    assert (found.subject.value("CN"), found.subject.value("OU")) == ("mx.a.mssante.fr", "318003502400041")
    assert (found.issuer_cn, found.serial) == (ORGANISATIONS_CN, 4242)
    assert found.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert found.names == ("mx.a.mssante.fr", "alt.a.mssante.fr"), "lower-case, once each, no wildcard"
    assert found.not_after == certificate.not_valid_after_utc and SIGNER_OU not in found.subject.text


def test_a_signature_with_sha1_is_told_as_such() -> None:
    assert "sans SHA-2" in refusal(with_sha1()).public


def test_the_issuer_is_named_in_the_refusal() -> None:
    public = refusal(leaf(issuer="personnes")).public
    assert "ELEMENTAIRE PERSONNES" in public and "ELEMENTAIRE ORGANISATIONS" in public


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


@pytest.mark.parametrize("category", [None, 0x00, 0x02, 0x03])
def test_a_category_of_production_is_admitted_there(category: int | None) -> None:
    assert read(leaf(category=category)) and read(leaf(category=category), PRODUCTION)


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


def test_a_late_crl_still_says_who_is_revoked() -> None:
    """Past nextUpdate nobody is known good; who was revoked stays so; the grace is a setting."""
    certificate, _ = IGC.leaf(CN)
    late = NOW + 2 * HOUR
    good, bad = (crls(revoked, next_update=NOW + HOUR) for revoked in ([], [certificate]))
    assert read(der(certificate), crls=good)
    unknown = refusal(der(certificate), crls=good, now=late)
    assert isinstance(unknown, UnknownRevocation) and unknown.rule == "PEER-CRL-STALE"
    assert refused(der(certificate), crls=bad, now=late) == ("PEER-REVOKED", False)
    grace = PeerPolicy(crl_grace=HOUR)
    assert read(der(certificate), grace, good, late)
    assert refused(der(certificate), grace, good, now=late + SECOND) == ("PEER-CRL-STALE", True)


def test_the_same_serial_under_two_authorities_is_two_certificates() -> None:
    """The key tells which authority issued a leaf, and so which CRL speaks of it, though both bear one name."""
    anchors = load_anchors([certificate_pem(IGC.organisations.certificate), certificate_pem(IGC.foreign.certificate)])
    both = CrlSet().admit(parse_any_crl(IGC.crl([9], issuer="foreign"), anchors, NOW)).admit(
        parse_any_crl(IGC.crl(), anchors, NOW))
    ours, theirs = leaf(serial=9), leaf(serial=9, issuer="foreign")
    assert identify(ours, anchors, both, NOW, PeerPolicy()).serial == 9
    assert refused(theirs, crls=both, anchors=anchors) == ("PEER-REVOKED", False)


@pytest.mark.parametrize(("revocation", "crl", "rule"), [
    ("crl", "none", "PEER-CRL-STALE"), ("both", "none", "PEER-CRL-STALE"), ("ocsp", "none", ""), ("ocsp", "good", ""),
    ("crl", "revoked", "PEER-REVOKED"), ("both", "revoked", "PEER-REVOKED"), ("ocsp", "revoked", "PEER-REVOKED")])
def test_what_a_crl_decides_under_each_policy(revocation: str, crl: str, rule: str) -> None:
    """OCSP is asked by the caller; what a CRL revokes is refused under every policy."""
    certificate, _ = IGC.leaf(CN)
    held = {"none": CrlSet(), "good": CRLS, "revoked": crls([certificate])}[crl]
    if rule:
        assert refusal(der(certificate), PeerPolicy(revocation=revocation), held).rule == rule
    else:
        assert read(der(certificate), PeerPolicy(revocation=revocation), held)


def test_a_part_of_the_crl_clears_only_those_who_name_its_point() -> None:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://igc.test/1.crl")], None, None, None)
    named = leaf(extra=[(x509.CRLDistributionPoints([point]), False)])
    scope = x509.IssuingDistributionPoint(full_name=point.full_name, relative_name=None, only_contains_user_certs=True,
                                          only_contains_ca_certs=False, only_some_reasons=None, indirect_crl=False,
                                          only_contains_attribute_certs=False)
    part = crls([], extra=[(scope, True)])
    assert read(named, crls=part)
    assert refused(leaf(), crls=part) == ("PEER-CRL-STALE", True)
    assert read(leaf(), crls=part.admit(parse_any_crl(IGC.crl(), ANCHORS, NOW))), "the full one clears all"
