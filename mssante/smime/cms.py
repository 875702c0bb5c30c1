"""SignedData of CMS (RFC 5652 §5) as values, read from octets that anybody may have sent.

- Structure only: nothing is verified here, and the certificates are octets still.
- What has no single reading is refused (`CONFUSED`): an attribute given twice, several values for one, octets after the end.
- The content is never copied: it is given as pieces of the buffer.

Raises SmimeFault. Called by `smime.verify` and `smime.layer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from mssante.lang import say
from mssante.smime.ber import (
    CONTEXT_0,
    CONTEXT_1,
    GENERALIZED_TIME,
    INTEGER,
    OID,
    PRIMITIVE_0,
    SEQUENCE,
    SET,
    UTC_TIME,
    Ber,
    BerFault,
    BerLimit,
    Element,
)
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits

ID_DATA = "1.2.840.113549.1.7.1"
ID_SIGNED_DATA = "1.2.840.113549.1.7.2"
ID_ENVELOPED_DATA = "1.2.840.113549.1.7.3"
ID_COMPRESSED_DATA = "1.2.840.113549.1.9.16.1.9"  # RFC 3274
ID_AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"  # RFC 5083
ATTRIBUTE_CONTENT_TYPE = "1.2.840.113549.1.9.3"
ATTRIBUTE_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
ATTRIBUTE_SIGNING_TIME = "1.2.840.113549.1.9.5"
ATTRIBUTE_CAPABILITIES = "1.2.840.113549.1.9.15"  # RFC 8551 §2.5.2
ATTRIBUTE_ALGORITHM_PROTECTION = "1.2.840.113549.1.9.52"  # RFC 6211
ATTRIBUTE_ENCRYPTION_KEY = "1.2.840.113549.1.9.16.2.11"  # RFC 8551 §2.5.3
ATTRIBUTE_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"  # RFC 5035
ATTRIBUTE_SIGNING_CERTIFICATE_2 = "1.2.840.113549.1.9.16.2.47"  # RFC 5035 §3
_CRLS = CONTEXT_1
_CERTIFICATE_ELEMENTS = 64  # RFC 5280 §4.1: three, and ten in the first; those deeper are not read here
MAX_ATTRIBUTES = 256 * 1024  # octets of one signer's signed attributes


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An AlgorithmIdentifier. parameters: the element whole, empty when absent."""

    oid: str
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class CertificateName:
    """Which certificate is meant: DER issuer and serial, or subject key identifier (RFC 5652 §5.3, RFC 5035 §5)."""

    issuer: bytes = b""
    serial: int = 0
    key_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Signer:
    """One SignerInfo. attributes: the only value of each signed attribute, by OID, None without signed attributes;
    sent: the signed attributes as they came, implicit tag included, empty without them."""

    name: CertificateName
    digest: Algorithm
    algorithm: Algorithm
    signature: bytes
    attributes: dict[str, bytes] | None
    sent: bytes

    def signed_forms(self) -> tuple[bytes, Callable[[], bytes]]:
        """Give the two octet strings that the signature may be of: as they came, and DER (made when asked; raises BerFault).

        RFC 5652 §5.4: it is of the DER form as a SET OF, which is how nearly all send it; some send another order or other
        lengths than they sign. Neither order nor form of lengths changes what is said.
        """
        ber = Ber(self.sent)
        return bytes((SET,)) + self.sent[1:], lambda: ber.der(ber.whole(CONTEXT_0), SET)


@dataclass(frozen=True, slots=True)
class SignedData:
    """content: pieces of eContent, None when absent; certificates: DER of each X.509 certificate, in order, without repeats."""

    content_type: str
    content: tuple[memoryview, ...] | None
    certificates: tuple[bytes, ...]
    signers: tuple[Signer, ...]


def confused(fr: str, en: str) -> SmimeFault:
    """Give the fault of a structure that can be read in two ways."""
    return SmimeFault("structure S/MIME ambigue", SmimeCode.CONFUSED, detail=say(fr, en), remedy=say(
        "corriger le programme qui a composé le message", "mend the program that composed the message"))


def ber_fault(exc: BerFault) -> SmimeFault:
    """Give the fault for octets that could not be walked."""
    code = SmimeCode.LIMIT if isinstance(exc, BerLimit) else SmimeCode.UNREADABLE
    return SmimeFault("structure CMS illisible", code, detail=say(
        f"structure CMS illisible : {exc}", f"unreadable CMS structure: {exc}"))


def content_type_of(prefix: bytes) -> str:
    """Give the content type that a ContentInfo announces, from its first octets; empty when they are no ContentInfo."""
    if len(prefix) < 4 or prefix[0] != SEQUENCE:
        return ""
    at = 2 + (prefix[1] & 0x7F if prefix[1] > 0x80 else 0)
    try:
        walker = Ber(prefix)
        return walker.oid(walker.element(at, len(prefix)))
    except BerFault:
        return ""


def read_signed_data(data: bytes, limits: SmimeLimits) -> SignedData:
    """Read a ContentInfo that holds SignedData (RFC 5652 §3, §5.1).

    Raises SmimeFault: UNREADABLE, LIMIT (count of certificates or signers), CONFUSED.
    """
    try:
        return _signed_data(Ber(data), limits)
    except BerFault as exc:
        raise ber_fault(exc) from exc


def _signed_data(ber: Ber, limits: SmimeLimits) -> SignedData:
    outer = ber.children(ber.whole())
    if len(outer) != 2 or ber.oid(outer[0]) != ID_SIGNED_DATA:
        raise BerFault("not signed data")
    inside = ber.children(ber.expect(outer[1], CONTEXT_0))
    if len(inside) != 1:
        raise BerFault("not signed data")
    fields = ber.children(ber.expect(inside[0], SEQUENCE))
    if len(fields) < 4:
        raise BerFault("signed data lacks a field")
    version, digests, encapsulated, *rest = fields
    ber.integer(version)
    ber.expect(digests, SET)
    certificates: tuple[bytes, ...] = ()
    if rest[0].tag == CONTEXT_0:
        certificates = _certificates(ber, rest.pop(0), limits)
    if rest and rest[0].tag == _CRLS:
        rest.pop(0)  # revocation comes from where the operator takes it, never from the message
    if len(rest) != 1:
        raise BerFault("signed data has a field too many or too few")
    content_type, content = _encapsulated(ber, encapsulated)
    signers = ber.children(ber.expect(rest[0], SET))
    if len(signers) > limits.count:
        raise _too_many("signataires", "signers", len(signers), limits)
    return SignedData(content_type, content, certificates, tuple(_signer(ber, one, limits) for one in signers))


def _too_many(fr: str, en: str, count: int, limits: SmimeLimits) -> SmimeFault:
    return SmimeFault("structure CMS trop grande", SmimeCode.LIMIT,
                      detail=say(f"{count} {fr}, limite {limits.count}", f"{count} {en}, limit {limits.count}"))


def _encapsulated(ber: Ber, element: Element) -> tuple[str, tuple[memoryview, ...] | None]:
    """Read EncapsulatedContentInfo (RFC 5652 §5.2)."""
    fields = ber.children(ber.expect(element, SEQUENCE))
    if not 1 <= len(fields) <= 2:
        raise BerFault("content is malformed")
    content_type = ber.oid(fields[0])
    if len(fields) == 1:
        return content_type, None
    inside = ber.children(ber.expect(fields[1], CONTEXT_0))
    if len(inside) != 1:
        raise BerFault("content is malformed")
    return content_type, ber.octets(inside[0])


def _certificates(ber: Ber, element: Element, limits: SmimeLimits) -> tuple[bytes, ...]:
    """Give the X.509 ones among CertificateSet (RFC 5652 §10.2.3): attribute certificates and others are passed over."""
    found = ber.children(element)
    if len(found) > limits.count:
        raise _too_many("certificats", "certificates", len(found), limits)
    return tuple(dict.fromkeys(ber.raw(one) for one in found if one.tag == SEQUENCE))


def _signer(ber: Ber, element: Element, limits: SmimeLimits) -> Signer:
    """Read SignerInfo (RFC 5652 §5.3)."""
    fields = ber.children(ber.expect(element, SEQUENCE))
    if not 5 <= len(fields) <= 7:
        raise BerFault("signer is malformed")
    if ber.integer(fields[0]) not in (1, 3):
        raise BerFault("signer of unknown version")
    name = read_signer_name(ber, fields[1])
    digest = read_algorithm(ber, fields[2])
    rest = fields[3:]
    attributes: dict[str, bytes] | None = None
    sent = b""
    if rest[0].tag == CONTEXT_0:
        attributes = _attributes(ber, rest[0], limits)
        sent = ber.raw(rest.pop(0))
    if len(rest) == 3:
        ber.expect(rest.pop(), CONTEXT_1)  # unsigned attributes: anybody may have put them there, never read
    if len(rest) != 2:
        raise BerFault("signer is malformed")
    signature = b"".join(ber.octets(rest[1]))
    return Signer(name, digest, read_algorithm(ber, rest[0]), signature, attributes, sent)


def read_signer_name(ber: Ber, element: Element) -> CertificateName:
    """Read SignerIdentifier: IssuerAndSerialNumber, or [0] SubjectKeyIdentifier. Raises BerFault."""
    if element.tag != SEQUENCE:
        return CertificateName(key_id=b"".join(ber.octets(element, PRIMITIVE_0)))
    return read_issuer_serial(ber, element)


def read_issuer_serial(ber: Ber, element: Element) -> CertificateName:
    """Read the two fields of IssuerAndSerialNumber (RFC 5652 §10.2.4), whatever its tag. Raises BerFault."""
    fields = ber.children(element)
    if len(fields) != 2:
        raise BerFault("issuer and serial are malformed")
    return CertificateName(issuer=ber.raw(ber.expect(fields[0], SEQUENCE)), serial=ber.integer(fields[1]))


def read_algorithm(ber: Ber, element: Element) -> Algorithm:
    """Read an AlgorithmIdentifier (RFC 5280 §4.1.1.2). Raises BerFault."""
    fields = ber.children(ber.expect(element, SEQUENCE))
    if not 1 <= len(fields) <= 2:
        raise BerFault("algorithm is malformed")
    return Algorithm(ber.oid(fields[0]), ber.raw(fields[1]) if len(fields) == 2 else b"")


def _attributes(ber: Ber, element: Element, limits: SmimeLimits) -> dict[str, bytes]:
    """Read the signed attributes: the only value of each, whole."""
    size = element.after - element.start
    if size > MAX_ATTRIBUTES:
        raise SmimeFault("structure CMS trop grande", SmimeCode.LIMIT, detail=say(
            f"attributs signés de {size} octets, limite {MAX_ATTRIBUTES}",
            f"signed attributes of {size} octets, limit {MAX_ATTRIBUTES}"))
    members = ber.children(element)
    if len(members) > limits.count:
        raise _too_many("attributs", "attributes", len(members), limits)
    found: dict[str, bytes] = {}
    for member in members:
        fields = ber.children(ber.expect(member, SEQUENCE))
        if len(fields) != 2:
            raise BerFault("attribute is malformed")
        name, values = ber.oid(fields[0]), ber.children(ber.expect(fields[1], SET))
        if name in found or len(values) != 1:
            # RFC 5652 §11: content-type, message-digest, signing-time have one instance and one value; so has all we read
            raise confused(f"attribut signé {name} : {len(values)} valeurs ou répété",
                           f"signed attribute {name}: {len(values)} values, or repeated")
        found[name] = ber.raw(values[0])
    return found


def read_octet_attribute(value: bytes) -> bytes:
    """Give the octets of an attribute that is an OCTET STRING. Raises BerFault."""
    ber = Ber(value)
    return b"".join(ber.octets(ber.element(0, len(value))))


def read_oid_attribute(value: bytes) -> str:
    """Give the identifier of an attribute that is an OBJECT IDENTIFIER. Raises BerFault."""
    return Ber(value).oid(Ber(value).whole(OID))


def read_time(value: bytes) -> datetime | None:
    """Give the instant of a signing-time in the forms that RFC 5652 §11.3 allows, in UTC, or None when unreadable."""
    try:
        ber = Ber(value)
        element = ber.element(0, len(value))
        text = ber.value(element).decode("ascii")
        if element.tag == UTC_TIME and len(text) == 13:
            century = "19" if int(text[:2]) >= 50 else "20"  # RFC 5280 §4.1.2.5.1
            return datetime.strptime(century + text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
        if element.tag == GENERALIZED_TIME and len(text) == 15:
            return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return None


def certificate_name(certificate: bytes) -> CertificateName:
    """Give issuer, as it stands, and serial of a DER certificate (RFC 5280 §4.1). Raises BerFault."""
    ber = Ber(certificate, elements=_CERTIFICATE_ELEMENTS)
    fields = ber.children(ber.whole())
    inside = ber.children(ber.expect(fields[0], SEQUENCE)) if fields else []
    if inside and inside[0].tag == CONTEXT_0:
        inside.pop(0)
    if len(inside) < 3 or inside[0].tag != INTEGER:
        raise BerFault("certificate is malformed")
    return CertificateName(issuer=ber.raw(ber.expect(inside[2], SEQUENCE)), serial=ber.integer(inside[0]))


def looks_like_attributes(content: bytes) -> bool:
    """Tell whether a content could itself be the octets of signed attributes.

    A signature of attributes can be shown again as one of a content without attributes, and the reverse: refused by its
    shape, as no MIME entity is a SET OF attributes that names a message digest.
    """
    if content[:1] != bytes((SET,)):
        return False
    try:
        ber = Ber(content, elements=10_000)
        members = [ber.children(ber.expect(one, SEQUENCE)) for one in ber.children(ber.whole(SET))]
        return any(member and member[0].tag == OID for member in members)
    except BerFault:
        return False


def read_protection(value: bytes) -> tuple[str, str]:
    """Give the digest's and the signature's OID that CMSAlgorithmProtection names (RFC 6211 §2). Raises BerFault."""
    ber = Ber(value)
    fields = ber.children(ber.whole())
    if len(fields) != 2 or fields[1].tag != CONTEXT_1:
        raise BerFault("algorithm protection is malformed")
    return read_algorithm(ber, fields[0]).oid, ber.oid(ber.children(fields[1])[0])
