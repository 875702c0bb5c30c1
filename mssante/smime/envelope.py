"""EnvelopedData and AuthEnvelopedData as values, and the ciphers of their content (RFC 5652 §6, RFC 5083, RFC 5084, RFC 3565).

- Structure first, without a key: recipients, algorithm, content by pieces of the buffer, authenticated attributes as covered.
- `open_content` gives the content or one fault, `BROKEN`, always the same: a padding is never told from a tag, a tag from a key.
- Authenticated content leaves only after its tag was verified.
- A content key derived with the algorithm's identifier (RFC 9709) is read: with it, a GCM content cannot be passed off as CBC.
- Raises SmimeFault: `UNREADABLE`, `LIMIT`, `ALGORITHM`, `CONFUSED`, `BROKEN`. Called by `decrypt`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mssante.smime.ber import (
    CONTEXT_0,
    CONTEXT_1,
    CONTEXT_2,
    OCTET_STRING,
    PRIMITIVE_0,
    SEQUENCE,
    SET,
    Ber,
    BerFault,
    Element,
)
from mssante.smime.cms import (
    ATTRIBUTE_CONTENT_TYPE,
    ID_AUTH_ENVELOPED_DATA,
    ID_DATA,
    ID_ENVELOPED_DATA,
    Algorithm,
    ber_fault,
    confused,
    read_algorithm,
    read_oid_attribute,
)
from mssante.smime.framing import broken, not_admitted, too_large, unreadable
from mssante.smime.recipients import Recipient, read_recipient
from mssante.smime.values import SmimeLimits

BLOCK = 16
_CBC = {"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32}  # RFC 3565 §2.2
_GCM = {"2.16.840.1.101.3.4.1.6": 16, "2.16.840.1.101.3.4.1.26": 24, "2.16.840.1.101.3.4.1.46": 32}  # RFC 5084 §3.2
_NAMES = {"1.2.840.113549.3.7": "3des-cbc", "1.2.840.113549.3.2": "rc2-cbc", "1.3.14.3.2.7": "des-cbc",
          "2.16.840.1.101.3.4.1.7": "aes128-ccm", "2.16.840.1.101.3.4.1.27": "aes192-ccm",
          "2.16.840.1.101.3.4.1.47": "aes256-ccm", "1.2.840.113549.1.9.16.3.18": "chacha20-poly1305"}
_DERIVED = "1.2.840.113549.1.9.16.3.31"  # id-alg-cek-hkdf-sha256, RFC 9709 §2
_DERIVED_SALT = b"The Cryptographic Message Syntax"
_TAG_OCTETS = range(12, 17)  # RFC 5084 §3.2
_NONCE_OCTETS = range(8, 65)


@dataclass(frozen=True, slots=True)
class ContentCipher:
    """How a content was encrypted. name: `aes256-gcm`; octets: of the key; nonce: or initialisation vector; tag: octets of the
    tag, 0 without one; derived: the AlgorithmIdentifier that the key is derived with, empty when it is used as it is."""

    name: str
    octets: int
    nonce: bytes
    tag: int = 0
    derived: bytes = b""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encrypted structure. attributes: authenticated ones in the form that the tag covers, empty when none; tag: the MAC."""

    authenticated: bool
    recipients: tuple[Recipient, ...]
    algorithm: Algorithm
    content: tuple[memoryview, ...]
    attributes: bytes = b""
    tag: bytes = b""


def read_envelope(data: bytes, limits: SmimeLimits) -> Envelope:
    """Read a ContentInfo that holds EnvelopedData or AuthEnvelopedData. data: BER or DER, nothing after it.

    Raises SmimeFault: UNREADABLE, LIMIT (recipients), CONFUSED (the content is something else than data).
    """
    try:
        return _envelope(Ber(data), limits)
    except BerFault as exc:
        raise ber_fault(exc) from exc


def _envelope(ber: Ber, limits: SmimeLimits) -> Envelope:
    outer = ber.children(ber.whole())
    kind = ber.oid(outer[0]) if len(outer) == 2 else ""
    if kind not in (ID_ENVELOPED_DATA, ID_AUTH_ENVELOPED_DATA):
        raise BerFault("not enveloped data")
    inside = ber.children(ber.expect(outer[1], CONTEXT_0))
    fields = ber.children(ber.expect(inside[0], SEQUENCE)) if len(inside) == 1 else []
    if len(fields) > 2 and fields[1].tag == CONTEXT_0:
        fields.pop(1)  # originator's certificates and CRLs: of no use to open
    if len(fields) < 3:
        raise BerFault("enveloped data lacks a field")
    ber.integer(fields[0])
    recipients = _recipients(ber, fields[1], limits)
    content_type, algorithm, content = _encrypted_content(ber, fields[2])
    if content_type != ID_DATA:  # RFC 8551 §2.4.3: what is inside is a MIME entity
        raise confused(f"contenu chiffré de type {content_type}", f"encrypted content of type {content_type}")
    rest = fields[3:]
    if kind == ID_ENVELOPED_DATA:
        if len(rest) > 1 or (rest and rest[0].tag != CONTEXT_1):  # unprotected attributes: anybody may write them, never read
            raise BerFault("enveloped data has a field too many")
        return Envelope(False, recipients, algorithm, content)
    attributes = b""
    if rest and rest[0].tag == CONTEXT_1:
        attributes = _attributes(ber, rest.pop(0), limits)
    if not rest or len(rest) > 2 or (len(rest) == 2 and rest[1].tag != CONTEXT_2):
        raise BerFault("authenticated enveloped data is malformed")
    return Envelope(True, recipients, algorithm, content, attributes, b"".join(ber.octets(rest[0])))


def _recipients(ber: Ber, element: Element, limits: SmimeLimits) -> tuple[Recipient, ...]:
    members = ber.children(ber.expect(element, SET))
    found: list[Recipient] = []
    for member in members[:limits.count + 1]:
        found += read_recipient(ber, member)
    if max(len(found), len(members)) > limits.count:
        raise too_large(f"plus de {limits.count} destinataires", f"more than {limits.count} recipients")
    return tuple(found)


def _encrypted_content(ber: Ber, element: Element) -> tuple[str, Algorithm, tuple[memoryview, ...]]:
    """Read EncryptedContentInfo (RFC 5652 §6.1)."""
    fields = ber.children(ber.expect(element, SEQUENCE))
    if len(fields) != 3:
        raise BerFault("no encrypted content")
    return ber.oid(fields[0]), read_algorithm(ber, fields[1]), ber.octets(fields[2], PRIMITIVE_0)


def _attributes(ber: Ber, element: Element, limits: SmimeLimits) -> bytes:
    """Give the authenticated attributes as the tag covers them: DER, as a SET OF (RFC 5083 §2.2)."""
    members = ber.children(element)
    if len(members) > limits.count:
        raise too_large("trop d'attributs authentifiés", "too many authenticated attributes")
    for member in members:
        fields = ber.children(ber.expect(member, SEQUENCE))
        values = ber.children(ber.expect(fields[1], SET)) if len(fields) == 2 else []
        if not values:
            raise BerFault("attribute is malformed")
        if ber.oid(fields[0]) == ATTRIBUTE_CONTENT_TYPE and [read_oid_attribute(ber.raw(one)) for one in values] != [ID_DATA]:
            raise confused("attribut content-type autre que le contenu", "content-type attribute is not that of the content")
    return ber.der(element, SET)


def content_cipher(envelope: Envelope) -> ContentCipher:
    """Give how the content was encrypted. Raises SmimeFault: ALGORITHM (weak, unknown), UNREADABLE (parameters)."""
    return _cipher(envelope.algorithm, envelope)


def _cipher(algorithm: Algorithm, envelope: Envelope, derived: bytes = b"") -> ContentCipher:
    oid = algorithm.oid
    try:
        if oid == _DERIVED and not derived:
            ber = Ber(algorithm.parameters, elements=20)
            return _cipher(read_algorithm(ber, ber.whole()), envelope, algorithm.parameters)
        if oid in _GCM and envelope.authenticated:
            return _gcm(oid, algorithm.parameters, envelope, derived)
        if oid in _CBC and not envelope.authenticated:
            ber = Ber(algorithm.parameters, elements=5)
            vector = ber.value(ber.whole(OCTET_STRING))
            if len(vector) != BLOCK:
                raise BerFault("initialisation vector")
            return ContentCipher(f"aes{_CBC[oid] * 8}-cbc", _CBC[oid], vector, derived=derived)
    except BerFault as exc:
        raise unreadable("paramètres du chiffrement", "parameters of the encryption") from exc
    if oid in _GCM or oid in _CBC:  # RFC 5083 §1: one structure for each kind of cipher, never crossed
        raise confused("GCM hors d'AuthEnvelopedData, ou CBC dedans", "GCM outside AuthEnvelopedData, or CBC inside it")
    name = _NAMES.get(oid, oid)
    raise not_admitted(f"contenu chiffré par {name}", f"content encrypted with {name}")


def _gcm(oid: str, parameters: bytes, envelope: Envelope, derived: bytes) -> ContentCipher:
    """Read GCMParameters (RFC 5084 §3.2): nonce, then the size of the tag, 12 unless said."""
    ber = Ber(parameters, elements=10)
    fields = ber.children(ber.whole())
    if not 1 <= len(fields) <= 2:
        raise BerFault("GCM parameters")
    nonce = ber.value(ber.expect(fields[0], OCTET_STRING))
    size = ber.integer(fields[1]) if len(fields) == 2 else 12
    if size not in _TAG_OCTETS or len(envelope.tag) != size or len(nonce) not in _NONCE_OCTETS:
        raise BerFault("GCM parameters")
    return ContentCipher(f"aes{_GCM[oid] * 8}-gcm", _GCM[oid], nonce, size, derived)


def open_content(envelope: Envelope, cipher: ContentCipher, key: bytes) -> bytes:
    """Give the content. key: `cipher.octets` octets, as the recipient's wrapped key gave it.

    Raises SmimeFault (`BROKEN`), without a cause.
    """
    if cipher.derived:
        # RFC 9709 §2: the identifier goes into the key, so that another algorithm has another key
        key = HKDF(hashes.SHA256(), cipher.octets, _DERIVED_SALT, cipher.derived).derive(key)
    if cipher.tag:
        return _open_gcm(envelope, cipher, key)
    return _open_cbc(envelope, cipher, key)


def _open_gcm(envelope: Envelope, cipher: ContentCipher, key: bytes) -> bytes:
    mode = modes.GCM(cipher.nonce, envelope.tag, min_tag_length=_TAG_OCTETS.start)
    opening = Cipher(algorithms.AES(key), mode).decryptor()
    if envelope.attributes:
        opening.authenticate_additional_data(envelope.attributes)
    pieces = [opening.update(piece) for piece in envelope.content]
    try:
        pieces.append(opening.finalize())
    except InvalidTag:
        raise broken() from None
    return _whole(pieces)


def _open_cbc(envelope: Envelope, cipher: ContentCipher, key: bytes) -> bytes:
    size = sum(len(piece) for piece in envelope.content)
    if not size or size % BLOCK:
        raise broken()
    opening = Cipher(algorithms.AES(key), modes.CBC(cipher.nonce)).decryptor()
    pieces = [opening.update(piece) for piece in envelope.content]
    pieces.append(opening.finalize())
    content = _whole(pieces)
    padding = content[-1]  # RFC 5652 §6.3
    if not 1 <= padding <= BLOCK or not hmac.compare_digest(content[-padding:], bytes((padding,)) * padding):
        raise broken()
    return content[:-padding]


def _whole(pieces: list[bytes]) -> bytes:
    """Join pieces; one that has no others beside it is not copied."""
    return b"".join([piece for piece in pieces if piece])
