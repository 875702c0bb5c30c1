"""The certificate of a peer: who is admitted, and the rule and words of each refusal."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.pki import CLIENT, SERVER, TestIgc, certificate_pem, der, key_for

from mssante.errors import PeerFault
from mssante.model.identity import OperatorIdentity
from mssante.trust.anchors import load_anchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.peer import PeerPolicy, UnknownRevocation, identify

CN = "mta.alpha.example.fr"
DAY = timedelta(days=1)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def read(igc: TestIgc, raw: bytes, now: datetime, policy: PeerPolicy | None = None, crls: CrlSet | None = None,
         ) -> OperatorIdentity:
    return identify(raw, igc.anchors, igc.crl_set() if crls is None else crls, now, policy or PeerPolicy())


def refused(igc: TestIgc, raw: bytes, now: datetime, policy: PeerPolicy | None = None, crls: CrlSet | None = None) -> PeerFault:
    with pytest.raises(PeerFault) as caught:
        read(igc, raw, now, policy, crls)
    fault = caught.value
    assert fault.public.isascii() and fault.public.isprintable() and len(fault.public) <= 440, "fit for one SMTP line"
    return fault


def test_identity(igc: TestIgc, now: datetime) -> None:
    certificate, _ = igc.leaf(CN, san=("MTA2.alpha.example.fr", CN, "*.example.fr"), serial=77)
    found = read(igc, der(certificate), now)
    assert found.subject.text == f"CN={CN},OU=318751275100020,O=ORGANISATION DE TEST,ST=Paris (75),C=FR"
    assert found.names == (CN, "mta2.alpha.example.fr"), "lower-case, once each, no wildcard"
    assert (found.serial, found.not_after) == (77, certificate.not_valid_after_utc)
    assert found.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert found.issuer_cn == "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"


@pytest.mark.parametrize(("options", "rule"), [
    ({}, ""),
    ({"san": ()}, ""),
    ({"eku": None}, ""),
    ({"eku": (SERVER,)}, ""),
    ({"eku": (CLIENT,)}, ""),
    ({"usage": None}, ""),
    ({"key": ec.generate_private_key(ec.SECP256R1())}, ""),
    ({"cn": "*.example.fr"}, ""),  # proves that name and no other: the white list holds none (spec §1.3)
    ({"category": 0x82}, ""),
    ({"digest": hashes.SHA512()}, ""),
    ({"issuer": "personnes"}, "PEER-ISSUER"),
    ({"issuer": "foreign"}, "PEER-ISSUER"),  # the very name of ORGANISATIONS, another key
    ({"issuer": "lookalike"}, "PEER-ISSUER"),
    ({"issuer": "root"}, "PEER-ISSUER"),
    ({"not_after": -1}, "PEER-EXPIRED"),
    ({"not_before": 1}, "PEER-NOT-YET"),
    ({"ca": True}, "PEER-CA"),
    ({"usage": ("digital_signature", "key_cert_sign"), "ca": True}, "PEER-CA"),
    ({"usage": ("key_encipherment",)}, "PEER-USAGE"),
    ({"eku": (ExtendedKeyUsageOID.EMAIL_PROTECTION,)}, "PEER-EKU"),
    ({"eku": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "PEER-EKU"),
    ({"key_bits": 1024}, "PEER-KEY"),
    ({"key": ec.generate_private_key(ec.SECP224R1())}, "PEER-KEY"),
    ({"key": ed25519.Ed25519PrivateKey.generate()}, "PEER-KEY"),
    ({"extra": [(UNKNOWN, True)]}, "PEER-CRITICAL"),
    ({"extra": [(UNKNOWN, False)]}, ""),
    ({"extra": [(x509.NameConstraints([x509.DNSName("x.fr")], None), True)]}, "PEER-CRITICAL"),
    ({"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.5"), b"x" * 17_000), False)]}, "PEER-PARSE"),
])
def test_certificates(igc: TestIgc, now: datetime, options: dict[str, object], rule: str) -> None:
    given = {name: now + value * DAY if isinstance(value, int) and name.startswith("not_") else value
             for name, value in options.items()}
    certificate, _ = igc.leaf(str(given.pop("cn", CN)), **given)  # type: ignore[arg-type]
    if not rule:
        assert read(igc, der(certificate), now).serial == certificate.serial_number
    else:
        fault = refused(igc, der(certificate), now)
        assert fault.rule == rule and not fault.temporary


@pytest.mark.parametrize(("raw", "rule"), [
    (b"", "PEER-ABSENT"), (b"junk", "PEER-PARSE"), (b"\x30\x82" + b"\x00" * 20, "PEER-PARSE"), (b"\x30" * 20_000, "PEER-PARSE")])
def test_no_certificate(igc: TestIgc, now: datetime, raw: bytes, rule: str) -> None:
    assert refused(igc, raw, now).rule == rule


def test_self_signed_twin(igc: TestIgc, now: datetime) -> None:
    """All names right, signed by its own key."""
    issuer = igc.organisations.certificate.subject
    certificate = (x509.CertificateBuilder().subject_name(igc.leaf(CN)[0].subject).issuer_name(issuer)
                   .public_key(key_for("twin").public_key()).serial_number(5).not_valid_before(now - DAY)
                   .not_valid_after(now + DAY).sign(key_for("twin"), hashes.SHA256()))
    assert refused(igc, der(certificate), now).rule == "PEER-ISSUER"


def test_altered_certificate(igc: TestIgc, now: datetime) -> None:
    raw = der(igc.leaf(CN)[0])
    assert refused(igc, raw.replace(b"mta.alpha", b"mta.alphb"), now).rule == "PEER-ISSUER"


def test_issuer_named_in_the_refusal(igc: TestIgc, now: datetime) -> None:
    public = refused(igc, der(igc.leaf(CN, issuer="personnes")[0]), now).public
    assert "ELEMENTAIRE PERSONNES" in public and "ELEMENTAIRE ORGANISATIONS" in public


@pytest.mark.parametrize(("policy", "eku", "rule"), [
    ("server", (SERVER,), ""), ("server", (CLIENT,), "PEER-EKU"), ("server", (SERVER, CLIENT), ""), ("server", None, ""),
    ("client", (CLIENT,), ""), ("client", (SERVER,), "PEER-EKU"), ("client", None, ""), ("any", (SERVER,), "")])
def test_extended_usage_by_policy(igc: TestIgc, now: datetime, policy: str, eku: tuple[x509.ObjectIdentifier, ...] | None,
                                  rule: str) -> None:
    raw = der(igc.leaf(CN, eku=eku)[0])
    if rule:
        assert refused(igc, raw, now, PeerPolicy(eku=policy)).rule == rule
    else:
        assert read(igc, raw, now, PeerPolicy(eku=policy))


@pytest.mark.parametrize(("category", "refused_in_production"), [(None, False), (0x02, False), (0x03, False), (0x80, True),
                                                                 (0x82, True), (0x83, True)])
def test_product_category(igc: TestIgc, now: datetime, category: int | None, refused_in_production: bool) -> None:
    raw = der(igc.leaf(CN, category=category)[0])
    assert read(igc, raw, now)
    if refused_in_production:
        assert refused(igc, raw, now, PeerPolicy(production=True)).rule == "PEER-CATEGORY"
    else:
        assert read(igc, raw, now, PeerPolicy(production=True))


def test_unreadable_category(igc: TestIgc, now: datetime) -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.250.1.71.1.2.5"), b"\x0c\x0283")
    raw = der(igc.leaf(CN, extra=[(odd, False)])[0])
    assert refused(igc, raw, now, PeerPolicy(production=True)).rule == "PEER-CATEGORY"


def test_revocation(igc: TestIgc, now: datetime) -> None:
    certificate, _ = igc.leaf(CN)
    raw = der(certificate)
    revoked = refused(igc, raw, now, crls=igc.crl_set([1, certificate]))
    assert revoked.rule == "PEER-REVOKED" and not revoked.temporary
    for crls in (CrlSet(), CrlSet().admit(parse_any_crl(igc.crl(issuer="root"), igc.anchors, now))):
        unknown = refused(igc, raw, now, crls=crls)
        assert isinstance(unknown, UnknownRevocation) and unknown.rule == "PEER-CRL-STALE" and unknown.temporary


def test_a_late_crl(igc: TestIgc, now: datetime) -> None:
    """Past nextUpdate nobody is known good; who was revoked stays so; the grace is a setting."""
    certificate, _ = igc.leaf(CN)
    late = now + timedelta(hours=2)
    good, bad = (CrlSet().admit(parse_any_crl(igc.crl(revoked, next_update=now + timedelta(hours=1)), igc.anchors, now))
                 for revoked in ([], [certificate]))
    assert read(igc, der(certificate), now, crls=good)
    assert refused(igc, der(certificate), late, crls=good).rule == "PEER-CRL-STALE"
    assert refused(igc, der(certificate), late, crls=bad).rule == "PEER-REVOKED"
    grace = PeerPolicy(crl_grace=timedelta(hours=1))
    assert read(igc, der(certificate), late, grace, good)
    assert refused(igc, der(certificate), late + timedelta(seconds=1), grace, good).rule == "PEER-CRL-STALE"


def test_revoked_authority(igc: TestIgc, now: datetime) -> None:
    crls = igc.crl_set().admit(parse_any_crl(igc.crl([igc.organisations.certificate], issuer="root"), igc.anchors, now))
    assert refused(igc, der(igc.leaf(CN)[0]), now, crls=crls).rule == "PEER-REVOKED"


def test_two_generations_of_one_name(igc: TestIgc, now: datetime) -> None:
    """The key tells which authority issued a leaf, and so which CRL speaks of it."""
    other = igc.foreign.certificate
    anchors = load_anchors([certificate_pem(igc.organisations.certificate), certificate_pem(other)])
    crls = CrlSet().admit(parse_any_crl(igc.crl([9], issuer="foreign"), anchors, now)).admit(
        parse_any_crl(igc.crl(), anchors, now))
    old, new = (der(igc.leaf(CN, issuer=issuer, serial=9)[0]) for issuer in ("organisations", "foreign"))
    assert identify(old, anchors, crls, now, PeerPolicy()).serial == 9
    with pytest.raises(PeerFault) as caught:
        identify(new, anchors, crls, now, PeerPolicy())
    assert caught.value.rule == "PEER-REVOKED"
