"""Path validation: the suite of the NIST (PKITS) verdict by verdict, and paths made to deceive or to last."""

from __future__ import annotations

import csv
import email
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.lab import report
from support.pki import key_for, key_usage

from mssante.trust.crl import RevocationStatus
from mssante.trust.crlbag import CrlBag
from mssante.trust.path import PathCode, PathResult, PathRules, Purpose, validate_path

NOW = datetime(2026, 11, 23, tzinfo=UTC)
# Every good path of PKITS that we refuse, and why we may: none of these forms exists in IGC-Santé (spec §3.2, §3.3).
INDIRECT = "indirect CRL, or CRL of another issuer: refused whatever it says (crl.py)"
OTHER_KEY = "CRL signed by another key of the authority than the one that signed the certificate: not followed"
BY_NAME = "CRL of a distribution point that has a directory name and no address: refused whatever it says (crl.py)"
FALSE_REJECTS = {
    "SignedValidIDPwithindirectCRLTest22": INDIRECT,
    "SignedValidIDPwithindirectCRLTest25": INDIRECT,
    "SignedValidcRLIssuerTest29": INDIRECT,
    "SignedValidcRLIssuerTest33": INDIRECT,
    "SignedValidBasicSelfIssuedOldWithNewTest1": OTHER_KEY,
    "SignedValidSelfIssuedinhibitAnyPolicyTest7": OTHER_KEY,
    "SignedValidSelfIssuedinhibitPolicyMappingTest7": OTHER_KEY,
    "SignedValidSelfIssuedpathLenConstraintTest17": OTHER_KEY,
    "SignedValidSeparateCertificateandCRLKeysTest19": OTHER_KEY,
    "SignedValidBasicSelfIssuedNewWithOldTest3": BY_NAME,
    "SignedValiddistributionPointTest4": BY_NAME,
    "SignedValiddistributionPointTest7": BY_NAME,
    "SignedValidDSASignaturesTest4": "DSA: no longer an algorithm of signatures (FIPS 186-5)",
    "SignedValiddeltaCRLTest5": "delta CRL that takes a certificate off hold: deltas only ever make us stricter",
    "SignedValidonlySomeReasonsTest18": "CRLs cut by reason: refused for what they do not say",
}
PATH_ONLY = "SignedValidDSASignaturesTest4"  # refused by the path itself; the others by the state of revocation
BY_REVOCATION = re.compile("CRL|revoked")


@lru_cache(maxsize=1)
def pkits(folder: Path) -> tuple[list[x509.Certificate], list[x509.Certificate], CrlBag]:
    """The anchor, the intermediates that can be read, the CRLs."""
    anchors = x509.load_pem_x509_certificates((folder / "trust-anchor.pem").read_bytes())
    found = []
    for pem in re.findall(rb"-----BEGIN CERT.*?-----END CERTIFICATE-----\n", (folder / "intermediates.pem").read_bytes(), re.S):
        try:
            found.append(x509.load_pem_x509_certificate(pem))
        except ValueError:
            continue  # the key of "DSA Parameters Inherited CA" has no parameters
    pems = re.findall(rb"-----BEGIN X509 CRL.*?-----END X509 CRL-----\n", (folder / "crls.pem").read_bytes(), re.S)
    return anchors, found, CrlBag([x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER) for pem in pems])


def signer_of(path: Path) -> x509.Certificate:
    message = email.message_from_bytes(path.read_bytes())
    part = next(one for one in message.walk() if "pkcs7" in one.get_content_type())
    signed = cms.ContentInfo.load(part.get_payload(decode=True))["content"]
    sid = signed["signer_infos"][0]["sid"].chosen
    return next(x509.load_der_x509_certificate(one.chosen.dump()) for one in signed["certificates"]
                if one.chosen.serial_number == sid["serial_number"].native and one.chosen.issuer == sid["issuer"])


def test_every_verdict_of_pkits(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "smime" / "pkits"
    anchors, bag, crls = pkits(folder)
    rules = PathRules(purpose=Purpose.SIGN_MAIL, status=crls.status)
    accepted, rejected, slowest, lines = [], [], 0.0, []
    rows = list(csv.DictReader((folder / "expected.csv").open()))
    for row in rows:
        name = row["file"].removesuffix(".eml")
        began = time.process_time()
        result = validate_path(signer_of(folder / "eml" / row["file"]), bag, anchors, NOW, rules=rules)
        slowest = max(slowest, time.process_time() - began)
        expected = row["expected_path_result"] == "valid"
        if result.valid and not expected:
            accepted.append(name)
        if expected and not result.valid:
            rejected.append(name)
        lines.append(f"{name:58} {row['expected_path_result']:8} {result.code.value:22} {result.culprit} {result.detail}".rstrip())
    summary = [f"PKITS: {len(rows)} paths, false accepts {len(accepted)}, false rejects {len(rejected)}, slowest {slowest * 1000:.0f} ms"]
    report("pkits.txt", "\n".join([*summary, *(f"  {name}: {why}" for name, why in FALSE_REJECTS.items()), "", *lines]))
    assert len(rows) == 102
    assert accepted == []
    assert sorted(rejected) == sorted(FALSE_REJECTS)


def test_without_revocation_the_paths_of_pkits_are_all_right(shared_dir: Path) -> None:
    """What is refused is refused for its path, and every good path but the DSA one is good: the CRLs hide nothing."""
    folder = shared_dir / "data" / "smime" / "pkits"
    anchors, bag, _ = pkits(folder)
    for row in csv.DictReader((folder / "expected.csv").open()):
        name = row["file"].removesuffix(".eml")
        result = validate_path(signer_of(folder / "eml" / row["file"]), bag, anchors, NOW)
        wanted = (row["expected_path_result"] == "valid" and name != PATH_ONLY) or (
            row["expected_path_result"] == "invalid" and bool(BY_REVOCATION.search(row["openssl_reason"])))
        assert result.valid is wanted, (name, result.code, result.detail)


# ------------------------------------------------------------------ paths of our own making

def name_of(cn: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"), x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def made(cn: str, issuer: str = "", *, key: str = "", signer: str = "", ca: bool = True, length: int | None = None, days: int = 900,
         extra: Sequence[tuple[x509.ExtensionType, bool]] = (), usage: Sequence[str] | None = None, plain: bool = False,
         digest: hashes.HashAlgorithm | None = None) -> x509.Certificate:
    """One certificate; keys are named after the holders unless told otherwise."""
    own = key_for(f"path {key or cn}")
    builder = (x509.CertificateBuilder().subject_name(name_of(cn)).issuer_name(name_of(issuer or cn)).public_key(own.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=1000))
               .not_valid_after(NOW + timedelta(days=days)))
    if not plain:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=length), critical=True).add_extension(
            key_usage(*(usage or (("key_cert_sign", "crl_sign") if ca else ("digital_signature",)))), critical=True)
    for value, critical in extra:
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(key_for(f"path {signer or issuer or cn}"), digest or hashes.SHA256())


ROOT = made("Racine")
SUB = made("Sous", "Racine")
LEAF = made("Feuille", "Sous", ca=False)


def judge(leaf: x509.Certificate, bag: Sequence[x509.Certificate] = (SUB,), anchors: Sequence[x509.Certificate] = (ROOT,),
          **rules: object) -> PathResult:
    return validate_path(leaf, bag, anchors, NOW, rules=PathRules(**rules))  # type: ignore[arg-type]


def test_a_path_is_found_and_told() -> None:
    result = judge(LEAF, [made("Autre", "Racine"), SUB])
    assert result.valid and result.path == (LEAF, SUB, ROOT) and not result.temporary
    assert judge(LEAF, [], [SUB]).path == (LEAF, SUB), "an issuing authority may be pinned by itself"
    assert judge(SUB, []).valid


def test_any_anchor_of_the_list_will_do() -> None:
    other = made("Racine", key="other root")
    assert judge(LEAF, anchors=[other, ROOT]).valid
    assert judge(LEAF, anchors=[other]).code is PathCode.SIGNATURE
    assert judge(LEAF, anchors=[made("Racine 2")]).code is PathCode.ISSUER
    assert judge(LEAF, anchors=[]).code is PathCode.ISSUER
    assert judge(LEAF, anchors=[LEAF]).code is PathCode.ISSUER, "a leaf is no anchor of its own"


def test_one_good_path_among_bad_ones_is_enough() -> None:
    expired = made("Sous", "Racine", days=-1)
    assert judge(LEAF, [expired]).code is PathCode.EXPIRED
    assert judge(LEAF, [expired, SUB]).valid
    assert judge(LEAF, [made("Sous", "Racine", key="impostor"), SUB]).valid


@pytest.mark.parametrize(("code", "leaf", "bag", "anchors"), [
    (PathCode.SIGNATURE, made("Feuille", "Sous", signer="thief", ca=False), [SUB], [ROOT]),
    (PathCode.SIGNATURE, LEAF, [made("Sous", "Racine", signer="thief")], [ROOT]),
    (PathCode.ISSUER, made("Feuille", "Sou5", signer="Sous", ca=False), [SUB], [ROOT]),
    (PathCode.EXPIRED, made("Feuille", "Sous", ca=False, days=-1), [SUB], [ROOT]),
    (PathCode.EXPIRED, LEAF, [SUB], [made("Racine", days=-1)]),
    (PathCode.AUTHORITY, LEAF, [made("Sous", "Racine", ca=False)], [ROOT]),
    (PathCode.AUTHORITY, LEAF, [made("Sous", "Racine", plain=True)], [ROOT]),
    (PathCode.AUTHORITY, LEAF, [made("Sous", "Racine", usage=["crl_sign"])], [ROOT]),
    (PathCode.AUTHORITY, LEAF, [SUB], [made("Racine", ca=False)]),
    (PathCode.LENGTH, made("F", "Bas", ca=False), [made("Bas", "Sous"), made("Sous", "Racine", length=0)], [ROOT]),
    (PathCode.LENGTH, LEAF, [SUB], [made("Racine", length=0)]),
    (PathCode.CRITICAL, made("F", "Sous", ca=False, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]),
     [SUB], [ROOT]),
    (PathCode.CRITICAL, LEAF, [made("Sous", "Racine", extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)])],
     [ROOT]),
    (PathCode.UNREADABLE, LEAF, [made("Sous", "Racine", extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), b"\x30\x80"), True)])],
     [ROOT]),
])
def test_a_broken_rule_is_named(code: PathCode, leaf: x509.Certificate, bag: list[x509.Certificate], anchors: list[x509.Certificate]) -> None:
    assert judge(leaf, bag, anchors).code is code


def test_weak_signatures_only_with_the_switch() -> None:
    leaf = made("Feuille", "Sous", ca=False, digest=hashes.SHA512())
    assert judge(leaf).valid
    assert judge(leaf, hashes=(hashes.SHA256,)).code is PathCode.ALGORITHM
    assert judge(LEAF, rsa_bits=3072).code is PathCode.ALGORITHM
    weak = x509.CertificateBuilder().subject_name(name_of("F")).issuer_name(name_of("Sous")).serial_number(5).not_valid_before(
        NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1)).public_key(ec.generate_private_key(ec.SECP256K1()).public_key())
    assert judge(weak.sign(key_for("path Sous"), hashes.SHA256())).code is PathCode.ALGORITHM


def test_usages_are_held_to_the_purpose() -> None:
    mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = made("F", "Sous", ca=False, extra=[(mail, False)])
    assert judge(leaf, purpose=Purpose.SIGN_MAIL).valid
    assert judge(leaf, purpose=Purpose.ENCRYPT_MAIL).code is PathCode.PURPOSE
    assert judge(leaf, purpose=Purpose.SERVER).code is PathCode.PURPOSE
    assert judge(SUB, [], purpose=Purpose.SIGN_MAIL).code is PathCode.PURPOSE, "an authority signs no mail"
    narrow = made("Sous", "Racine", extra=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    assert judge(leaf, [narrow], purpose=Purpose.SIGN_MAIL).code is PathCode.PURPOSE
    assert judge(LEAF, [narrow], purpose=Purpose.SERVER).valid


def test_the_state_of_every_link_is_asked() -> None:
    asked = []

    def status(certificate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> RevocationStatus:
        asked.append((certificate, issuer, at))
        return states.get(certificate, RevocationStatus.GOOD)

    states: dict[x509.Certificate, RevocationStatus] = {}
    assert judge(LEAF, status=status).valid
    assert asked == [(SUB, ROOT, NOW), (LEAF, SUB, NOW)]
    states[SUB] = RevocationStatus.UNKNOWN
    result = judge(LEAF, status=status)
    assert (result.code, result.culprit, result.temporary) == (PathCode.REVOCATION, "Sous", True)
    states[SUB] = RevocationStatus.REVOKED
    assert judge(LEAF, status=status).code is PathCode.REVOKED


def test_wildcards_do_not_slip_past_excluded_names() -> None:
    narrow = made("Sous", "Racine", extra=[(x509.NameConstraints(None, [x509.DNSName("secret.exemple.fr")]), True)])

    def with_name(name: str) -> x509.Certificate:
        return made("F", "Sous", ca=False, extra=[(x509.SubjectAlternativeName([x509.DNSName(name)]), False)])

    assert judge(with_name("mta.exemple.fr"), [narrow]).valid
    for name in ("secret.exemple.fr", "a.SECRET.exemple.fr", "*.exemple.fr", "secret.exemple.fr."):
        assert judge(with_name(name), [narrow]).code is PathCode.NAMES, name
    by_cn = made("secret.exemple.fr", "Sous", ca=False)
    assert judge(by_cn, [narrow], purpose=Purpose.SERVER).code is PathCode.NAMES, "a CN read as a host name is held to it"


def test_a_constraint_that_cannot_be_judged_refuses() -> None:
    narrow = made("Sous", "Racine", extra=[(x509.NameConstraints(
        [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], None), True)])
    assert judge(LEAF, [narrow]).valid, "no name of that form"
    leaf = made("F", "Sous", ca=False, extra=[(x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))]), False)])
    assert judge(leaf, [narrow]).code is PathCode.NAMES


def test_a_maze_of_cross_certificates_ends() -> None:
    """Twelve authorities, each signed by every other: more walks than the age of the world, and 200 tries."""
    names = [f"Labyrinthe {number}" for number in range(12)]
    bag = [made(one, other) for one in names for other in names if one != other]
    began = time.process_time()
    result = judge(made("F", names[0], ca=False), bag)
    assert result.code is PathCode.LIMIT and result.tries > 200
    assert time.process_time() - began < 10


def test_a_chain_may_have_ten_authorities_and_no_more() -> None:
    names = ["Racine", *(f"Rang {number}" for number in range(11))]
    bag = [made(below, above) for above, below in pairwise(names)]
    assert judge(made("F", names[10], ca=False), bag).valid
    assert judge(made("F", names[11], ca=False), bag).code is PathCode.LIMIT


def test_hostile_policies_do_not_grow() -> None:
    """The tree of RFC 5280 would have 16 to the 9th leaves here; the graph has 16 nodes a level."""
    policies = [x509.PolicyInformation(x509.ObjectIdentifier(f"1.2.3.{number}"), None) for number in range(16)]
    pairs = b"".join(_mapping(one, other) for one in range(16) for other in range(16))
    mappings = (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), _tlv(0x30, pairs)), False)
    extra = [(x509.CertificatePolicies(policies), False), mappings]
    names = ["Racine", *(f"Politique {number}" for number in range(9))]
    bag = [made(below, above, extra=extra) for above, below in pairwise(names)]
    leaf = made("F", names[9], ca=False, extra=extra[:1])
    began = time.process_time()
    result = judge(leaf, bag)
    assert result.valid and len(result.policies) == 16
    assert time.process_time() - began < 5


def _tlv(tag: int, octets: bytes) -> bytes:
    size = len(octets)
    head = bytes([size]) if size < 128 else (lambda raw: bytes([0x80 | len(raw)]) + raw)(size.to_bytes((size.bit_length() + 7) // 8, "big"))
    return bytes([tag]) + head + octets


def _mapping(one: int, other: int) -> bytes:
    return _tlv(0x30, _tlv(6, bytes([0x2A, 3, one])) + _tlv(6, bytes([0x2A, 3, other])))


def test_too_many_intermediates_are_not_read() -> None:
    assert judge(LEAF, [SUB] * 1001).code is PathCode.LIMIT
    assert judge(LEAF, [SUB] * 1000).valid
