"""OCSP answers: which are believed, and the rule and words of each that is not (RFC 6960, RFC 9654)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import ocsp as asn1
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from support.ocspfiles import Answer, delegate, nonce_of
from support.pki import build_igc, der, key_for

from mssante.trust.crl import CrlSet, RevocationStatus, parse_any_crl
from mssante.trust.ocsp import (
    MAX_OCTETS,
    OcspAnswer,
    OcspFault,
    OcspPolicy,
    admit_answer,
    build_question,
    named_responder,
    origin,
    verify_answer,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
IGC = build_igc()
ISSUER = IGC.organisations.certificate
CA = (ISSUER, IGC.organisations.key)
CN = "mx.a.mssante.fr"
LEAF, LEAF_KEY = IGC.leaf(CN, serial=0x77)
NONCE = bytes(range(32))
QUESTION = build_question(LEAF, ISSUER, NONCE)
GOOD = Answer(LEAF, ISSUER, CA, NOW, nonce=NONCE)
CRLS = IGC.crl_set()
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def verified(raw: bytes, policy: OcspPolicy | None = None, crls: CrlSet = CRLS, now: datetime = NOW) -> OcspAnswer:
    return verify_answer(raw, QUESTION, crls=crls, now=now, policy=policy or OcspPolicy())


def refused(raw: bytes, policy: OcspPolicy | None = None, crls: CrlSet = CRLS, now: datetime = NOW) -> OcspFault:
    with pytest.raises(OcspFault) as caught:
        verified(raw, policy, crls, now)
    fault = caught.value
    assert fault.temporary and fault.public.isascii() and fault.public.isprintable() and len(fault.public) < 200
    assert fault.remedy
    return fault


def by(responder: tuple[x509.Certificate, object], *others: x509.Certificate, **changes: object) -> bytes:
    """An answer signed by a delegated responder, whose certificate comes along."""
    return GOOD.but(signer=responder, delegates=(*others, responder[0]), **changes).der()


# ---------------------------------------------------------------- the question


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_the_question_names_issuer_and_serial_and_holds_the_nonce(digest: str) -> None:
    question = build_question(LEAF, ISSUER, NONCE, digest)
    asked = asn1.OCSPRequest.load(question.der)["tbs_request"]
    identifier = asked["request_list"][0]["req_cert"]
    assert identifier["hash_algorithm"]["algorithm"].native == digest
    assert (identifier["serial_number"].native, question.serial) == (0x77, 0x77)
    assert identifier["issuer_name_hash"].native == question.name_hash and identifier["issuer_key_hash"].native == question.key_hash
    assert len(question.name_hash) == {"sha1": 20, "sha256": 32}[digest]
    assert nonce_of(question.der) == NONCE
    answer = GOOD.but(digest=digest).der()
    assert verify_answer(answer, question, crls=CRLS, now=NOW, policy=OcspPolicy()).status is RevocationStatus.GOOD


def test_a_question_without_nonce_takes_none_back() -> None:
    question = build_question(LEAF, ISSUER, b"")
    assert verify_answer(GOOD.but(nonce=None).der(), question, crls=CRLS, now=NOW, policy=OcspPolicy(nonce_required=True))
    with pytest.raises(OcspFault) as caught:
        verify_answer(GOOD.der(), question, crls=CRLS, now=NOW, policy=OcspPolicy())
    assert caught.value.rule == "OCSP-NONCE"


# ---------------------------------------------------------------- believed


@pytest.mark.parametrize(("raw", "status", "delegated", "fresh"), [
    (GOOD.der(), RevocationStatus.GOOD, False, True),
    (GOOD.but(by="name").der(), RevocationStatus.GOOD, False, True),
    (GOOD.but(status="revoked").der(), RevocationStatus.REVOKED, False, True),
    (GOOD.but(status="unknown").der(), RevocationStatus.UNKNOWN, False, True),
    (GOOD.but(nonce=None).der(), RevocationStatus.GOOD, False, False),
    (GOOD.but(algorithm="sha384_rsa").der(), RevocationStatus.GOOD, False, True),
    (GOOD.but(life=None).der(), RevocationStatus.GOOD, False, True),
    (GOOD.but(at=NOW + 4 * MINUTE).der(), RevocationStatus.GOOD, False, True),
    (GOOD.but(at=NOW - HOUR - 4 * MINUTE).der(), RevocationStatus.GOOD, False, True),
    (GOOD.but(at=NOW - 50 * HOUR, life=60 * HOUR).der(), RevocationStatus.GOOD, False, True),
    (by(delegate(IGC)), RevocationStatus.GOOD, True, True),
    (by(delegate(IGC), by="name"), RevocationStatus.GOOD, True, True),
    (by(delegate(IGC), *[LEAF] * 9), RevocationStatus.GOOD, True, True),
    (by(delegate(IGC, no_check=False)), RevocationStatus.GOOD, True, True),  # its own serial is checked against the CRL
    (by(delegate(IGC, key=EC_KEY), algorithm="sha256_ecdsa"), RevocationStatus.GOOD, True, True),
    (by(delegate(IGC, usage=("content_commitment",))), RevocationStatus.GOOD, True, True),
    (by(delegate(IGC, eku=("server", "ocsp"))), RevocationStatus.GOOD, True, True),
])
def test_believed(raw: bytes, status: RevocationStatus, delegated: bool, fresh: bool) -> None:
    found = verified(raw)
    assert (found.status, bool(found.delegate), found.fresh) == (status, delegated, fresh)
    assert found.next_update > found.this_update


def test_an_answer_without_next_update_serves_for_our_own_time() -> None:
    policy = OcspPolicy(max_age=HOUR)
    assert verified(GOOD.but(life=None).der(), policy).next_update == NOW + HOUR
    assert refused(GOOD.but(life=None, at=NOW - HOUR - MINUTE).der(), policy).rule == "OCSP-PERIMEE"


# ---------------------------------------------------------------- refused

OTHER, _ = IGC.leaf("mx.b.mssante.fr", serial=0x78)
SISTER, _ = IGC.leaf(CN, issuer="personnes", serial=0x77)
SISTER_CA = (IGC.personnes.certificate, IGC.personnes.key)
FOREIGN_CA = (IGC.foreign.certificate, IGC.foreign.key)
ROOT_CA = (IGC.root.certificate, IGC.root.key)
TABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "OCSP-LECTURE"),
    "garbage": (lambda: b"garbage", "OCSP-LECTURE"),
    "HTML": (lambda: b"<html>404</html>", "OCSP-LECTURE"),
    "truncated": (lambda: GOOD.der()[:-1], "OCSP-LECTURE"),
    "octets after": (lambda: GOOD.der() + b"x", "OCSP-LECTURE"),
    "a certificate": (lambda: der(LEAF), "OCSP-LECTURE"),
    "deep": (lambda: b"\x30\x80" * 20_000, "OCSP-LECTURE"),
    "huge": (lambda: b"\x30" * (MAX_OCTETS + 1), "OCSP-TAILLE"),
    "success without content": (lambda: b"\x30\x03\x0a\x01\x00", "OCSP-LECTURE"),
    "malformedRequest": (lambda: b"\x30\x03\x0a\x01\x01", "OCSP-STATUT"),
    "internalError": (lambda: b"\x30\x03\x0a\x01\x02", "OCSP-STATUT"),
    "tryLater": (lambda: b"\x30\x03\x0a\x01\x03", "OCSP-STATUT"),
    "sigRequired": (lambda: b"\x30\x03\x0a\x01\x05", "OCSP-STATUT"),
    "unauthorized": (lambda: b"\x30\x03\x0a\x01\x06", "OCSP-STATUT"),
    "no such status": (lambda: b"\x30\x03\x0a\x01\x63", "OCSP-LECTURE"),
    "no single answer": (lambda: GOOD.but(singles=0).der(), "OCSP-FORME"),
    "two single answers": (lambda: GOOD.but(singles=2).der(), "OCSP-FORME"),
    "eleven certificates": (lambda: GOOD.but(delegates=[LEAF] * 11).der(), "OCSP-FORME"),
    "unknown critical extension": (lambda: GOOD.but(critical="1.2.3.4").der(), "OCSP-FORME"),
    "signature altered": (lambda: GOOD.but(altered=True).der(), "OCSP-SIGNATURE"),
    "signed by no one": (lambda: GOOD.but(signer=(ISSUER, key_for("nobody"))).der(), "OCSP-SIGNATURE"),
    "SHA-1 signature": (lambda: GOOD.but(algorithm="sha1_rsa").der(), "OCSP-ALGORITHME"),
    "sister authority signs": (lambda: GOOD.but(signer=SISTER_CA).der(), "OCSP-REPONDEUR"),
    "sister authority comes along": (lambda: GOOD.but(signer=SISTER_CA, delegates=[SISTER_CA[0]]).der(), "OCSP-DELEGUE"),
    "root signs": (lambda: GOOD.but(signer=ROOT_CA, delegates=[ROOT_CA[0]]).der(), "OCSP-DELEGUE"),
    "authority of the same name signs": (lambda: GOOD.but(signer=FOREIGN_CA, by="name").der(), "OCSP-SIGNATURE"),
    "authority of the same name comes along": (
        lambda: GOOD.but(signer=FOREIGN_CA, by="name", delegates=[FOREIGN_CA[0]]).der(), "OCSP-DELEGUE"),
    "the certificate itself signs": (lambda: by((LEAF, LEAF_KEY)), "OCSP-DELEGUE"),
    "responder of a sister authority": (lambda: by(delegate(IGC, issuer="personnes")), "OCSP-DELEGUE"),
    "responder of the root": (lambda: by(delegate(IGC, issuer="root")), "OCSP-DELEGUE"),
    "responder of the same name's authority": (lambda: by(delegate(IGC, issuer="foreign")), "OCSP-DELEGUE"),
    "responder without EKU": (lambda: by(delegate(IGC, eku=())), "OCSP-DELEGUE"),
    "responder with EKU serverAuth": (lambda: by(delegate(IGC, eku=("server",))), "OCSP-DELEGUE"),
    "responder with anyExtendedKeyUsage": (lambda: by(delegate(IGC, eku=("any",))), "OCSP-DELEGUE"),
    "responder is a CA": (lambda: by(delegate(IGC, ca=True)), "OCSP-DELEGUE"),
    "responder may sign certificates": (lambda: by(delegate(IGC, usage=("digital_signature", "key_cert_sign"))), "OCSP-DELEGUE"),
    "responder may not sign": (lambda: by(delegate(IGC, usage=("key_encipherment",))), "OCSP-DELEGUE"),
    "responder expired": (lambda: by(delegate(IGC, not_after=NOW - MINUTE)), "OCSP-DELEGUE"),
    "responder not yet valid": (lambda: by(delegate(IGC, not_before=NOW + MINUTE)), "OCSP-DELEGUE"),
    "responder with unknown critical extension": (lambda: by(delegate(IGC, extra=[(UNKNOWN, True)])), "OCSP-DELEGUE"),
    "responder with a weak key": (lambda: by(delegate(IGC, key=key_for("weak", 1024))), "OCSP-SIGNATURE"),
    "responder's certificate left out": (lambda: GOOD.but(signer=delegate(IGC)).der(), "OCSP-REPONDEUR"),
    "ECDSA said, RSA signed": (lambda: by(delegate(IGC)).replace(bytes.fromhex("06092a864886f70d01010b0500"),
                                                                   bytes.fromhex("06092a864886f70d01010c0500"), 1), "OCSP-"),
    "another serial": (lambda: GOOD.but(certificate=OTHER).der(), "OCSP-CERTID"),
    "same serial, other issuer": (lambda: GOOD.but(certificate=SISTER, issuer=SISTER_CA[0]).der(), "OCSP-CERTID"),
    "same serial, other issuer of the same name": (lambda: GOOD.but(issuer=FOREIGN_CA[0]).der(), "OCSP-CERTID"),
    "same serial, told by the other issuer": (
        lambda: GOOD.but(certificate=SISTER, issuer=SISTER_CA[0], signer=SISTER_CA).der(), "OCSP-REPONDEUR"),
    "CertID with another digest": (lambda: GOOD.but(digest="sha256").der(), "OCSP-CERTID"),
    "another nonce": (lambda: GOOD.but(nonce=b"x" * 32).der(), "OCSP-NONCE"),
    "shorter nonce": (lambda: GOOD.but(nonce=NONCE[:16]).der(), "OCSP-NONCE"),
    "empty nonce": (lambda: GOOD.but(nonce=b"").der(), "OCSP-NONCE"),
    "replayed without nonce": (lambda: GOOD.but(nonce=None, at=NOW - 25 * HOUR, life=48 * HOUR).der(), "OCSP-PERIMEE"),
    "stale": (lambda: GOOD.but(at=NOW - HOUR - 6 * MINUTE).der(), "OCSP-PERIMEE"),
    "from the future": (lambda: GOOD.but(at=NOW + 6 * MINUTE).der(), "OCSP-DATE"),
    "produced in the future": (lambda: GOOD.but(produced=6 * MINUTE).der(), "OCSP-DATE"),
    "produced before it was true": (lambda: GOOD.but(produced=-6 * MINUTE).der(), "OCSP-DATE"),
    "ends before it begins": (lambda: GOOD.but(life=-MINUTE).der(), "OCSP-DATE"),
}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_refused(name: str) -> None:
    make, rule = TABLE[name]
    assert refused(make()).rule.startswith(rule)


def test_a_nonce_may_be_demanded() -> None:
    assert refused(GOOD.but(nonce=None).der(), OcspPolicy(nonce_required=True)).rule == "OCSP-NONCE"
    assert verified(GOOD.der(), OcspPolicy(nonce_required=True)).fresh


def test_a_delegated_responder_is_itself_checked_for_revocation() -> None:
    checked, unchecked = by(delegate(IGC, no_check=False)), by(delegate(IGC))
    assert refused(checked, crls=CrlSet()).rule == "OCSP-DELEGUE", "unknown, and no ocsp-nocheck"
    assert verified(unchecked, crls=CrlSet()).delegate
    revoked = CrlSet().admit(parse_any_crl(IGC.crl([4242]), IGC.anchors, NOW))
    for raw in (checked, unchecked):
        assert "revoque" in refused(raw, crls=revoked).public
    expired = CrlSet().admit(parse_any_crl(IGC.crl(next_update=NOW - HOUR), IGC.anchors, NOW))
    assert refused(checked, crls=expired).rule == "OCSP-DELEGUE"


def test_two_generations_of_one_name_are_told_apart_by_key() -> None:
    """The responder id by name fits both: the signature decides, and the right one comes second."""
    stranger = delegate(IGC, key=key_for("stranger"), eku=("server",))
    raw = GOOD.but(signer=delegate(IGC), delegates=(stranger[0], delegate(IGC)[0]), by="name").der()
    assert verified(raw).delegate


# ---------------------------------------------------------------- which answer is kept


def answer(status: RevocationStatus, minutes: int) -> OcspAnswer:
    at = NOW + minutes * MINUTE
    return OcspAnswer(status, at, at + HOUR, at)


@pytest.mark.parametrize(("held", "new", "rule"), [
    ((RevocationStatus.GOOD, 0), (RevocationStatus.GOOD, 1), ""), ((RevocationStatus.GOOD, 0), (RevocationStatus.GOOD, 0), ""),
    ((RevocationStatus.GOOD, 0), (RevocationStatus.REVOKED, 0), ""),
    ((RevocationStatus.GOOD, 0), (RevocationStatus.GOOD, -1), "OCSP-RECUL"),
    ((RevocationStatus.REVOKED, 0), (RevocationStatus.GOOD, -1), "OCSP-RECUL"),
    ((RevocationStatus.REVOKED, 0), (RevocationStatus.GOOD, 0), "OCSP-RECUL"),
    ((RevocationStatus.REVOKED, 0), (RevocationStatus.REVOKED, 0), ""),
    ((RevocationStatus.REVOKED, 0), (RevocationStatus.GOOD, 1), "")])
def test_the_newest_stays_and_a_revocation_is_not_replayed_away(held: tuple[RevocationStatus, int],
                                                               new: tuple[RevocationStatus, int], rule: str) -> None:
    if rule:
        with pytest.raises(OcspFault) as caught:
            admit_answer(answer(*new), answer(*held))
        assert caught.value.rule == rule
    else:
        assert admit_answer(answer(*new), answer(*held)) == answer(*new)
    assert admit_answer(answer(*new), None) == answer(*new)


# ---------------------------------------------------------------- whom to ask


@pytest.mark.parametrize(("url", "expected"), [
    ("http://ocsp.esante.gouv.fr", "http://ocsp.esante.gouv.fr:80"), ("http://OCSP.esante.gouv.fr/a/b", "http://ocsp.esante.gouv.fr:80"),
    ("HTTP://ocsp.test:8080/", "http://ocsp.test:8080"), ("http://[::1]:81/", "http://[::1]:81"), ("http://127.0.0.1:80", "http://127.0.0.1:80"),
    ("https://ocsp.test", ""), ("file:///etc/passwd", ""), ("ldap://ocsp.test", ""), ("ocsp.test", ""), ("", ""), ("http://", ""),
    ("http://ocsp.test@evil.test/", ""), ("http://evil.test\\@ocsp.test/", ""), ("http://evil.test#@ocsp.test/", ""),
    ("http://ocsp.test?x", ""), ("http://ocsp.test:99999/", ""), ("http://ocsp.test:x/", ""), ("http://ocsp.tést/", ""),
    ("http://ocsp.test/\r\nHost: x", ""), (" http://ocsp.test/", ""), ("http://ocsp.test/" + "x" * 1100, ""), ("http://[::1", "")])
def test_origin(url: str, expected: str) -> None:
    assert origin(url) == expected


def test_an_address_of_the_certificate_is_used_only_when_its_host_is_allowed() -> None:
    def leaf(*urls: str) -> x509.Certificate:
        access = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for url in urls
                  for method in (x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, x509.oid.AuthorityInformationAccessOID.OCSP)]
        return IGC.leaf(CN, extra=[(x509.AuthorityInformationAccess(access), False)])[0]

    allowed = frozenset({"http://ocsp.test:80", "http://127.0.0.1:8080"})
    assert named_responder(leaf("http://ocsp.test/x"), allowed) == "http://ocsp.test/x"
    assert named_responder(leaf("http://evil.test/", "http://127.0.0.1:8080/"), allowed) == "http://127.0.0.1:8080/"
    for url in ("http://evil.test/", "http://ocsp.test.evil.test/", "http://ocsp.test:81/", "https://ocsp.test/", "file:///ocsp.test",
                "http://127.0.0.1/", "http://ocsp.test@evil.test/"):
        assert named_responder(leaf(url), allowed) == ""
    assert named_responder(leaf("http://ocsp.test/x"), frozenset()) == "" and named_responder(LEAF, allowed) == ""
    only_issuers = IGC.leaf(CN, extra=[(x509.AuthorityInformationAccess([x509.AccessDescription(
        x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ocsp.test/"))]), False)])[0]
    assert named_responder(only_issuers, allowed) == ""


def test_no_octet_of_an_answer_can_be_changed() -> None:
    """Whatever is flipped, the answer is refused or says the very same."""
    chance = random.Random(7)
    for raw in (GOOD.der(), by(delegate(IGC))):
        wanted = verified(raw)
        for _ in range(400):
            octets = bytearray(raw)
            octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
            try:
                found = verified(bytes(octets))
            except OcspFault:
                continue
            assert found.status is wanted.status and (found.this_update, found.next_update, found.produced_at, found.fresh) == (
                wanted.this_update, wanted.next_update, wanted.produced_at, wanted.fresh)
