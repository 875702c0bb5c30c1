"""Certificate revocation lists: whose, of what scope, how old, which of two is kept (RFC 5280 §5, RELIABILITY §2 "CRL, OCSP")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.pki import CRL_FROM, ORGANISATIONS_CN, authority, build_igc, certificate_pem, key_for

from mssante.errors import InputFault
from mssante.trust import crl as module
from mssante.trust.anchors import load_anchors
from mssante.trust.crl import (
    MAX_OCTETS,
    Crl,
    CrlSet,
    RevocationStatus,
    admit_crl,
    distribution_points,
    parse_any_crl,
    parse_crl,
)

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
RELATIVE = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "part 1")])
REFUSED = {
    "garbage": (b"garbage", "CRL-LECTURE"),
    "empty": (b"", "CRL-LECTURE"),
    "HTML": (b"<html>404</html>", "CRL-LECTURE"),
    "truncated": (IGC.crl()[:-1], "CRL-LECTURE"),
    "a certificate": (ISSUER.public_bytes(serialization.Encoding.DER), "CRL-LECTURE"),
    "PEM of nothing": (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "CRL-LECTURE"),
    "deep": (b"\x30\x80" * 1000, "CRL-LECTURE"),
    "too large": (b"\x30" * (MAX_OCTETS + 1), "CRL-TAILLE"),
    "empty PEM": (b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n", "CRL-LECTURE"),
    "other issuer": (IGC.crl(issuer="personnes"), "CRL-EMETTEUR"),
    "look-alike issuer": (IGC.crl(issuer="lookalike"), "CRL-EMETTEUR"),
    "same name, other key": (IGC.crl(issuer="foreign"), "CRL-SIGNATURE"),
    "signed by the root": (IGC.crl(key=IGC.root.key), "CRL-SIGNATURE"),
    "signed by an attacker": (IGC.crl(key=key_for("attacker")), "CRL-SIGNATURE"),
    "serial altered": (IGC.crl([0x1234567890]).replace(b"\x12\x34\x56\x78\x90", b"\x12\x34\x56\x78\x91"), "CRL-SIGNATURE"),
    "signed by a leaf": (IGC.crl(key=key_for("leaf")), "CRL-SIGNATURE"),
    "signature altered": (IGC.crl()[:-1] + bytes([IGC.crl()[-1] ^ 1]), "CRL-SIGNATURE"),
    "delta": (IGC.crl(extra=[(x509.DeltaCRLIndicator(1), True)]), "CRL-PORTEE"),
    "indirect": (IGC.crl(extra=[(point(indirect_crl=True), True)]), "CRL-PORTEE"),
    "of authorities only": (IGC.crl(extra=[(point(only_contains_ca_certs=True), True)]), "CRL-PORTEE"),
    "of attributes only": (IGC.crl(extra=[(point(only_contains_attribute_certs=True), True)]), "CRL-PORTEE"),
    "of some reasons": (IGC.crl(extra=[(point(full_name=URI, only_some_reasons=frozenset(
        [x509.ReasonFlags.key_compromise])), True)]), "CRL-PORTEE"),
    "of a point without address": (IGC.crl(extra=[(point(full_name=[x509.DNSName("igc.test")]), True)]), "CRL-PORTEE"),
    "of a relative point": (IGC.crl(extra=[(point(relative_name=RELATIVE), True)]), "CRL-PORTEE"),
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


def test_content() -> None:
    raw = IGC.crl([3, 1 << 140], number=12, this_update=NOW - HOUR, next_update=NOW + HOUR)
    found = parse_crl(raw, ISSUER, NOW)
    assert found.revoked == {3, 1 << 140} and (found.number, found.this_update, found.next_update) == (12, NOW - HOUR, NOW + HOUR)
    pem = x509.load_der_x509_crl(raw).public_bytes(serialization.Encoding.PEM)
    assert parse_crl(b"\n" + pem, ISSUER, NOW) == found
    assert parse_crl(IGC.crl(number=None), ISSUER, NOW).number == -1


@pytest.mark.parametrize(("critical", "expected"), [(False, ""), (True, "CRL-PORTEE")])
def test_extensions_of_an_entry(critical: bool, expected: str) -> None:
    """An indirect CRL names other issuers in critical entry extensions (RFC 5280 §5.3.3)."""
    entry = x509.RevokedCertificateBuilder().serial_number(1).revocation_date(NOW).add_extension(
        x509.CertificateIssuer([x509.DirectoryName(IGC.personnes.certificate.subject)]), critical=critical)
    raw = (x509.CertificateRevocationListBuilder().issuer_name(ISSUER.subject).last_update(NOW)
           .next_update(NOW + HOUR).add_revoked_certificate(entry.build())
           .sign(IGC.organisations.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    if expected:
        with pytest.raises(InputFault) as caught:
            parse_crl(raw, ISSUER, NOW)
        assert caught.value.rule == expected
    else:
        assert parse_crl(raw, ISSUER, NOW).revoked == {1}


@pytest.mark.parametrize(("number", "hours", "kept"), [
    (6, 1, "new"), (6, 0, "new"), (5, 1, "new"), (5, 0, "current"), (4, 1, "refused"), (6, -1, "refused"), (-1, 1, "refused")])
def test_which_is_kept(number: int, hours: int, kept: str) -> None:
    current = Crl("a", 5, NOW, NOW + 9 * HOUR, frozenset())
    new = Crl("a", number, NOW + hours * HOUR, NOW + 9 * HOUR, frozenset({1}))
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


def test_statuses() -> None:
    issuer = ISSUER
    held = CrlSet().admit(parse_crl(IGC.crl([7], next_update=NOW), issuer, NOW))
    assert held.status(7, issuer, NOW) is RevocationStatus.REVOKED
    assert held.status(8, issuer, NOW) is RevocationStatus.GOOD
    late = NOW + timedelta(seconds=1)
    assert held.status(7, issuer, late) is RevocationStatus.REVOKED
    assert held.status(8, issuer, late) is RevocationStatus.UNKNOWN
    assert held.status(8, issuer, late, HOUR) is RevocationStatus.GOOD
    assert held.status(8, IGC.root.certificate, NOW) is RevocationStatus.UNKNOWN
    assert held.status(7, IGC.foreign.certificate, NOW) is RevocationStatus.UNKNOWN, "same name, another key"
    assert CrlSet().status(8, issuer, NOW) is RevocationStatus.UNKNOWN
    with pytest.raises(TypeError):
        held.by_issuer["x"] = held.by_issuer[next(iter(held.by_issuer))]  # type: ignore[index]


def test_a_key_that_may_not_sign_crls() -> None:
    sealed, key = IGC.list_signer()
    raw = (x509.CertificateRevocationListBuilder().issuer_name(sealed.subject).last_update(NOW).next_update(NOW + HOUR)
           .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    with pytest.raises(InputFault) as caught:
        parse_crl(raw, sealed, NOW)
    assert caught.value.rule == "CRL-SIGNATURE"


def test_an_expired_crl_is_read_for_what_it_revokes() -> None:
    expired = parse_crl(IGC.crl([1], next_update=NOW - HOUR), ISSUER, NOW)
    assert expired.next_update == NOW - HOUR and expired.revoked == {1}


# ---------------------------------------------------------------- parts, by distribution point


def part(name: str, revoked: Sequence[int] = (), number: int = 1, **options: object) -> Crl:
    """A CRL of ORGANISATIONS that speaks for one distribution point, under two addresses (F3.4)."""
    names = [x509.UniformResourceIdentifier(f"http://igc.test/{name}.crl"), x509.UniformResourceIdentifier(f"ldap://igc.test/{name}")]
    scope = point(full_name=names, only_contains_user_certs=True)
    return parse_any_crl(IGC.crl(revoked, number=number, extra=[(scope, True)], **options), ANCHORS, NOW)  # type: ignore[arg-type]


def points(*names: str) -> frozenset[str]:
    return frozenset(f"http://igc.test/{name}.crl" for name in names)


def test_a_part_clears_only_its_own_certificates_and_revokes_whatever_it_names() -> None:
    crls = CrlSet().admit(part("1", [5])).admit(part("2", [6]))
    assert crls.status(7, ISSUER, NOW, points=points("1")) is RevocationStatus.GOOD
    assert crls.status(7, ISSUER, NOW, points=points("3")) is RevocationStatus.UNKNOWN
    assert crls.status(7, ISSUER, NOW, points=points("3", "2")) is RevocationStatus.GOOD
    assert crls.status(7, ISSUER, NOW) is RevocationStatus.UNKNOWN, "a certificate that names no point"
    for named in (points("1"), points("2"), points()):
        assert crls.status(5, ISSUER, NOW, points=named) is crls.status(6, ISSUER, NOW, points=named) is RevocationStatus.REVOKED
    assert crls.status(5, IGC.root.certificate, NOW, points=points("1")) is RevocationStatus.UNKNOWN, "another authority"


def test_parts_live_beside_the_full_one_and_each_has_its_own_numbers() -> None:
    full = parse_any_crl(IGC.crl([9], number=50), ANCHORS, NOW)
    crls = CrlSet().admit(full).admit(part("1", [5], 3)).admit(part("2", [6], 2))
    assert crls.status(7, ISSUER, NOW) is RevocationStatus.GOOD and len(crls.every()) == 3
    assert {crls.status(serial, ISSUER, NOW) for serial in (5, 6, 9)} == {RevocationStatus.REVOKED}
    newer = crls.admit(part("1", [], 4))
    assert newer.status(5, ISSUER, NOW, points=points("1")) is RevocationStatus.GOOD and len(newer.every()) == 3
    assert newer.admit(part("1", [], 4)) is newer
    with pytest.raises(InputFault) as caught:
        newer.admit(part("1", [5], 3))
    assert caught.value.rule == "CRL-RECUL"
    held = newer.held_for(part("2"))
    assert held is not None and held.revoked == {6} and newer.held_for(part("3")) is None and newer.held_for(full) is full


def test_a_part_past_its_time_clears_nobody_even_beside_another_in_time() -> None:
    crls = CrlSet().admit(part("1", [5], next_update=NOW)).admit(part("2"))
    late = NOW + HOUR
    assert crls.status(7, ISSUER, late, points=points("1")) is RevocationStatus.UNKNOWN
    assert crls.status(7, ISSUER, late, HOUR, points("1")) is RevocationStatus.GOOD
    assert crls.status(7, ISSUER, late, points=points("2")) is RevocationStatus.GOOD
    assert crls.status(5, ISSUER, late, points=points("1")) is RevocationStatus.REVOKED


def test_a_revoked_authority_is_read_in_full_crls_and_in_parts() -> None:
    scope = point(full_name=URI)
    for extra in ((), [(scope, True)]):
        raw = IGC.crl([ISSUER], issuer="root", extra=extra)
        assert CrlSet().admit(parse_any_crl(raw, ANCHORS, NOW)).authority_revoked(ISSUER, ANCHORS)
    assert not CrlSet().admit(parse_any_crl(IGC.crl(issuer="root"), ANCHORS, NOW)).authority_revoked(ISSUER, ANCHORS)


def test_the_points_of_a_certificate() -> None:
    def leaf(*found: x509.DistributionPoint) -> x509.Certificate:
        return IGC.leaf("mx.a.mssante.fr", extra=[(x509.CRLDistributionPoints(found), False)])[0]

    def named(*urls: str, reasons: frozenset[x509.ReasonFlags] | None = None, crl_issuer: list[x509.GeneralName] | None = None,
              ) -> x509.DistributionPoint:
        return x509.DistributionPoint([x509.UniformResourceIdentifier(url) for url in urls], None, reasons, crl_issuer)

    assert distribution_points(IGC.leaf("mx.a.mssante.fr")[0]) == frozenset()
    assert distribution_points(leaf(named("http://a", "ldap://a"), named("http://b"))) == {"http://a", "ldap://a", "http://b"}
    some = frozenset([x509.ReasonFlags.key_compromise])
    other = [x509.DirectoryName(IGC.personnes.certificate.subject)]
    assert distribution_points(leaf(named("http://a", reasons=some), named("http://b", crl_issuer=other))) == frozenset()
    assert len(distribution_points(leaf(*(named(f"http://{number}") for number in range(50))))) == 20
