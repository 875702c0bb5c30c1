"""Which authorities are admitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from support.pki import (
    ORGANISATIONS_CN,
    PERSONNES_CN,
    ROOT_CN,
    TestIgc,
    authority,
    authority_subject,
    certificate_pem,
    key_for,
    key_usage,
)

from mssante.errors import InputFault
from mssante.trust.anchors import common_name, issued_by, load_anchors, read_certificates

FROM = datetime(2020, 1, 1, tzinfo=UTC)


def issuing(igc: TestIgc, *, ca: bool = True, usages: tuple[str, ...] = ("key_cert_sign", "crl_sign"), days: int = 9000,
            extra: x509.ExtensionType | None = None, cn: str = ORGANISATIONS_CN) -> x509.Certificate:
    """An issuing authority under the true root, with something odd."""
    builder = (x509.CertificateBuilder().subject_name(authority_subject(cn)).issuer_name(igc.root.certificate.subject)
               .public_key(key_for("odd").public_key()).serial_number(7).not_valid_before(FROM)
               .not_valid_after(FROM + timedelta(days=days))
               .add_extension(x509.BasicConstraints(ca, None), critical=True)
               .add_extension(key_usage(*usages), critical=True))
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(igc.root.key, hashes.SHA256())


def test_only_organisations_is_admitted(igc: TestIgc) -> None:
    anchors = load_anchors([igc.anchors_pem])
    assert anchors.roots == (igc.root.certificate,) and anchors.issuers == (igc.organisations.certificate,)
    assert anchors.authorities == (igc.root.certificate, igc.organisations.certificate)
    both = load_anchors([igc.anchors_pem], [ORGANISATIONS_CN, PERSONNES_CN])
    assert len(both.issuers) == 2


def test_forms_of_files(igc: TestIgc) -> None:
    pair = [igc.root.certificate, igc.organisations.certificate]
    der = [one.public_bytes(Encoding.DER) for one in pair]
    chains = [[pkcs7.serialize_certificates(pair, form)] for form in (Encoding.DER, Encoding.PEM)]
    for blobs in (der, [certificate_pem(*pair)], *chains, [*der, certificate_pem(*pair)]):
        anchors = load_anchors(blobs)
        assert (anchors.roots, anchors.issuers) == ((pair[0],), (pair[1],))


def test_two_generations(igc: TestIgc) -> None:
    second = issuing(igc)
    anchors = load_anchors([igc.anchors_pem, certificate_pem(second)])
    assert anchors.issuers_named(second.subject) == (igc.organisations.certificate, second)


def test_an_issuer_pinned_alone(igc: TestIgc) -> None:
    anchors = load_anchors([certificate_pem(igc.organisations.certificate)])
    assert anchors.roots == () and anchors.issuers == (igc.organisations.certificate,)


@pytest.mark.parametrize("what", ["foreign", "lookalike", "personnes", "leaf", "not-ca", "no-cert-sign", "constrained", "root",
                                  "nothing"])
def test_not_admitted(igc: TestIgc, what: str) -> None:
    constraints = x509.NameConstraints(permitted_subtrees=[x509.DNSName("mssante.fr")], excluded_subtrees=None)
    certificate = {
        "foreign": lambda: igc.foreign.certificate, "lookalike": lambda: igc.lookalike.certificate,
        "personnes": lambda: igc.personnes.certificate, "leaf": lambda: igc.leaf(ORGANISATIONS_CN)[0],
        "not-ca": lambda: issuing(igc, ca=False), "no-cert-sign": lambda: issuing(igc, usages=("crl_sign",)),
        "constrained": lambda: issuing(igc, extra=constraints), "root": lambda: igc.root.certificate,
        "nothing": lambda: igc.root.certificate}[what]()
    with pytest.raises(InputFault) as caught:
        load_anchors([certificate_pem(igc.root.certificate), certificate_pem(certificate)])
    assert caught.value.rule == "ANCRE-EMETTEUR" and caught.value.remedy


@pytest.mark.parametrize("blob", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                                  b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", b"0" * (1 << 20) + b"0"])
def test_unreadable_files(blob: bytes) -> None:
    with pytest.raises(InputFault) as caught:
        load_anchors([blob])
    assert caught.value.rule == "ANCRE-LECTURE"


def test_too_many_certificates(igc: TestIgc) -> None:
    with pytest.raises(InputFault) as caught:
        read_certificates([igc.anchors_pem * 34])
    assert caught.value.rule == "ANCRE-LECTURE"


def test_dates_of_the_authority_and_of_its_root(igc: TestIgc) -> None:
    leaf, _ = igc.leaf("mta.example.fr")
    anchors = load_anchors([igc.anchors_pem])
    assert anchors.issuer_of(leaf, FROM) == igc.organisations.certificate
    assert anchors.issuer_of(leaf, FROM - timedelta(seconds=1)) is None
    assert anchors.issuer_of(leaf, datetime(2045, 1, 2, tzinfo=UTC)) is None
    ending = datetime(2030, 1, 1, tzinfo=UTC)  # the root ends before the authority that it signed
    root = authority(ROOT_CN, "root", not_after=ending).certificate
    short = load_anchors([certificate_pem(root, igc.organisations.certificate)])
    assert short.issuer_of(leaf, ending) is not None and short.issuer_of(leaf, ending + timedelta(seconds=1)) is None


def test_the_digest_of_a_signature_counts(igc: TestIgc, monkeypatch: pytest.MonkeyPatch) -> None:
    """SHA-1 cannot be made here any more: the list of good digests is narrowed instead."""
    leaf, _ = igc.leaf("mta.example.fr")
    assert issued_by(leaf, igc.organisations.certificate) and not issued_by(leaf, igc.foreign.certificate)
    monkeypatch.setattr("mssante.trust.anchors.GOOD_HASHES", (hashes.SHA384, hashes.SHA512))
    assert not issued_by(leaf, igc.organisations.certificate)


def test_the_published_test_authority(shared_dir: Path) -> None:
    folder = shared_dir / "data/whitelist/igc-sante-test"
    anchors = load_anchors([(folder / "ac-elementaire-organisations-test.pem").read_bytes()])
    leaf = x509.load_pem_x509_certificate((folder / "leaf-liste-blanche-drim-m.pem").read_bytes())
    issuer = anchors.issuer_of(leaf, datetime(2025, 1, 1, tzinfo=UTC))
    assert issuer is not None and common_name(issuer.subject) == ORGANISATIONS_CN
