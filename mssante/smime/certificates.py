"""The certificates found in a signed message: which one is meant, what it is for, which one to encrypt to.

- The signer's certificate is the one that SignerIdentifier names (RFC 5652 §5.3). Two that answer to the same issuer and serial
  are refused: no authority makes them. The certificate that the signer himself names in a signed attribute (RFC 5035 §3, §5.4.1
  for the old form) must be that one.
- Usage: keyUsage, when present, allows signing; extended keyUsage, when present, names e-mail or anything (RFC 8550 §4.4.2,
  §4.4.4).
- A certificate that cannot be parsed is not there.

Raises SmimeFault. Called by `smime.verify`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mssante.lang import say
from mssante.smime.algorithms import digest_name, digest_of
from mssante.smime.ber import CONTEXT_0, CONTEXT_2, OCTET_STRING, PRIMITIVE_2, SEQUENCE, Ber, BerFault, Element
from mssante.smime.cms import (
    ATTRIBUTE_ENCRYPTION_KEY,
    ATTRIBUTE_SIGNING_CERTIFICATE,
    ATTRIBUTE_SIGNING_CERTIFICATE_2,
    CertificateName,
    Signer,
    ber_fault,
    certificate_name,
    read_algorithm,
    read_issuer_serial,
)
from mssante.smime.values import CERTIFICATE_FAULTS, SmimeCode, SmimeFault

MAX_CERTIFICATE = 64 * 1024
_DIRECTORY_NAME = 0xA4  # RFC 5280 §4.2.1.6


def load_certificate(data: bytes) -> x509.Certificate | None:
    """Give the certificate of these DER octets, or None when some of it cannot be read or it is larger than 64 KiB.

    Names, dates and extensions are parsed here, so that none of them fails later.
    """
    if len(data) > MAX_CERTIFICATE:
        return None
    try:
        certificate = x509.load_der_x509_certificate(data)
        parsed = (certificate.subject, certificate.issuer, certificate.extensions, certificate.not_valid_before_utc,
                  certificate.not_valid_after_utc)
    except CERTIFICATE_FAULTS:
        return None
    return certificate if all(one is not None for one in parsed) else None


def load_others(certificates: Sequence[bytes], signer: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """Give those beside the signer's that can be read, in order."""
    loaded = (load_certificate(one) for one in certificates)
    return tuple(one for one in loaded if one is not None and one != signer)


def matching(name: CertificateName, certificates: Iterable[bytes]) -> list[bytes]:
    """Give the DER certificates that a name means, by issuer and serial or by subject key identifier."""
    return [one for one in certificates if _is_named(one, name)]


def _is_named(data: bytes, name: CertificateName) -> bool:
    if not name.key_id:
        try:
            return bool(name.issuer) and certificate_name(data) == name
        except BerFault:
            return False
    certificate = load_certificate(data)
    if certificate is None:
        return False
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return False
    return found == name.key_id


def signer_certificate(signer: Signer, certificates: Sequence[bytes]) -> x509.Certificate:
    """Give the only certificate that a signer means.

    Raises SmimeFault: NO_SIGNER (it is not there), CONFUSED (two of them), SIGNATURE (not the one that was signed for).
    """
    found = matching(signer.name, certificates)
    if not found:
        raise SmimeFault("signataire inconnu", SmimeCode.NO_SIGNER, detail=say(
            f"certificat du signataire absent parmi {len(certificates)}",
            f"signer's certificate is not among {len(certificates)}"))
    if len(found) > 1 and not signer.name.key_id:
        raise SmimeFault("signataire ambigu", SmimeCode.CONFUSED, detail=say(
            f"{len(found)} certificats de même émetteur et numéro", f"{len(found)} certificates of one issuer and serial"))
    try:
        meant = [one for one in found if _is_signed_for(signer, one)]
    except BerFault as exc:
        raise ber_fault(exc) from exc
    if not meant:
        raise SmimeFault("signature fausse", SmimeCode.SIGNATURE, detail=say(
            "le certificat n'est pas celui que nomme l'attribut signé signingCertificate",
            "the certificate is not the one that the signed attribute signingCertificate names"))
    if len(meant) > 1:
        raise SmimeFault("signataire ambigu", SmimeCode.CONFUSED, detail=say(
            f"{len(meant)} certificats pour la même clé", f"{len(meant)} certificates for one key identifier"))
    certificate = load_certificate(meant[0])
    if certificate is None:
        raise SmimeFault("certificat illisible", SmimeCode.NO_SIGNER, detail=say(
            "certificat du signataire illisible", "signer's certificate is unreadable"))
    return certificate


def _is_signed_for(signer: Signer, certificate: bytes) -> bool:
    """True when the first ESSCertID or ESSCertIDv2 of each such attribute is this certificate (RFC 5035 §3)."""
    attributes = signer.attributes or {}
    return all(_is_ess(attributes[name], certificate, old=name == ATTRIBUTE_SIGNING_CERTIFICATE)
               for name in (ATTRIBUTE_SIGNING_CERTIFICATE, ATTRIBUTE_SIGNING_CERTIFICATE_2) if name in attributes)


def _is_ess(value: bytes, certificate: bytes, *, old: bool) -> bool:
    ber = Ber(value)
    names = ber.children(ber.whole())
    first = ber.children(ber.expect(names[0], SEQUENCE))[:1] if names else []
    if not first:
        raise BerFault("signingCertificate names nobody")
    fields = ber.children(ber.expect(first[0], SEQUENCE))
    if old:
        digest = hashlib.sha1(certificate, usedforsecurity=False).digest()  # RFC 5035 §5.4.1: this form has no other hash
    elif fields and fields[0].tag == SEQUENCE:
        digest = digest_of(digest_name(read_algorithm(ber, fields.pop(0))), (certificate,))
    else:
        digest = digest_of("sha256", (certificate,))
    if not fields or not hmac.compare_digest(ber.value(ber.expect(fields[0], OCTET_STRING)), digest):
        return False
    return len(fields) == 1 or _issuer_serial(ber, fields[1]) == certificate_name(certificate)


def _issuer_serial(ber: Ber, element: Element) -> CertificateName | None:
    """Read IssuerSerial of RFC 5035 §5.4.1, whose issuer is a GeneralNames of one directoryName."""
    fields = ber.children(element)
    if len(fields) != 2:
        raise BerFault("issuerSerial is malformed")
    names = ber.children(ber.expect(fields[0], SEQUENCE))
    if len(names) != 1 or names[0].tag != _DIRECTORY_NAME:
        return None
    inside = ber.children(names[0])
    return CertificateName(issuer=ber.raw(inside[0]), serial=ber.integer(fields[1])) if len(inside) == 1 else None


def check_usage(certificate: x509.Certificate) -> None:
    """Refuse a certificate that is not for signing mail. Raises SmimeFault (USAGE). RFC 8550 §4.4.2, §4.4.4."""
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not (value.digital_signature or value.content_commitment):
            raise _usage("keyUsage sans digitalSignature ni nonRepudiation",
                         "keyUsage without digitalSignature or nonRepudiation")
        if isinstance(value, x509.ExtendedKeyUsage) and not {
                ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(value):
            raise _usage("extendedKeyUsage sans emailProtection", "extendedKeyUsage without emailProtection")


def _usage(fr: str, en: str) -> SmimeFault:
    return SmimeFault("certificat pour un autre usage", SmimeCode.USAGE, detail=say(fr, en))


def can_encrypt(certificate: x509.Certificate) -> bool:
    """Tell whether keyUsage, when present, allows encrypting to this certificate (RFC 8550 §4.4.2)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except CERTIFICATE_FAULTS:
        return False
    return usage.key_encipherment or usage.key_agreement


def encryption_certificates(signer: Signer, certificates: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Give the certificates that the signer asks to be written to with (RFC 8551 §2.5.3), when they are in the message."""
    value = (signer.attributes or {}).get(ATTRIBUTE_ENCRYPTION_KEY)
    if value is None:
        return ()
    try:
        found = matching(_preferred(value), certificates)
    except BerFault:
        return ()
    loaded = (load_certificate(one) for one in found)
    return tuple(one for one in loaded if one is not None and can_encrypt(one))


def _preferred(value: bytes) -> CertificateName:
    """Read SMIMEEncryptionKeyPreference: [0] issuer and serial, [1] RecipientKeyIdentifier, [2] subject key identifier."""
    ber = Ber(value)
    element = ber.element(0, len(value))
    if element.tag == CONTEXT_0:
        return read_issuer_serial(ber, element)
    if element.tag in (PRIMITIVE_2, CONTEXT_2):
        return CertificateName(key_id=b"".join(ber.octets(element, PRIMITIVE_2)))
    fields = ber.children(element)
    return CertificateName(key_id=b"".join(ber.octets(fields[0]))) if fields else CertificateName()
