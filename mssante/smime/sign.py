"""Signs a message: clear (multipart/signed) or opaque (application/pkcs7-mime), RFC 8551 §3.5, RFC 5652 §5.

- The fields Content-* move into the signed entity; every other field stays outside, byte for byte and in order. MIME-Version is
  added outside when it was not there. The Subject and the addresses are not covered, as in all S/MIME without header protection.
- The body is signed as it stands: mail between operators goes by 8BITMIME, so 8-bit text is kept (RFC 8551 §3.1.3 asks for 7 bits
  only where a path of unknown gateways may alter it) and the outside then says `8bit` (RFC 2045 §6.4).
- What could not arrive as it left is refused (`CONFUSED`): bare CR or LF, NUL (RFC 8551 §3.1.1), a header that readers cut in two
  ways, a message already signed or encrypted.
- Signed attributes: content-type, message-digest, signing-time, signingCertificateV2 (RFC 5035), S/MIME capabilities, encryption
  key preference. SHA-256; RSA PKCS#1 v1.5 or ECDSA, as the certificate's key is. The authorities go with it, without the root.
- The signature is verified before it is given: a token at fault never sends out a false one.
- No randomness: the boundary comes from the digest of what it separates.
- Memory: the message given, the one made, and for the opaque form the structure between them.

Called by `services` at submission; `smime.verify` reads what this makes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.protocol.mime.headers import find_header_end, read_headers
from mssante.smime.algorithms import ECDSA_SHA256, RSA_ENCRYPTION, SHA256, check_signature, public_key, signature_kind
from mssante.smime.ber import (
    CONTEXT_0,
    GENERALIZED_TIME,
    OCTET_STRING,
    SEQUENCE,
    SET,
    UTC_TIME,
    der,
    der_header,
    der_integer,
    der_oid,
)
from mssante.smime.certificates import can_encrypt
from mssante.smime.cms import (
    ATTRIBUTE_CAPABILITIES,
    ATTRIBUTE_CONTENT_TYPE,
    ATTRIBUTE_ENCRYPTION_KEY,
    ATTRIBUTE_MESSAGE_DIGEST,
    ATTRIBUTE_SIGNING_CERTIFICATE_2,
    ATTRIBUTE_SIGNING_TIME,
    ID_DATA,
    ID_SIGNED_DATA,
    Algorithm,
    certificate_name,
)
from mssante.smime.coverage import check_header
from mssante.smime.layer import LayerKind, find_layer
from mssante.smime.values import SigningKey, SmimeCode, SmimeFault

_FIELD = re.compile(rb"([!-9;-~]+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*+")
_DIRECTORY_NAME = 0xA4
_NULL = b"\x05\x00"
_SHA256_ALGORITHM = der(SEQUENCE, der_oid(SHA256))  # RFC 5754 §2: parameters absent
_BLOCK = 57 * 4096  # octets turned into lines of 76 letters at a time
# What we read, best first (RFC 8551 §2.5.2, §2.7): AES-256-GCM, AES-128-GCM, AES-256-CBC, AES-128-CBC.
_CAPABILITIES = der(SEQUENCE, *(der(SEQUENCE, der_oid(f"2.16.840.1.101.3.4.1.{last}")) for last in (46, 6, 42, 2)))


@dataclass(frozen=True, slots=True)
class _Split:
    """A message cut in two. outside: fields that stay; inside: fields that move, ended by the empty line; body: the rest."""

    outside: bytes
    inside: bytes
    body: memoryview

    @property
    def entity(self) -> tuple[bytes, memoryview]:
        """The octets to sign, by pieces."""
        return self.inside, self.body


def sign_message(raw: bytes, key: SigningKey, *, opaque: bool = False, now: datetime,
                 encryption: x509.Certificate | None = None) -> bytes:
    """Give a message signed with a key. raw: a whole message, CRLF line ends; now: aware, becomes the signing time.

    encryption: the certificate that others should encrypt to, when not the signer's own (RFC 8551 §2.5.3). Raises SmimeFault:
    CONFUSED (see the module), ALGORITHM (key too weak or of a kind that we do not write); OperatorFault when the key fails.
    """
    _check(raw)
    split = _split(raw)
    if opaque:
        return b"".join((split.outside, _OPAQUE_FIELDS, *_lines(_signed_data(split, key, now, encryption, attach=True))))
    structure = _signed_data(split, key, now, encryption, attach=False)
    boundary = _boundary(raw, structure)
    return b"".join((
        split.outside,
        b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n\tmicalg=sha-256; boundary="',
        boundary, b'"\r\n',
        b"" if raw.isascii() else b"Content-Transfer-Encoding: 8bit\r\n",
        b"\r\n--", boundary, b"\r\n", split.inside, split.body, b"\r\n--", boundary, b"\r\n", _SIGNATURE_FIELDS,
        *_lines(structure), b"--", boundary, b"--\r\n"))


_OPAQUE_FIELDS = (b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
                  b"Content-Transfer-Encoding: base64\r\n"
                  b'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n')
_SIGNATURE_FIELDS = (b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
                     b"Content-Transfer-Encoding: base64\r\n"
                     b'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n')


def _check(raw: bytes) -> None:
    """Refuse what cannot be signed. Raises SmimeFault (CONFUSED)."""
    if not raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n") or b"\0" in raw:
        raise _confused(say("fin de ligne isolee ou octet nul", "bare line end or NUL octet"),
                        say("envoyer des lignes CRLF, et coder en base64 ce qui est binaire",
                            "send CRLF lines, and binary parts in base64"))
    check_header(raw)
    layer = find_layer(raw)
    if layer.kind is not LayerKind.NONE:
        raise _confused(say("message deja signe ou chiffre", "message already signed or encrypted"),
                        say("ne pas le signer une seconde fois", "do not sign it a second time"))
    headers = read_headers(raw)
    if headers.repeats(b"content-type") or headers.repeats(b"content-transfer-encoding"):
        raise _confused(say("champs MIME repetes", "MIME fields repeated"),
                        say("garder un seul champ de chaque nom", "keep one field of each name"))


def _confused(public: str, remedy: str) -> SmimeFault:
    return SmimeFault(public, SmimeCode.CONFUSED, remedy=remedy)


def _split(raw: bytes) -> _Split:
    """Sort the fields (RFC 8551 §3.1: only those of the content move inside)."""
    end = find_header_end(raw)
    outside: list[bytes] = []
    inside: list[bytes] = []
    versioned = False
    for found in _FIELD.finditer(raw, 0, end):
        name = found.group(1).lower()
        versioned = versioned or name == b"mime-version"
        (inside if name.startswith(b"content-") else outside).append(found.group())
    if not versioned:
        outside.append(b"MIME-Version: 1.0\r\n")
    if not any(field.lower().startswith(b"content-type:") for field in inside):
        inside.insert(0, _plain_type(raw, end))
    return _Split(b"".join(outside), b"".join(inside) + b"\r\n", memoryview(raw)[end:])


def _plain_type(raw: bytes, body: int) -> bytes:
    """Give the type of a message that says none: text/plain (RFC 2045 §5.2), with the charset that its octets have."""
    charset = b"us-ascii" if raw.isascii() or raw[body:].isascii() else b"utf-8"
    return b"Content-Type: text/plain; charset=" + charset + b"\r\n"


def _boundary(raw: bytes, structure: bytes) -> bytes:
    """Give a boundary that does not occur in the message (RFC 2046 §5.1): nobody can write his own digest into it."""
    seed = hashlib.sha256(structure).hexdigest()[:32].encode("ascii")
    number = 0
    while (boundary := b"=_smime_%b_%d" % (seed, number)) in raw:
        number += 1
    return boundary


def _lines(data: bytes) -> list[bytes]:
    """Give base64 in lines of 76 letters, each ended by CRLF (RFC 2045 §6.8), by blocks."""
    view = memoryview(data)
    return [base64.encodebytes(view[at:at + _BLOCK]).replace(b"\n", b"\r\n") for at in range(0, len(data), _BLOCK)]


def _signed_data(split: _Split, key: SigningKey, now: datetime, encryption: x509.Certificate | None, *, attach: bool) -> bytes:
    """Give ContentInfo of SignedData (RFC 5652 §5.1), with the content when `attach`, joined once."""
    digest = hashlib.sha256()
    for piece in split.entity:
        digest.update(piece)
    signer = _signer_info(key, digest.digest(), now, encryption)
    beside = (encryption,) if encryption is not None else ()
    chosen = dict.fromkeys(one.public_bytes(Encoding.DER) for one in (key.certificate, *beside, *_without_root(key.chain)))
    before = der_integer(1) + der(SET, _SHA256_ALGORITHM)
    after = der(CONTEXT_0, *sorted(chosen)) + der(SET, signer)
    size = sum(len(piece) for piece in split.entity)
    content: list[bytes | memoryview] = []
    if attach:
        octets = der_header(OCTET_STRING, size)
        content = [der_header(CONTEXT_0, len(octets) + size), octets, *split.entity]
    data_type = der_oid(ID_DATA)
    encapsulated = [der_header(SEQUENCE, len(data_type) + _size(content)), data_type, *content]
    fields = [before, *encapsulated, after]
    signed = [der_header(SEQUENCE, _size(fields)), *fields]
    explicit = [der_header(CONTEXT_0, _size(signed)), *signed]
    signed_type = der_oid(ID_SIGNED_DATA)
    return b"".join((der_header(SEQUENCE, len(signed_type) + _size(explicit)), signed_type, *explicit))


def _size(pieces: list[bytes | memoryview]) -> int:
    return sum(len(piece) for piece in pieces)


def _without_root(chain: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
    """RFC 8550 §2.3: the root does not go with the message; the receiver has it, or must not believe ours."""
    return tuple(one for one in chain if one.issuer != one.subject)


def _signer_info(key: SigningKey, digest: bytes, now: datetime, encryption: x509.Certificate | None) -> bytes:
    """Give SignerInfo (RFC 5652 §5.3), its signature made and checked."""
    certificate = key.certificate
    algorithm = _algorithm(certificate)
    attributes = _attributes(certificate, digest, now, encryption)
    signature = key.sign(der(SET, *attributes))
    try:
        kind = signature_kind(Algorithm(algorithm), "sha256")
        check_signature(certificate, kind, signature, (der(SET, *attributes),))
    except SmimeFault as fault:
        raise OperatorFault(say("signature produite fausse", "the key made a false signature"), rule="SMIME-CLE",
                            detail=fault.detail, remedy=say("verifier que la cle est celle du certificat",
                                                            "check that the key is that of the certificate")) from fault
    parameters = _NULL if algorithm == RSA_ENCRYPTION else b""  # RFC 3370 §3.2; RFC 5754 §3.3
    return der(SEQUENCE, der_integer(1), _issuer_and_serial(certificate, SEQUENCE), _SHA256_ALGORITHM,
               der(CONTEXT_0, *attributes), der(SEQUENCE, der_oid(algorithm), parameters), der(OCTET_STRING, signature))


def _algorithm(certificate: x509.Certificate) -> str:
    """Give the OID of the signature (RFC 5754 §3.2, §3.3). Raises SmimeFault (ALGORITHM)."""
    key = public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        return RSA_ENCRYPTION
    if isinstance(key, ec.EllipticCurvePublicKey):
        return ECDSA_SHA256
    raise SmimeFault(say("cle de signature ni RSA ni ECDSA", "signing key is neither RSA nor ECDSA"), SmimeCode.ALGORITHM,
                     remedy=say("prendre une cle RSA ou ECDSA P-256", "take an RSA or ECDSA P-256 key"))


def _attributes(certificate: x509.Certificate, digest: bytes, now: datetime, encryption: x509.Certificate | None) -> list[bytes]:
    """Give the signed attributes in the order of DER (X.690 §11.6)."""
    data = certificate.public_bytes(Encoding.DER)
    name = certificate_name(data)
    general = der(SEQUENCE, der(_DIRECTORY_NAME, name.issuer))
    ess = der(SEQUENCE, der(OCTET_STRING, hashlib.sha256(data).digest()), der(SEQUENCE, general, der_integer(name.serial)))
    values = {
        ATTRIBUTE_CONTENT_TYPE: der_oid(ID_DATA),
        ATTRIBUTE_MESSAGE_DIGEST: der(OCTET_STRING, digest),
        ATTRIBUTE_SIGNING_TIME: _time(now),
        ATTRIBUTE_SIGNING_CERTIFICATE_2: der(SEQUENCE, der(SEQUENCE, ess)),  # RFC 5035 §3: SHA-256 is the default, left out
        ATTRIBUTE_CAPABILITIES: _CAPABILITIES,
    }
    preferred = encryption or certificate
    if can_encrypt(preferred):
        values[ATTRIBUTE_ENCRYPTION_KEY] = _issuer_and_serial(preferred, CONTEXT_0)
    return sorted(der(SEQUENCE, der_oid(oid), der(SET, value)) for oid, value in values.items())


def _issuer_and_serial(certificate: x509.Certificate, tag: int) -> bytes:
    """Give IssuerAndSerialNumber, the issuer as the certificate writes it (RFC 5652 §10.2.4)."""
    name = certificate_name(certificate.public_bytes(Encoding.DER))
    return der(tag, name.issuer, der_integer(name.serial))


def _time(now: datetime) -> bytes:
    """Give signing-time: UTCTime through 2049, then GeneralizedTime (RFC 5652 §11.3)."""
    instant = now.astimezone(UTC)
    if 1950 <= instant.year < 2050:
        return der(UTC_TIME, instant.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return der(GENERALIZED_TIME, instant.strftime("%Y%m%d%H%M%SZ").encode("ascii"))
