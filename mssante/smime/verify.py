"""The verdict on a signed message: "signed by X" only if nothing in it can make that sentence false (RFC 8551, RFC 5652 §5).

VALID is given when all of this holds, and the first that fails gives the code, in this order:

1. the structure has one reading (`CONFUSED`, `UNREADABLE`, `LIMIT`): see `smime.coverage`, `smime.cms`; detached means without
   content inside, opaque means with it;
2. exactly one signer (`SEVERAL`, `NO_SIGNER`), whose certificate is in the message and is the only one meant (`CONFUSED`);
3. digest and signature of SHA-2, key strong enough (`ALGORITHM`);
4. the digest is that of the octets covered (`ALTERED`), the signature is that of the certificate's key, and of that certificate
   when the signer says which (`SIGNATURE`; RFC 5035 §4, RFC 6211);
5. the whole body is covered (`PARTIAL`);
6. the certificate is for signing mail (`USAGE`; RFC 8550 §4.4) and the caller's check admits it (`CHAIN`, `EXPIRED`, `REVOKED`…);
7. the signer is the author, and the only one shown (`SENDER`).

- Only the outermost layer is judged; what is encrypted below is said so and left (RFC 8551 §3.7, to `limits.depth` layers).
- `verify_message` never raises on any octets; what `check` raises goes through.
- `detail` tells algorithms, counts, domains; never content, never a local part.

Called by reception, through `services`; measured by `bench/smime_speed.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.lang import say
from mssante.protocol.mime.headers import MAX_HEADER_BYTES, Headers, find_header_end, parse_headers, read_headers
from mssante.smime.algorithms import SignatureKind, check_signature, digest_name, digest_of, key_name, refused, signature_kind
from mssante.smime.ber import BerFault
from mssante.smime.certificates import check_usage, encryption_certificates, load_others, signer_certificate
from mssante.smime.cms import (
    ATTRIBUTE_ALGORITHM_PROTECTION,
    ATTRIBUTE_CONTENT_TYPE,
    ATTRIBUTE_MESSAGE_DIGEST,
    ATTRIBUTE_SIGNING_TIME,
    ID_DATA,
    SignedData,
    Signer,
    ber_fault,
    confused,
    looks_like_attributes,
    read_octet_attribute,
    read_oid_attribute,
    read_protection,
    read_signed_data,
    read_time,
)
from mssante.smime.coverage import check_header, clear_signed, external_gap
from mssante.smime.layer import Layer, LayerKind, cms_octets, find_layer, is_signature_part
from mssante.smime.sender import author_gap, certificate_addresses, common_name, domain_of, is_for, signer_address
from mssante.smime.values import CERTIFICATE_FAULTS, CertificateCheck, SmimeCode, SmimeFault, SmimeLimits, SmimeVerdict

DEFAULT_LIMITS = SmimeLimits()
_READ_FAULTS = (*CERTIFICATE_FAULTS, LookupError, RecursionError)
_CLAIMS_ENCRYPTION = "envelope"  # of smime-type: enveloped-data, authEnveloped-data


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed layer taken apart. content: the octets covered; gap: what the signature does not cover, empty when nothing."""

    data: SignedData
    content: bytes
    gap: str


@dataclass(slots=True)
class _Findings:
    """What is known so far of a message: a refusal tells it too."""

    encryption: SmimeCode = SmimeCode.NONE
    certificate: x509.Certificate | None = None
    signed_at: datetime | None = None
    algorithms: tuple[str, ...] = ()
    learn: tuple[x509.Certificate, ...] = ()
    others: tuple[x509.Certificate, ...] = ()
    author_gap: str = ""

    def verdict(self, code: SmimeCode, author: str, detail: str = "") -> SmimeVerdict:
        """Make the verdict."""
        one = self.certificate
        der = one.public_bytes(Encoding.DER) if one is not None else b""
        return SmimeVerdict(
            signature=code, encryption=self.encryption, signer=signer_address(one, author) if one is not None else "",
            name=common_name(one) if one is not None else "", fingerprint=hashlib.sha256(der).hexdigest() if der else "",
            signed_at=self.signed_at, algorithms=self.algorithms,
            certificates=self.learn if code is SmimeCode.VALID else (), detail=detail)


def verify_message(raw: bytes, *, author: str, check: CertificateCheck, now: datetime,
                   limits: SmimeLimits = DEFAULT_LIMITS) -> SmimeVerdict:
    """Give the verdict on a message as it was received, or on the MIME entity that a decryption gave.

    raw: octets with CRLF line ends; author: the one address of From (`local@domain`), empty when there is none or there are
    several; check: decides on the signer's certificate at `now`. Never raises of its own. RFC 8551 §3.5, RFC 8550 §3 and §4.
    """
    layer = find_layer(raw)
    if layer.kind is LayerKind.NONE:
        return _without_layer(layer)
    if layer.is_encrypted:
        return SmimeVerdict(encryption=SmimeCode.ENCRYPTED)
    if layer.kind is LayerKind.UNREADABLE:
        return _unreadable(layer)
    findings = _Findings()
    try:
        certificate = _examine(raw, layer, findings, author=author, limits=limits)
    except SmimeFault as fault:
        return findings.verdict(fault.code, author, fault.detail)
    except _READ_FAULTS as exc:
        return findings.verdict(SmimeCode.UNREADABLE, author, type(exc).__name__)
    admitted = check(certificate, findings.others, now)
    if admitted is not SmimeCode.VALID:
        return findings.verdict(admitted, author, _described(certificate))
    if findings.author_gap:
        return findings.verdict(SmimeCode.SENDER, author, findings.author_gap)
    return findings.verdict(SmimeCode.VALID, author)


def signed_content(raw: bytes, limits: SmimeLimits = DEFAULT_LIMITS) -> bytes:
    """Give the MIME entity that the signature on top of a message covers, whatever the signature is worth.

    Raises SmimeFault: NONE when no signature stands on top, else what `verify_message` would answer for the structure.
    """
    layer = find_layer(raw)
    if not layer.is_signed:
        raise SmimeFault("message sans signature", SmimeCode.NONE)
    return take_apart(raw, layer, limits).content


def take_apart(raw: bytes, layer: Layer, limits: SmimeLimits) -> Signed:
    """Read the structure of a signed message. Raises SmimeFault: CONFUSED, UNREADABLE, LIMIT."""
    if len(raw) > limits.message_bytes:
        raise SmimeFault("message S/MIME trop grand", SmimeCode.LIMIT, detail=say(
            f"{len(raw)} octets, limite {limits.message_bytes}", f"{len(raw)} octets, limit {limits.message_bytes}"))
    root = layer.root
    if root is None:
        raise confused("structure sans parties", "structure without parts")
    check_header(raw)
    if layer.kind is LayerKind.CLEAR_SIGNED:
        parts = clear_signed(raw, root)
        data = _of_data(read_signed_data(cms_octets(raw, parts.signature, limits), limits))
        if data.content is not None:  # RFC 8551 §3.5.3.1: the signature is detached; else which content is signed?
            raise confused("signature détachée qui porte aussi un contenu", "detached signature that carries a content too")
        return Signed(data, raw[parts.start:parts.end], parts.gap)
    data = _of_data(read_signed_data(cms_octets(raw, root, limits), limits))
    if data.content is None:
        raise confused("signature opaque sans contenu", "opaque signature without content")
    return Signed(data, b"".join(data.content), "")


def _of_data(data: SignedData) -> SignedData:
    """RFC 8551 §2.4.2: what mail signs is id-data; any other type says that the octets are no MIME entity."""
    if data.content_type != ID_DATA:
        raise confused(f"contenu signé de type {data.content_type}", f"signed content of type {data.content_type}")
    return data


def _examine(raw: bytes, layer: Layer, findings: _Findings, *, author: str, limits: SmimeLimits) -> x509.Certificate:
    """Go through all that does not depend on trust, fill the findings on the way, give the signer's certificate.

    Raises SmimeFault, and what parsers raise.
    """
    signed = take_apart(raw, layer, limits)
    inner = find_layer(signed.content)
    findings.encryption = _encryption_below(signed.content, inner, limits)
    signer = _only_signer(signed.data)
    findings.certificate = certificate = signer_certificate(signer, signed.data.certificates)
    _read_attributes(signer, findings)
    findings.algorithms = _check_crypto(signer, certificate, signed.content)
    gap = signed.gap or external_gap(inner.root)
    if gap:
        raise SmimeFault("message couvert en partie", SmimeCode.PARTIAL, detail=gap)
    check_usage(certificate)
    findings.author_gap = _author_gap(raw, signed.content, inner, author) or _certificate_gap(certificate, author)
    learnt = (one for one in encryption_certificates(signer, signed.data.certificates) if is_for(one, author))
    findings.learn = tuple(dict.fromkeys((certificate, *learnt)))
    findings.others = load_others(signed.data.certificates, certificate)
    return certificate


def _only_signer(data: SignedData) -> Signer:
    if not data.signers:
        raise SmimeFault("aucun signataire", SmimeCode.NO_SIGNER, detail=say("aucun signataire", "no signer"))
    if len(data.signers) > 1:
        raise SmimeFault("plusieurs signataires", SmimeCode.SEVERAL, detail=say(
            f"{len(data.signers)} signataires", f"{len(data.signers)} signers"))
    return data.signers[0]


def _read_attributes(signer: Signer, findings: _Findings) -> None:
    """Check what signed attributes must hold (RFC 5652 §5.3, §11), and take the signing time."""
    attributes = signer.attributes
    if attributes is None:
        return
    missing = [name for name in (ATTRIBUTE_CONTENT_TYPE, ATTRIBUTE_MESSAGE_DIGEST) if name not in attributes]
    if missing:
        raise confused(f"attributs signés sans {', '.join(missing)}", f"signed attributes without {', '.join(missing)}")
    try:
        content_type = read_oid_attribute(attributes[ATTRIBUTE_CONTENT_TYPE])
        protected = attributes.get(ATTRIBUTE_ALGORITHM_PROTECTION)
        named = read_protection(protected) if protected is not None else (signer.digest.oid, signer.algorithm.oid)
    except BerFault as exc:
        raise ber_fault(exc) from exc
    if content_type != ID_DATA:
        raise confused(f"attribut content-type {content_type}", f"attribute content-type {content_type}")
    if named != (signer.digest.oid, signer.algorithm.oid):  # RFC 6211 §3
        raise refused(f"algorithmes {named} protégés, autres que ceux du signataire",
                      f"algorithms {named} protected, not the signer's")
    if ATTRIBUTE_SIGNING_TIME in attributes:
        findings.signed_at = read_time(attributes[ATTRIBUTE_SIGNING_TIME])


def _check_crypto(signer: Signer, certificate: x509.Certificate, content: bytes) -> tuple[str, ...]:
    """Check digest and signature (RFC 5652 §5.4, §5.6); give the algorithms. Raises SmimeFault: ALGORITHM, ALTERED, SIGNATURE."""
    digest = digest_name(signer.digest)
    kind = signature_kind(signer.algorithm, digest)
    names = (digest, kind.name, key_name(certificate))
    if signer.attributes is None:
        if looks_like_attributes(content):
            raise confused("contenu qui est lui-même des attributs signés", "content that is itself signed attributes")
        check_signature(certificate, kind, signer.signature, (content,))
        return names
    computed = digest_of(digest, (content,))
    try:
        claimed = read_octet_attribute(signer.attributes[ATTRIBUTE_MESSAGE_DIGEST])
    except BerFault as exc:
        raise ber_fault(exc) from exc
    if not hmac.compare_digest(computed, claimed):
        raise SmimeFault("contenu altere", SmimeCode.ALTERED, detail=say(
            f"{digest} signé {claimed.hex()[:16]}…, calculé {computed.hex()[:16]}…",
            f"{digest} signed {claimed.hex()[:16]}…, computed {computed.hex()[:16]}…"))
    _check_attributes(signer, certificate, kind)
    return names


def _check_attributes(signer: Signer, certificate: x509.Certificate, kind: SignatureKind) -> None:
    """Check the signature of the signed attributes (RFC 5652 §5.4). Raises SmimeFault: SIGNATURE, ALGORITHM."""
    as_sent, strict = signer.signed_forms()
    try:
        check_signature(certificate, kind, signer.signature, (as_sent,))
    except SmimeFault:
        if strict() == as_sent:
            raise
        check_signature(certificate, kind, signer.signature, (strict(),))


def _encryption_below(content: bytes, layer: Layer, limits: SmimeLimits) -> SmimeCode:
    """Tell whether encrypted parts stand under the signature. Raises SmimeFault (LIMIT) past `limits.depth` signatures."""
    for _ in range(limits.depth):
        if layer.is_encrypted:
            return SmimeCode.ENCRYPTED
        if not layer.is_signed:
            return SmimeCode.CONFUSED if layer.nested_encrypted else SmimeCode.NONE
        try:
            content = take_apart(content, layer, limits).content
        except SmimeFault:
            return SmimeCode.NONE  # what lies under a signature that cannot be read is told when it is read
        layer = find_layer(content)
    raise SmimeFault("trop de couches S/MIME", SmimeCode.LIMIT, detail=say(
        f"plus de {limits.depth} signatures emboîtées", f"more than {limits.depth} nested signatures"))


def _author_gap(raw: bytes, content: bytes, inner: Layer, author: str) -> str:
    """Say why the header, or a header protected inside (RFC 9788 §2, RFC 8551 §3.1), does not show the author alone."""
    gap = author_gap(read_headers(raw), author)
    if gap:
        return gap
    entity = _header_of(content)
    shown = [entity]
    if inner.root is not None and inner.root.message is not None:
        shown.append(inner.root.message.headers)
    return next((found for found in (author_gap(one, author, inner=True) for one in shown) if found), "")


def _header_of(content: bytes) -> Headers:
    return parse_headers(content[:min(find_header_end(content), MAX_HEADER_BYTES)])


def _described(certificate: x509.Certificate) -> str:
    """Say what a reader needs in order to see why a certificate was not admitted: its issuer and its dates."""
    issuer = certificate.issuer.rfc4514_string()[:200]
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return say(f"émetteur {issuer}, du {start:%Y-%m-%d} au {end:%Y-%m-%d}",
               f"issuer {issuer}, from {start:%Y-%m-%d} to {end:%Y-%m-%d}")


def _certificate_gap(certificate: x509.Certificate, author: str) -> str:
    """Say why the certificate is not the author's; empty when it is."""
    if is_for(certificate, author):
        return ""
    domains = sorted({domain_of(one) for one in certificate_addresses(certificate)})[:5]
    return say(f"certificat pour {', '.join(domains) or 'aucune adresse'}, auteur de {domain_of(author)} : pas la même adresse",
               f"certificate for {', '.join(domains) or 'no address'}, author of {domain_of(author)}: not the same address")


def _without_layer(layer: Layer) -> SmimeVerdict:
    """Verdict of a message whose top is no S/MIME entity."""
    if not layer.nested_signed and not layer.nested_encrypted:
        return _NOTHING
    return SmimeVerdict(
        signature=SmimeCode.PARTIAL if layer.nested_signed else SmimeCode.NONE,
        encryption=SmimeCode.CONFUSED if layer.nested_encrypted else SmimeCode.NONE,
        detail=say("partie S/MIME à l'intérieur d'un message qui ne l'est pas",
                   "S/MIME part inside a message that is not S/MIME"))


def _unreadable(layer: Layer) -> SmimeVerdict:
    """Verdict of a top that says S/MIME and is none that is read."""
    if layer.root is not None and layer.root.headers.repeats(b"content-type"):
        return SmimeVerdict(signature=SmimeCode.CONFUSED, detail=say("champ Content-Type répété", "Content-Type field repeated"))
    if layer.root is not None and is_signature_part(layer.root):
        return SmimeVerdict(signature=SmimeCode.CONFUSED, detail=say(
            "signature seule, sans contenu", "signature alone, without content"))
    detail = say("structure CMS illisible ou de type inconnu", "CMS structure unreadable, or of unknown type")
    if _CLAIMS_ENCRYPTION in layer.claimed:
        return SmimeVerdict(encryption=SmimeCode.UNREADABLE, detail=detail)
    return SmimeVerdict(signature=SmimeCode.UNREADABLE, detail=detail)


_NOTHING = SmimeVerdict()
