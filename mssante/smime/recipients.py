"""The content key of an encrypted message, wrapped for each recipient and taken back: RSA (PKCS#1 v1.5, OAEP) and ECDH.

- Written: RSAES-OAEP with SHA-256 (RFC 3560, RFC 5754) or, for old readers, PKCS#1 v1.5; ECDH with a key of one use, SHA-256 and
  AES-256 wrap (RFC 5753 §3.1). Read besides: OAEP with SHA-1 and all of SHA-2, every hash of RFC 5753 §7.1.4, the cofactor form
  (the same on the curves admitted, whose cofactor is 1), AES-128 and AES-192 wrap.
- A wrapped key that does not unwrap gives a random one of the right size: the content says it does not open, and nothing else is
  told or timed apart (RFC 3218 §2.3).
- Raises SmimeFault only: `ALGORITHM`, `USAGE`, `UNREADABLE`. Called by `encrypt` and `decrypt`.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mssante.lang import say
from mssante.smime.ber import (
    CONTEXT_0,
    CONTEXT_1,
    CONTEXT_2,
    OCTET_STRING,
    OID,
    PRIMITIVE_0,
    SEQUENCE,
    Ber,
    BerFault,
    Element,
    decode_oid,
    der,
    der_integer,
    der_oid,
)
from mssante.smime.cms import Algorithm, CertificateName, certificate_name, read_algorithm, read_issuer_serial
from mssante.smime.framing import NULL, algorithm, broken, not_admitted, unreadable
from mssante.smime.keys import HASHES, admitted_public_key, fingerprint
from mssante.smime.values import OpeningKey, SmimeCode, SmimeFault

RSA_PKCS1 = "1.2.840.113549.1.1.1"
RSA_OAEP = "1.2.840.113549.1.1.7"
_MGF1 = "1.2.840.113549.1.1.8"
_P_SPECIFIED = "1.2.840.113549.1.1.9"
_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_BIT_STRING = 0x03
_HASH_OIDS = {"1.3.14.3.2.26": "sha1", "2.16.840.1.101.3.4.2.4": "sha224", "2.16.840.1.101.3.4.2.1": "sha256",
              "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
_SHA256 = "2.16.840.1.101.3.4.2.1"
_AGREEMENTS = {  # RFC 5753 §7.1.4: standard, then cofactor
    "1.3.133.16.840.63.0.2": "sha1", "1.3.132.1.11.0": "sha224", "1.3.132.1.11.1": "sha256", "1.3.132.1.11.2": "sha384",
    "1.3.132.1.11.3": "sha512", "1.3.133.16.840.63.0.3": "sha1", "1.3.132.1.14.0": "sha224", "1.3.132.1.14.1": "sha256",
    "1.3.132.1.14.2": "sha384", "1.3.132.1.14.3": "sha512"}
_STANDARD_SHA256 = "1.3.132.1.11.1"
_WRAPS = {"2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, "2.16.840.1.101.3.4.1.45": 32}  # RFC 3565 §2.3.2
_AES256_WRAP = "2.16.840.1.101.3.4.1.45"
_CURVE_OIDS = {"secp256r1": "1.2.840.10045.3.1.7", "secp384r1": "1.3.132.0.34", "secp521r1": "1.3.132.0.35"}


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient of a structure. agreed: ECDH, else RSA; name: whose certificate; wrapped: the content key under `method`.

    point: the sender's key of one use, empty when it has another form; curve: its dotted OID when said; material: user keying
    material, None when absent.
    """

    name: CertificateName
    method: Algorithm
    wrapped: bytes
    agreed: bool = False
    point: bytes = b""
    curve: str = ""
    material: bytes | None = None


def wrap_for(certificate: x509.Certificate, content_key: bytes, *, oaep: bool) -> bytes:
    """Give the RecipientInfo of one certificate in DER (RFC 5652 §6.2). oaep: RSAES-OAEP with SHA-256, else PKCS#1 v1.5.

    Raises SmimeFault: `ALGORITHM` for its key, `USAGE` when its key usage does not allow it (RFC 8550 §4.4.2).
    """
    public = admitted_public_key(certificate)
    if isinstance(public, rsa.RSAPublicKey):
        _check_usage(certificate, "key_encipherment")
        return _rsa_recipient(certificate, public, content_key, oaep=oaep)
    _check_usage(certificate, "key_agreement")
    return _agreed_recipient(certificate, public, content_key)


def _check_usage(certificate: x509.Certificate, usage: str) -> None:
    try:
        allowed = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError as exc:
        raise unreadable("extensions du certificat", "extensions of the certificate") from exc
    if not getattr(allowed, usage):
        raise SmimeFault("le certificat du destinataire n'est pas pour chiffrer", SmimeCode.USAGE,
                         detail=say(f"keyUsage sans {usage} : {fingerprint(certificate)}",
                                    f"keyUsage without {usage}: {fingerprint(certificate)}"),
                         remedy=say("demander au destinataire son certificat de chiffrement (CONF ou S/MIME)",
                                    "ask the recipient for their encryption certificate (CONF or S/MIME)"))


def _name(certificate: x509.Certificate) -> bytes:
    """Give IssuerAndSerialNumber, the issuer octet for octet as the certificate has it."""
    try:
        found = certificate_name(certificate.public_bytes(Encoding.DER))
    except BerFault as exc:
        raise unreadable("certificat du destinataire", "certificate of the recipient") from exc
    return der(SEQUENCE, found.issuer, der_integer(found.serial))


def _rsa_recipient(certificate: x509.Certificate, public: rsa.RSAPublicKey, content_key: bytes, *, oaep: bool) -> bytes:
    if oaep:
        digest = algorithm(_SHA256, NULL)
        # RFC 4055 §4.1: the label is empty, which is the default and not written
        parameters = der(SEQUENCE, der(CONTEXT_0, digest), der(CONTEXT_1, algorithm(_MGF1, digest)))
        method = algorithm(RSA_OAEP, parameters)
        scheme: padding.AsymmetricPadding = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    else:
        method = algorithm(RSA_PKCS1, NULL)
        scheme = padding.PKCS1v15()
    wrapped = public.encrypt(content_key, scheme)
    return der(SEQUENCE, der_integer(0), _name(certificate), method, der(OCTET_STRING, wrapped))


def _agreed_recipient(certificate: x509.Certificate, public: ec.EllipticCurvePublicKey, content_key: bytes) -> bytes:
    """Give KeyAgreeRecipientInfo with an ephemeral originator key (RFC 5753 §3.1.1)."""
    ephemeral = ec.generate_private_key(public.curve)
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    wrap = algorithm(_AES256_WRAP)  # RFC 3565 §2.3.2: parameters absent
    key = _wrapping_key(ephemeral.exchange(ec.ECDH(), public), "sha256", wrap, 32, None)
    curve = der_oid(_CURVE_OIDS[public.curve.name])
    originator = der(CONTEXT_1, der(SEQUENCE, der_oid(_EC_PUBLIC_KEY), curve), der(_BIT_STRING, b"\0", point))
    wrapped = der(OCTET_STRING, keywrap.aes_key_wrap(key, content_key))
    return der(CONTEXT_1, der_integer(3), der(CONTEXT_0, originator), algorithm(_STANDARD_SHA256, wrap),
               der(SEQUENCE, der(SEQUENCE, _name(certificate), wrapped)))


def _wrapping_key(secret: bytes, digest: str, wrap: bytes, size: int, material: bytes | None) -> bytes:
    """Derive the key that wraps (RFC 5753 §7.2: ECC-CMS-SharedInfo). wrap: AlgorithmIdentifier as sent; size: octets."""
    user = der(CONTEXT_0, der(OCTET_STRING, material)) if material is not None else b""
    shared = der(SEQUENCE, wrap, user, der(CONTEXT_2, der(OCTET_STRING, (size * 8).to_bytes(4, "big"))))
    return X963KDF(HASHES[digest], size, shared).derive(secret)


def read_recipient(ber: Ber, element: Element) -> list[Recipient]:
    """Read one RecipientInfo (RFC 5652 §6.2): none for the kinds that S/MIME does not use, several that share one ECDH key.

    Raises BerFault.
    """
    if element.tag == CONTEXT_1:
        return _read_agreed(ber, ber.children(element))
    if element.tag != SEQUENCE:
        return []
    fields = ber.children(element)
    if len(fields) != 4:
        raise BerFault("recipient is malformed")
    return [Recipient(_recipient_name(ber, fields[1]), read_algorithm(ber, fields[2]), b"".join(ber.octets(fields[3])))]


def _recipient_name(ber: Ber, element: Element) -> CertificateName:
    """Read RecipientIdentifier or KeyAgreeRecipientIdentifier."""
    if element.tag == CONTEXT_0:  # RecipientKeyIdentifier: the key identifier, then a date and others that are not read
        fields = ber.children(element)
        if not fields:
            raise BerFault("recipient is malformed")
        return CertificateName(key_id=b"".join(ber.octets(fields[0])))
    if element.tag != SEQUENCE:
        return CertificateName(key_id=b"".join(ber.octets(element, PRIMITIVE_0)))
    return read_issuer_serial(ber, element)


def _read_agreed(ber: Ber, fields: list[Element]) -> list[Recipient]:
    """Read KeyAgreeRecipientInfo (RFC 5652 §6.2.2)."""
    if not 4 <= len(fields) <= 5:
        raise BerFault("recipient is malformed")
    material = None
    if len(fields) == 5:
        inside = ber.children(ber.expect(fields.pop(2), CONTEXT_1))
        if len(inside) != 1:
            raise BerFault("recipient is malformed")
        material = b"".join(ber.octets(inside[0]))
    _, originator, method, keys = fields
    curve, point = _originator(ber, originator)
    found: list[Recipient] = []
    for one in ber.children(ber.expect(keys, SEQUENCE)):
        pair = ber.children(ber.expect(one, SEQUENCE))
        if len(pair) != 2:
            raise BerFault("recipient is malformed")
        found.append(Recipient(_recipient_name(ber, pair[0]), read_algorithm(ber, method), b"".join(ber.octets(pair[1])),
                               agreed=True, point=point, curve=curve, material=material))
    return found


def _originator(ber: Ber, element: Element) -> tuple[str, bytes]:
    """Give (curve when said, point) of OriginatorPublicKey (RFC 5753 §3.1.1); nothing for a key named by its certificate."""
    inside = ber.children(ber.expect(element, CONTEXT_0))
    if len(inside) != 1:
        raise BerFault("originator is malformed")
    if inside[0].tag != CONTEXT_1:
        return "", b""
    fields = ber.children(inside[0])
    if len(fields) != 2:
        raise BerFault("originator is malformed")
    kind = read_algorithm(ber, fields[0])
    bits = ber.value(ber.expect(fields[1], _BIT_STRING))
    if kind.oid != _EC_PUBLIC_KEY or bits[:1] != b"\0":
        return "", b""
    named = kind.parameters[:1] == bytes((OID,))
    return (decode_oid(kind.parameters[2:]) if named else ""), bits[1:]


def is_named(name: CertificateName, certificate: x509.Certificate) -> bool:
    """Tell whether a recipient's name is that of a certificate: issuer and serial, or key identifier (RFC 5652 §6.2.1)."""
    if name.key_id:
        return hmac.compare_digest(name.key_id, _key_identifier(certificate))
    if name.serial != certificate.serial_number:
        return False
    try:
        own = certificate_name(certificate.public_bytes(Encoding.DER)).issuer
        # Same name under another string type or spacing: RFC 5280 §7.1
        return own == name.issuer or asn1_x509.Name.load(own) == asn1_x509.Name.load(name.issuer)
    except Exception:  # asn1crypto parses as it compares, and fails in many ways: all mean another name
        return False


def _key_identifier(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return x509.SubjectKeyIdentifier.from_public_key(admitted_public_key(certificate)).digest


def take_key(recipient: Recipient, key: OpeningKey, size: int) -> tuple[bytes, str]:
    """Give the content key of `size` octets and the name of the method; a random key when it does not unwrap.

    Raises SmimeFault: `ALGORITHM` for a method that is not read, or is not for this kind of key; what the key itself raises
    when it cannot be used (OperatorFault) goes through.
    """
    instead = os.urandom(size)
    try:
        found, name = _agreed_key(recipient, key) if recipient.agreed else _rsa_key(recipient, key)
    except SmimeFault as fault:
        if fault.code is not SmimeCode.BROKEN:
            raise
        return instead, ""
    return (found if len(found) == size else instead), name


def _rsa_key(recipient: Recipient, key: OpeningKey) -> tuple[bytes, str]:
    method = recipient.method
    if not isinstance(admitted_public_key(key.certificate), rsa.RSAPublicKey):
        raise not_admitted("méthode RSA pour une clé qui ne l'est pas", "RSA method for a key that is not")
    if method.oid == RSA_PKCS1:
        return key.unwrap(recipient.wrapped, oaep_hash="", mgf_hash=""), "rsa-pkcs1v15"
    if method.oid != RSA_OAEP:
        raise not_admitted(f"clé de contenu chiffrée par {method.oid}", f"content key encrypted with {method.oid}")
    digest, mgf = _oaep_hashes(method.parameters)
    return key.unwrap(recipient.wrapped, oaep_hash=digest, mgf_hash=mgf), f"rsa-oaep-{digest}"


def _oaep_hashes(parameters: bytes) -> tuple[str, str]:
    """Read RSAES-OAEP-params (RFC 4055 §4.1): what is absent means SHA-1."""
    found = {CONTEXT_0: "sha1", CONTEXT_1: "sha1"}
    if parameters in (b"", NULL):
        return "sha1", "sha1"
    try:
        ber = Ber(parameters, elements=40)
        for field in ber.children(ber.whole()):
            inside = ber.children(field)
            if len(inside) != 1 or field.tag not in (CONTEXT_0, CONTEXT_1, CONTEXT_2):
                raise BerFault("OAEP parameters")
            given = read_algorithm(ber, inside[0])
            if field.tag == CONTEXT_2:
                _check_label(given)
                continue
            if field.tag == CONTEXT_1:
                nested = Ber(given.parameters, elements=10)
                given = read_algorithm(nested, nested.whole()) if given.oid == _MGF1 else given
            found[field.tag] = _HASH_OIDS[given.oid]
    except (BerFault, KeyError) as exc:
        raise not_admitted("paramètres de RSAES-OAEP", "parameters of RSAES-OAEP") from exc
    return found[CONTEXT_0], found[CONTEXT_1]


def _check_label(source: Algorithm) -> None:
    """Admit the empty label only: nobody writes another, and the key's interface has none (RFC 4055 §4.1)."""
    if source.oid != _P_SPECIFIED or source.parameters not in (b"", der(OCTET_STRING)):
        raise BerFault("OAEP label")


def _agreed_key(recipient: Recipient, key: OpeningKey) -> tuple[bytes, str]:
    """Agree on the wrapping key and unwrap (RFC 5753 §3.1.3)."""
    public = admitted_public_key(key.certificate)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise not_admitted("méthode ECDH pour une clé RSA", "ECDH method for an RSA key")
    digest = _AGREEMENTS.get(recipient.method.oid, "")
    if not digest or not recipient.point:
        raise not_admitted(f"accord de clé {recipient.method.oid}", f"key agreement {recipient.method.oid}")
    wrap = _wrap_algorithm(recipient.method.parameters)
    if recipient.curve and recipient.curve != _CURVE_OIDS[public.curve.name]:
        raise broken()
    secret = key.agree(recipient.point)
    wrapping = _wrapping_key(secret, digest, recipient.method.parameters, _WRAPS[wrap], recipient.material)
    try:
        return keywrap.aes_key_unwrap(wrapping, recipient.wrapped), f"ecdh-{digest}"
    except (keywrap.InvalidUnwrap, ValueError):
        raise broken() from None


def _wrap_algorithm(parameters: bytes) -> str:
    """Give the OID of KeyWrapAlgorithm, the parameter of the key agreement (RFC 5753 §7.1.4)."""
    try:
        ber = Ber(parameters, elements=10)
        found = read_algorithm(ber, ber.whole()).oid
    except BerFault as exc:
        raise unreadable("paramètres de l'accord de clé", "parameters of the key agreement") from exc
    if found not in _WRAPS:
        raise not_admitted(f"clé emballée par {found}", f"key wrapped with {found}")
    return found
