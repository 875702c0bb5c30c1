"""What the lab's authorities say about revocation: CRLs (RFC 5280 §5) and OCSP answers (RFC 6960).

Pure: `now` and the numbers are arguments. A serial that an authority did not revoke is `good`, so that certificates which
tests issue with the lab's keys pass; a serial of another issuer is `unknown`. Called by `mssante.lab.infra`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mssante.lab.igc import Authority

CRL_LIFE = timedelta(hours=24)
OCSP_LIFE = timedelta(hours=1)
MAX_OCSP_REQUEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Responder:
    """A delegated OCSP responder. authority: name of the one that named it."""

    authority: str
    certificate: x509.Certificate
    key: RSAPrivateKey


@dataclass(frozen=True, slots=True)
class CrlIssue:
    """One issue of a CRL. number: strictly growing per authority (RFC 5280 §5.2.3)."""

    number: int
    this_update: datetime
    next_update: datetime


def build_crl(authority: Authority, revoked: dict[int, datetime], issue: CrlIssue) -> bytes:
    """Give a full CRL in DER with the serials of `revoked` and the instant at which each was revoked."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(issue.this_update).next_update(issue.next_update)
        .add_extension(x509.CRLNumber(issue.number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    for serial, when in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
        entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _refusal(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(serialization.Encoding.DER)


def _asked_authority(request: ocsp.OCSPRequest, authorities: tuple[Authority, ...]) -> Authority | None:
    for authority in authorities:
        name = authority.certificate.subject.public_bytes()
        digest = hashes.Hash(request.hash_algorithm)
        digest.update(name)
        if digest.finalize() == request.issuer_name_hash:
            return authority
    return None


def delegated_responder(authority: Authority, now: datetime) -> Responder:
    """Give a fresh key that an authority names to answer for it (RFC 6960 §4.2.2.2), for thirty days."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
                         x509.NameAttribute(NameOID.COMMON_NAME, f"LAB OCSP {authority.name.upper()}")])
    usage = x509.KeyUsage(digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                          key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(authority.certificate.subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=30))
               .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
               .add_extension(usage, critical=True)
               .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=True)
               .add_extension(x509.OCSPNoCheck(), critical=False))
    return Responder(authority.name, builder.sign(authority.key, hashes.SHA256()), key)


def answer_ocsp(raw: bytes, authorities: tuple[Authority, ...], revoked: dict[int, datetime], *, now: datetime,
                responder: Responder | None = None) -> bytes:
    """Give the DER answer to a DER request of at most 16 KiB, signed by the CA itself (RFC 6960 §4.2.2.2) or by `responder`
    for the authority that named it.

    A request that does not parse gets `malformedRequest`, an issuer that is not ours `unauthorized`.
    """
    try:
        if len(raw) > MAX_OCSP_REQUEST:
            return _refusal(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        request = ocsp.load_der_ocsp_request(raw)
        authority = _asked_authority(request, authorities)
    except (ValueError, NotImplementedError):  # NotImplementedError: several requests in one
        return _refusal(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    if authority is None:
        return _refusal(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    when = revoked.get(request.serial_number)
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=request.issuer_name_hash, issuer_key_hash=request.issuer_key_hash,
        serial_number=request.serial_number, algorithm=request.hash_algorithm,
        cert_status=ocsp.OCSPCertStatus.REVOKED if when else ocsp.OCSPCertStatus.GOOD,
        this_update=now, next_update=now + OCSP_LIFE, revocation_time=when,
        revocation_reason=x509.ReasonFlags.key_compromise if when else None,
    )
    delegated = responder is not None and responder.authority == authority.name
    signer = responder if responder is not None and delegated else authority
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if delegated:
        builder = builder.certificates([signer.certificate])
    for extension in request.extensions:
        if isinstance(extension.value, x509.OCSPNonce):  # RFC 9654 §2: the nonce comes back as it was
            builder = builder.add_extension(extension.value, critical=False)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
