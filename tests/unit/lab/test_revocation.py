"""CRLs and OCSP answers of the lab's authorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from mssante.lab.desks import load_authorities, load_certificate
from mssante.lab.igc import Authority
from mssante.lab.manifest import Lab
from mssante.lab.revocation import CrlIssue, answer_ocsp, build_crl

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authorities(lab: Lab) -> tuple[Authority, ...]:
    return load_authorities(lab)


def ask(certificate: x509.Certificate, issuer: x509.Certificate, *, nonce: bytes = b"") -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def test_crl_holds_the_revoked_serials_and_is_signed(authorities: tuple[Authority, ...]) -> None:
    issue = CrlIssue(7, NOW, NOW + timedelta(hours=24))
    crl = x509.load_der_x509_crl(build_crl(authorities[0], {1234: NOW - timedelta(days=1)}, issue))
    key = authorities[0].certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    assert crl.is_signature_valid(key)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    assert crl.next_update_utc == NOW + timedelta(hours=24)
    assert crl.get_revoked_certificate_by_serial_number(1234) is not None
    assert crl.get_revoked_certificate_by_serial_number(1235) is None


def test_ocsp_good_and_revoked(lab: Lab, authorities: tuple[Authority, ...]) -> None:
    issuer = authorities[0].certificate
    beta = load_certificate(lab.path("beta/certs/mta.pem"))
    revoked = {beta.serial_number: NOW - timedelta(minutes=1)}
    answer = ocsp.load_der_ocsp_response(answer_ocsp(ask(beta, issuer), authorities, revoked, now=NOW))
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert answer.revocation_time_utc == NOW - timedelta(minutes=1)
    alpha = load_certificate(lab.path("alpha/certs/mta.pem"))
    answer = ocsp.load_der_ocsp_response(answer_ocsp(ask(alpha, issuer, nonce=b"0123456789"), authorities, revoked, now=NOW))
    assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert answer.serial_number == alpha.serial_number
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"0123456789"
    key = issuer.public_key()
    assert isinstance(key, RSAPublicKey)
    key.verify(answer.signature, answer.tbs_response_bytes, PKCS1v15(), hashes.SHA256())


def test_ocsp_for_another_issuer_is_unauthorized(lab: Lab, authorities: tuple[Authority, ...]) -> None:
    leaf, foreign = load_certificate(lab.path("peers/foreign_ca.pem")), load_certificate(lab.path("igc/foreign.pem"))
    answer = ocsp.load_der_ocsp_response(answer_ocsp(ask(leaf, foreign), authorities, {}, now=NOW))
    assert answer.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("raw", [b"", b"\x30\x00", b"not asn.1", b"\x30" * 20000])
def test_ocsp_rubbish_is_malformed(authorities: tuple[Authority, ...], raw: bytes) -> None:
    answer = ocsp.load_der_ocsp_response(answer_ocsp(raw, authorities, {}, now=NOW))
    assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
