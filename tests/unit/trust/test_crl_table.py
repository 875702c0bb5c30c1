"""Certificate revocation lists: whose, of what scope, how old (RFC 5280 §5, RELIABILITY §2 "CRL, OCSP")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.pki import CRL_FROM, ORGANISATIONS_CN, authority, build_igc, certificate_pem, key_for

from mssante.errors import InputFault
from mssante.trust import crl as module
from mssante.trust.anchors import load_anchors
from mssante.trust.crl import CrlSet, RevocationStatus, parse_any_crl, parse_crl

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
IGC = build_igc()
ANCHORS = IGC.anchors
ISSUER = IGC.organisations.certificate


def point(**options: object) -> x509.IssuingDistributionPoint:
    values: dict[str, object] = {
        "full_name": None, "relative_name": None, "only_contains_user_certs": False, "only_contains_ca_certs": False,
        "only_some_reasons": None, "indirect_crl": False, "only_contains_attribute_certs": False} | options
    return x509.IssuingDistributionPoint(**values)  # type: ignore[arg-type]


URI = [x509.UniformResourceIdentifier("http://igc.example.invalid/a.crl")]
CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
REFUSED = {
    "garbage": (b"garbage", "CRL-LECTURE"),
    "empty": (b"", "CRL-LECTURE"),
    "HTML": (b"<html>404</html>", "CRL-LECTURE"),
    "truncated": (IGC.crl()[:-1], "CRL-LECTURE"),
    "a certificate": (ISSUER.public_bytes(serialization.Encoding.DER), "CRL-LECTURE"),
    "empty PEM": (b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n", "CRL-LECTURE"),
    "other issuer": (IGC.crl(issuer="personnes"), "CRL-EMETTEUR"),
    "look-alike issuer": (IGC.crl(issuer="lookalike"), "CRL-EMETTEUR"),
    "same name, other key": (IGC.crl(issuer="foreign"), "CRL-SIGNATURE"),
    "signed by the root": (IGC.crl(key=IGC.root.key), "CRL-SIGNATURE"),
    "signed by a leaf": (IGC.crl(key=key_for("leaf")), "CRL-SIGNATURE"),
    "signature altered": (IGC.crl()[:-1] + bytes([IGC.crl()[-1] ^ 1]), "CRL-SIGNATURE"),
    "delta": (IGC.crl(extra=[(x509.DeltaCRLIndicator(1), True)]), "CRL-PORTEE"),
    "indirect": (IGC.crl(extra=[(point(indirect_crl=True), True)]), "CRL-PORTEE"),
    "of authorities only": (IGC.crl(extra=[(point(only_contains_ca_certs=True), True)]), "CRL-PORTEE"),
    "of attributes only": (IGC.crl(extra=[(point(only_contains_attribute_certs=True), True)]), "CRL-PORTEE"),
    "of some reasons": (IGC.crl(extra=[(point(full_name=URI, only_some_reasons=frozenset(
        [x509.ReasonFlags.key_compromise])), True)]), "CRL-PORTEE"),
    "unknown critical extension": (IGC.crl(extra=[(CRITICAL, True)]), "CRL-PORTEE"),
    "from the future": (IGC.crl(this_update=NOW + HOUR), "CRL-DATE"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(name: str) -> None:
    raw, rule = REFUSED[name]
    with pytest.raises(InputFault) as caught:
        parse_any_crl(raw, ANCHORS, NOW)
    assert caught.value.rule == rule


def _without_next_update(raw: bytes) -> bytes:
    """Take nextUpdate out of a CRL and sign it again (the library refuses to build such a one)."""
    tbs = x509.load_der_x509_crl(raw).tbs_certlist_bytes
    instant = b"\x17\x0d440101000000Z"
    assert tbs.count(instant) == 1
    content = tbs[4:].replace(instant, b"")
    shorter = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    from cryptography.hazmat.primitives.asymmetric import padding

    value = IGC.organisations.key.sign(shorter, padding.PKCS1v15(), hashes.SHA256())
    algorithm = bytes.fromhex("300d06092a864886f70d01010b0500")
    whole = shorter + algorithm + b"\x03\x82" + (len(value) + 1).to_bytes(2, "big") + b"\x00" + value
    return b"\x30\x82" + len(whole).to_bytes(2, "big") + whole


def test_without_next_update_it_would_serve_for_ever() -> None:
    raw = _without_next_update(IGC.crl(range(1, 9), next_update=datetime(2044, 1, 1, tzinfo=UTC)))
    read = x509.load_der_x509_crl(raw)
    assert read.next_update_utc is None and read.is_signature_valid(IGC.organisations.key.public_key())
    with pytest.raises(InputFault) as caught:
        parse_any_crl(raw, ANCHORS, NOW)
    assert caught.value.rule == "CRL-DATE"


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OCTETS", 100)
    with pytest.raises(InputFault) as caught:
        parse_any_crl(b"\x30" * 101, ANCHORS, NOW)
    assert caught.value.rule == "CRL-TAILLE"


@pytest.mark.parametrize("raw", [
    IGC.crl([5], number=7),
    x509.load_der_x509_crl(IGC.crl([5], number=7)).public_bytes(serialization.Encoding.PEM),
    IGC.crl([5], number=7, extra=[(point(only_contains_user_certs=True), True)]),
    IGC.crl([5], number=7, extra=[(point(full_name=URI), True)]),
    IGC.crl([5], number=7, extra=[(CRITICAL, False)]),
    IGC.crl([5], number=7, this_update=NOW + timedelta(minutes=4)),
])
def test_read(raw: bytes) -> None:
    found = parse_any_crl(raw, ANCHORS, NOW)
    assert (found.number, found.revoked) == (7, frozenset([5]))
    assert CrlSet().admit(found).status(5, ISSUER, NOW) is RevocationStatus.REVOKED


def test_a_crl_belongs_to_the_authority_that_signed_it() -> None:
    found = parse_any_crl(IGC.crl([5], issuer="root"), ANCHORS, NOW)
    crls = CrlSet().admit(found)
    assert crls.status(5, ISSUER, NOW) is RevocationStatus.UNKNOWN
    assert crls.status(5, IGC.root.certificate, NOW) is RevocationStatus.REVOKED
    with pytest.raises(InputFault) as caught:
        parse_crl(IGC.crl(issuer="root"), ISSUER, NOW)
    assert caught.value.rule == "CRL-EMETTEUR"


def test_generations_of_one_name_are_told_apart_by_key() -> None:
    second = authority(ORGANISATIONS_CN, "organisations 2", IGC.root)
    anchors = load_anchors([IGC.anchors_pem, certificate_pem(second.certificate)], IGC.issuer_cns)
    crls = CrlSet().admit(parse_any_crl(IGC.crl([5]), anchors, NOW))
    crls = crls.admit(parse_any_crl(IGC.crl([6], key=second.key), anchors, NOW))
    assert crls.status(5, ISSUER, NOW) is RevocationStatus.REVOKED
    assert crls.status(5, second.certificate, NOW) is RevocationStatus.GOOD
    assert crls.status(6, second.certificate, NOW) is RevocationStatus.REVOKED


def test_status_over_time() -> None:
    crls = CrlSet().admit(parse_any_crl(IGC.crl([5], next_update=NOW), ANCHORS, NOW))
    assert crls.status(6, ISSUER, NOW) is RevocationStatus.GOOD
    assert crls.status(6, ISSUER, NOW + HOUR) is RevocationStatus.UNKNOWN
    assert crls.status(6, ISSUER, NOW + HOUR, HOUR) is RevocationStatus.GOOD
    assert crls.status(5, ISSUER, NOW + timedelta(days=999)) is RevocationStatus.REVOKED
    assert CrlSet().status(5, ISSUER, NOW) is RevocationStatus.UNKNOWN


@pytest.mark.parametrize(("number", "this_update", "outcome"), [
    (7, CRL_FROM, "same"), (8, CRL_FROM, "new"), (8, CRL_FROM + HOUR, "new"), (7, CRL_FROM + HOUR, "new"),
    (6, CRL_FROM, "CRL-RECUL"), (6, CRL_FROM + HOUR, "CRL-RECUL"), (8, CRL_FROM - HOUR, "CRL-RECUL"),
    (7, CRL_FROM - HOUR, "CRL-RECUL"), (None, CRL_FROM + HOUR, "CRL-RECUL")])
def test_the_newest_stays(number: int | None, this_update: datetime, outcome: str) -> None:
    kept = CrlSet().admit(parse_any_crl(IGC.crl([5], number=7), ANCHORS, NOW))
    other = parse_any_crl(IGC.crl(number=number, this_update=this_update), ANCHORS, NOW)
    if outcome == "CRL-RECUL":
        with pytest.raises(InputFault) as caught:
            kept.admit(other)
        assert caught.value.rule == outcome
        return
    found = kept.admit(other)
    assert (found is kept) is (outcome == "same")
    assert found.status(5, ISSUER, NOW) is (RevocationStatus.REVOKED if outcome == "same" else RevocationStatus.GOOD)
    assert kept.status(5, ISSUER, NOW) is RevocationStatus.REVOKED, "a set never changes"


def test_many_entries() -> None:
    found = parse_any_crl(IGC.crl(range(1, 20_001)), ANCHORS, NOW)
    assert len(found.revoked) == 20_000
