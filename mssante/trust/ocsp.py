"""OCSP: the question to ask and what makes an answer believed (RFC 6960, RFC 9654, spec F3.5-F3.6).

- An answer counts only when the authority that issued the certificate signed it, or a responder to which that same authority
  gave a certificate for this use alone (EKU OCSPSigning, RFC 6960 §4.2.2.2): directly issued, in its dates, no CA, itself
  not revoked. The key decides, never the name; SHA-2 only. The certificate of an operator, of the root or of a sister
  authority signs nothing here.
- It must speak of the certificate asked about: name and key of the issuer, and serial; the same serial under another
  authority is another certificate.
- It must be of now: thisUpdate, nextUpdate, producedAt within bounds. An answer that does not give our nonce back may be a
  replay: it counts only when the policy lets it (`nonce_required` false) and it is younger than `max_age`.
- Everything that came is bounded before it is read (64 KiB, 10 certificates, one single response); whatever is wrong is an
  `OcspFault` with its rule: a temporary refusal, never a crash and never "good".
- Pure: nonce and `now` are arguments; nothing is fetched. Called by `services.revocation`.

Rules: `OCSP-TAILLE`, `OCSP-LECTURE`, `OCSP-STATUT`, `OCSP-FORME`, `OCSP-REPONDEUR`, `OCSP-ALGORITHME`, `OCSP-SIGNATURE`,
`OCSP-DELEGUE`, `OCSP-CERTID`, `OCSP-NONCE`, `OCSP-DATE`, `OCSP-PERIMEE`, `OCSP-RECUL`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from mssante.errors import InputFault
from mssante.lang import say
from mssante.trust.anchors import GOOD_HASHES, READ_FAULTS, certificate_id, in_dates, issued_by
from mssante.trust.crl import CrlSet, RevocationStatus, distribution_points

MAX_OCTETS = 64 * 1024
MAX_CERTIFICATES = 10
MAX_ADDRESS = 1024
NONCE_OCTETS = 32  # RFC 9654 §2.1
REQUEST_TYPE = "application/ocsp-request"  # RFC 6960 §A.1
_RSA_BITS = range(2048, 8193)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_SHA2 = (SignatureAlgorithmOID.RSA_WITH_SHA256, SignatureAlgorithmOID.RSA_WITH_SHA384, SignatureAlgorithmOID.RSA_WITH_SHA512)
_ECDSA_SHA2 = (SignatureAlgorithmOID.ECDSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384,
               SignatureAlgorithmOID.ECDSA_WITH_SHA512)
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 -- names the certificate asked about, proves nothing (RFC 6960 §4.1.1)
    "sha256": hashes.SHA256()}
_UNDERSTOOD = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
                         ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.CERTIFICATE_POLICIES,
                         ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.OCSP_NO_CHECK})
_STATUSES = {ocsp.OCSPCertStatus.GOOD: RevocationStatus.GOOD, ocsp.OCSPCertStatus.REVOKED: RevocationStatus.REVOKED,
             ocsp.OCSPCertStatus.UNKNOWN: RevocationStatus.UNKNOWN}


class OcspFault(InputFault):
    """An answer that is not believed. public: ASCII French, fit for an SMTP reply; the refusal that follows is temporary."""

    kind = "ocsp"
    temporary = True


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """digest: of the CertID, `sha1` (which every responder knows) or `sha256`; nonce_required: an answer without our nonce is
    refused; max_age: age past which an answer without it, or without nextUpdate, counts no more."""

    digest: str = "sha1"
    nonce_required: bool = False
    max_age: timedelta = timedelta(hours=24)
    skew: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class OcspQuestion:
    """What was asked. der: the request's octets; name_hash, key_hash, serial: the CertID (RFC 6960 §4.1.1)."""

    der: bytes
    issuer: x509.Certificate
    digest: str
    name_hash: bytes
    key_hash: bytes
    serial: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """What a believed answer says. next_update: always set; delegate: fingerprint of the responder's certificate, empty when
    the authority signed itself; fresh: our nonce came back."""

    status: RevocationStatus
    this_update: datetime
    next_update: datetime
    produced_at: datetime
    delegate: str = ""
    fresh: bool = False


def _fault(rule: str, text: str, detail: str = "") -> OcspFault:
    return OcspFault(f"reponse OCSP refusee : {text}", rule=rule, detail=detail, remedy=say(
        "la dernière réponse bonne sert jusqu'à son terme ; prévenir l'autorité ou vérifier trust.ocsp_urls",
        "the last good answer serves until it ends; tell the authority or check trust.ocsp_urls"))


# ---------------------------------------------------------------- whom to ask


def origin(url: str) -> str:
    """Give `http://host:port` of a plain http address, lower-case and with its port; empty for any other or odd address.

    Odd: user names, queries, fragments, characters that two parsers may read in two ways.
    """
    if not url.isascii() or not url.isprintable() or len(url) > MAX_ADDRESS or any(sign in url for sign in ' \\"<>@?#'):
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        return ""
    if parts.scheme != "http" or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"http://{host}:{port}"


def named_responder(leaf: x509.Certificate, allowed: frozenset[str]) -> str:
    """Give the first OCSP address of a certificate (RFC 5280 §4.2.2.1) whose `origin` is in `allowed`, or an empty text.

    A certificate is the peer's word: an address that our configuration does not hold is never called.
    """
    if not allowed:
        return ""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *READ_FAULTS):
        return ""
    for one in list(access)[:MAX_CERTIFICATES]:
        location = one.access_location
        if one.access_method == AuthorityInformationAccessOID.OCSP and isinstance(location, x509.UniformResourceIdentifier) \
                and origin(location.value) in allowed:
            return location.value
    return ""


# ---------------------------------------------------------------- the question


def build_question(leaf: x509.Certificate, issuer: x509.Certificate, nonce: bytes, digest: str = "sha1") -> OcspQuestion:
    """Give the request for one certificate (RFC 6960 §4.1), unsigned. nonce: 32 random octets (RFC 9654 §2.1), empty for none.

    Raises OcspFault `OCSP-LECTURE` for an issuer that cannot be hashed.
    """
    try:
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, _DIGESTS[digest])
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        request = builder.build()
    except READ_FAULTS as exc:
        raise _fault("OCSP-LECTURE", "question impossible", type(exc).__name__) from exc
    return OcspQuestion(request.public_bytes(Encoding.DER), issuer, digest, request.issuer_name_hash, request.issuer_key_hash,
                        request.serial_number, nonce)


# ---------------------------------------------------------------- the answer


def verify_answer(raw: bytes, question: OcspQuestion, *, crls: CrlSet, now: datetime, policy: OcspPolicy) -> OcspAnswer:
    """Give what an answer (DER, at most 64 KiB) says of the certificate asked about. crls: to check a delegated responder.

    A status `unknown` is an answer, not a fault. Raises OcspFault with a rule of the module's list.
    """
    if len(raw) > MAX_OCTETS:
        raise _fault("OCSP-TAILLE", f"plus de {MAX_OCTETS} octets")
    try:
        answer = ocsp.load_der_ocsp_response(raw)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _fault("OCSP-STATUT", f"le repondeur dit {answer.response_status.name.lower()}")
        return _verify(answer, question, crls, now, policy)
    except (*READ_FAULTS, AttributeError, OverflowError, NotImplementedError) as exc:
        raise _fault("OCSP-LECTURE", "illisible", type(exc).__name__) from exc


def _verify(answer: ocsp.OCSPResponse, question: OcspQuestion, crls: CrlSet, now: datetime, policy: OcspPolicy) -> OcspAnswer:
    """Raises OcspFault, READ_FAULTS."""
    if len(list(answer.responses)) != 1 or len(answer.certificates) > MAX_CERTIFICATES:
        raise _fault("OCSP-FORME", "il faut une seule reponse et dix certificats au plus")
    signer = _signer(answer, question.issuer, now)
    if signer != question.issuer:
        _check_delegate(signer, question.issuer, crls, now)
    _check_extensions(answer)
    _check_subject(answer, question)
    fresh = _check_nonce(answer, question, policy)
    next_update = _check_dates(answer, now, policy, fresh)
    return OcspAnswer(_STATUSES[answer.certificate_status], answer.this_update_utc, next_update, answer.produced_at_utc,
                      "" if signer == question.issuer else certificate_id(signer), fresh)


def _signer(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> x509.Certificate:
    """Give the certificate, named by the answer, whose key signed it: the issuer's or one that came along."""
    if answer.signature_algorithm_oid not in (*_RSA_SHA2, *_ECDSA_SHA2):
        raise _fault("OCSP-ALGORITHME", "signature sans SHA-2", answer.signature_algorithm_oid.dotted_string)
    named = [one for one in (issuer, *answer.certificates) if _is_named(answer, one)]
    if not named:
        raise _fault("OCSP-REPONDEUR", "signataire inconnu, ni l'autorite ni un repondeur delegue")
    for candidate in named:
        if _signed_by(answer, candidate):
            return candidate
    raise _fault("OCSP-SIGNATURE", "signature fausse")


def _is_named(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Tell whether the responder id means a certificate: its subject, or the SHA-1 of its key (RFC 6960 §4.2.1)."""
    if answer.responder_name is not None:
        return answer.responder_name == certificate.subject
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        octets = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        octets = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        return False
    return answer.responder_key_hash == hashlib.sha1(octets, usedforsecurity=False).digest()


def _signed_by(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Tell whether a certificate's key made the signature; weak and odd keys made none."""
    key, digest = certificate.public_key(), answer.signature_hash_algorithm
    if digest is None:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS and answer.signature_algorithm_oid in _RSA_SHA2:
            key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES) \
                and answer.signature_algorithm_oid in _ECDSA_SHA2:
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _check_delegate(responder: x509.Certificate, issuer: x509.Certificate, crls: CrlSet, now: datetime) -> None:
    """Check that the issuer itself gave this certificate the right to answer for it (RFC 6960 §4.2.2.2)."""
    if not isinstance(responder.signature_hash_algorithm, GOOD_HASHES) or not issued_by(responder, issuer):
        raise _fault("OCSP-DELEGUE", "le repondeur n'a pas ete nomme par l'autorite du certificat")
    if not in_dates(responder, now):
        raise _fault("OCSP-DELEGUE", "certificat du repondeur hors de ses dates",
                     f"{responder.not_valid_before_utc:%Y-%m-%d}..{responder.not_valid_after_utc:%Y-%m-%d}")
    no_check = _check_delegate_extensions(responder.extensions)
    status = crls.status(responder.serial_number, issuer, now, points=distribution_points(responder))
    if status is RevocationStatus.REVOKED:
        raise _fault("OCSP-DELEGUE", "certificat du repondeur revoque", f"{responder.serial_number:x}")
    if status is RevocationStatus.UNKNOWN and not no_check:  # RFC 6960 §4.2.2.2.1
        raise _fault("OCSP-DELEGUE", "revocation du repondeur inconnue et sans ocsp-nocheck", f"{responder.serial_number:x}")


def _check_delegate_extensions(extensions: x509.Extensions) -> bool:
    """Check usages; tell whether id-pkix-ocsp-nocheck is there."""
    signs = no_check = False
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise _fault("OCSP-DELEGUE", "le repondeur est une autorite de certification")
        if isinstance(value, x509.KeyUsage) and (
                value.key_cert_sign or not (value.digital_signature or value.content_commitment)):
            raise _fault("OCSP-DELEGUE", "usage de cle du repondeur")
        if isinstance(value, x509.ExtendedKeyUsage):
            signs = ExtendedKeyUsageOID.OCSP_SIGNING in value
        no_check = no_check or isinstance(value, x509.OCSPNoCheck)
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _fault("OCSP-DELEGUE", "extension critique inconnue du repondeur", extension.oid.dotted_string)
    if not signs:
        raise _fault("OCSP-DELEGUE", "certificat du repondeur sans usage etendu OCSPSigning")
    return no_check


def _check_extensions(answer: ocsp.OCSPResponse) -> None:
    """Refuse a critical extension that we would have to obey and do not know (RFC 6960 §4.4)."""
    for extension in (*answer.extensions, *answer.single_extensions):
        if extension.critical and not isinstance(extension.value, x509.OCSPNonce):
            raise _fault("OCSP-FORME", "extension critique inconnue", extension.oid.dotted_string)


def _check_subject(answer: ocsp.OCSPResponse, question: OcspQuestion) -> None:
    """The CertID is the one asked: hash algorithm, issuer's name and key, serial (RFC 6960 §3.2 1)."""
    if answer.hash_algorithm.name != question.digest or answer.serial_number != question.serial \
            or answer.issuer_name_hash != question.name_hash or answer.issuer_key_hash != question.key_hash:
        raise _fault("OCSP-CERTID", "elle parle d'un autre certificat")


def _check_nonce(answer: ocsp.OCSPResponse, question: OcspQuestion, policy: OcspPolicy) -> bool:
    """Tell whether our nonce came back; another one is a replay or a mix-up (RFC 9654 §2.1)."""
    for extension in answer.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            if not question.nonce or extension.value.nonce != question.nonce:
                raise _fault("OCSP-NONCE", "nonce d'une autre question")
            return True
    if policy.nonce_required and question.nonce:
        raise _fault("OCSP-NONCE", "notre nonce n'est pas revenu")
    return False


def _check_dates(answer: ocsp.OCSPResponse, now: datetime, policy: OcspPolicy, fresh: bool) -> datetime:
    """Check that the answer is of now; give the instant until which it serves (RFC 6960 §3.2 5-6, §4.2.2.1)."""
    this, until, made = answer.this_update_utc, answer.next_update_utc, answer.produced_at_utc
    if this > now + policy.skew or made > now + policy.skew:
        raise _fault("OCSP-DATE", "elle vient du futur", f"thisUpdate {this:%Y-%m-%dT%H:%M:%SZ}")
    if made < this - policy.skew or (until is not None and until < this):
        raise _fault("OCSP-DATE", "ses dates se contredisent", f"producedAt {made:%Y-%m-%dT%H:%M:%SZ}")
    oldest = this + policy.max_age  # without nextUpdate newer news is always there (RFC 6960 §2.4): it serves for our own time
    if until is not None and now > until + policy.skew:
        raise _fault("OCSP-PERIMEE", f"perimee depuis le {until:%Y-%m-%d %H:%M} UTC")
    if now > oldest and (until is None or not fresh):
        raise _fault("OCSP-PERIMEE", f"trop ancienne pour une reponse sans nonce ou sans terme ({this:%Y-%m-%d %H:%M} UTC)")
    return oldest if until is None else until


def admit_answer(new: OcspAnswer, current: OcspAnswer | None) -> OcspAnswer:
    """Give the answer to keep of two about one certificate. Raises OcspFault `OCSP-RECUL` for an older one, and for one of the
    same instant that takes a revocation back: both are what a replay looks like."""
    if current is None or new.this_update > current.this_update:
        return new
    if new.this_update < current.this_update:
        raise _fault("OCSP-RECUL", "plus ancienne que celle que nous tenons", f"{new.this_update:%Y-%m-%dT%H:%M:%SZ}")
    if current.status is RevocationStatus.REVOKED and new.status is not RevocationStatus.REVOKED:
        raise _fault("OCSP-RECUL", "elle retire une revocation sans etre plus recente", f"{new.this_update:%Y-%m-%dT%H:%M:%SZ}")
    return new
