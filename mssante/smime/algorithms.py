"""Which digests and signatures are believed, and the check of a signature with a certificate's key.

- SHA-256, SHA-384, SHA-512 only (RFC 8551 §2.1 asks for the first and the last): SHA-1 and MD5 are named in the refusal.
- RSA PKCS#1 v1.5 (RFC 5754 §3.2), RSASSA-PSS (RFC 4056), ECDSA (RFC 5753 §2.1), Ed25519 (RFC 8419); RSA from 2048 bits to 8192,
  curves from 256 bits. The hash of the signature must be that of the digest: no program writes anything else.
- A key that does not fit the algorithm is refused as such; it is never tried in another way.

Raises SmimeFault (ALGORITHM, SIGNATURE). Called by `smime.verify` and `smime.sign`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from mssante.lang import say
from mssante.smime.ber import CONTEXT_0, CONTEXT_1, CONTEXT_2, CONTEXT_3, Ber, BerFault
from mssante.smime.cms import Algorithm, read_algorithm
from mssante.smime.values import CERTIFICATE_FAULTS, SmimeCode, SmimeFault

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # beyond, one message costs seconds
MAX_SALT = 512
RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
SHA256 = "2.16.840.1.101.3.4.2.1"
ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_ED25519 = "1.3.101.112"
_DIGESTS = {SHA256: "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_RSA = {"1.2.840.113549.1.1.11": "sha256", "1.2.840.113549.1.1.12": "sha384", "1.2.840.113549.1.1.13": "sha512"}
_ECDSA = {ECDSA_SHA256: "sha256", "1.2.840.10045.4.3.3": "sha384", "1.2.840.10045.4.3.4": "sha512"}
_CURVES = ("secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1")
_NO_PARAMETERS = (b"", b"\x05\x00")  # RFC 5754 §2: absent or NULL
_NAMES = {  # those refused, for the text
    "1.3.14.3.2.26": "sha1", "1.2.840.113549.2.5": "md5", "2.16.840.1.101.3.4.2.4": "sha224", "1.2.840.113549.1.1.5": "sha1-rsa",
    "1.2.840.113549.1.1.4": "md5-rsa", "1.2.840.10045.4.1": "sha1-ecdsa", "1.2.840.10040.4.1": "dsa",
    "1.2.840.10040.4.3": "sha1-dsa", "2.16.840.1.101.3.4.3.2": "sha256-dsa",
    RSA_ENCRYPTION: "rsa", _PSS: "rsa-pss", _ED25519: "ed25519"}


@dataclass(frozen=True, slots=True)
class SignatureKind:
    """How a signature is to be checked. name: for the reader; digest: name of its hash; mgf, salt: of RSASSA-PSS."""

    name: str
    digest: str
    mgf: str = ""
    salt: int = 0


def refused(fr: str, en: str) -> SmimeFault:
    """Give the fault of an algorithm that is not believed."""
    return SmimeFault("algorithme S/MIME refuse", SmimeCode.ALGORITHM, detail=say(fr, en))


def digest_name(algorithm: Algorithm) -> str:
    """Give `sha256`, `sha384` or `sha512`. Raises SmimeFault (ALGORITHM) for all others."""
    found = _DIGESTS.get(algorithm.oid)
    if found is not None and algorithm.parameters not in _NO_PARAMETERS:
        raise refused(f"empreinte {found} avec paramètres", f"digest {found} with parameters")
    if found is None:
        name = _NAMES.get(algorithm.oid, algorithm.oid)
        raise refused(f"empreinte {name}, admises : {', '.join(_HASHES)}", f"digest {name}, admitted: {', '.join(_HASHES)}")
    return found


def digest_of(name: str, pieces: Sequence[bytes | memoryview]) -> bytes:
    """Give the digest of octets given by pieces."""
    engine = hashlib.new(name)
    for piece in pieces:
        engine.update(piece)
    return engine.digest()


def signature_kind(algorithm: Algorithm, digest: str) -> SignatureKind:
    """Give how to check a signature. digest: that of the signer's DigestAlgorithmIdentifier.

    Raises SmimeFault (ALGORITHM): unknown, weak, or of another hash than the digest.
    """
    oid = algorithm.oid
    if oid != _PSS and algorithm.parameters not in _NO_PARAMETERS:
        raise refused(f"signature {_NAMES.get(oid, oid)} avec paramètres", f"signature {_NAMES.get(oid, oid)} with parameters")
    if oid == RSA_ENCRYPTION:  # RFC 5754 §3.2: the hash is that of digestAlgorithm
        return SignatureKind("rsa-pkcs1v15", digest)
    if oid in _RSA:
        kind = SignatureKind("rsa-pkcs1v15", _RSA[oid])
    elif oid in _ECDSA:
        kind = SignatureKind("ecdsa", _ECDSA[oid])
    elif oid == _PSS:
        kind = _pss_kind(algorithm.parameters)
    elif oid == _ED25519:
        kind = SignatureKind("ed25519", "sha512")  # RFC 8419 §2.3, §3.1
    else:
        name = _NAMES.get(oid, oid)
        raise refused(f"signature {name}", f"signature {name}")
    if kind.digest != digest:
        raise refused(f"signature sur {kind.digest} et empreinte {digest}", f"signature over {kind.digest} and digest {digest}")
    return kind


def _pss_kind(parameters: bytes) -> SignatureKind:
    """Read RSASSA-PSS-params (RFC 4055 §3.1): what is absent means SHA-1, which is refused."""
    digest = mgf = ""
    salt = 20
    try:
        ber = Ber(parameters)
        for field in ber.children(ber.whole()):
            inside = ber.children(field)
            if len(inside) != 1:
                raise BerFault("parameters of RSASSA-PSS are malformed")
            if field.tag == CONTEXT_0:
                digest = digest_name(read_algorithm(ber, inside[0]))
            elif field.tag == CONTEXT_1:
                mgf = _mgf_digest(read_algorithm(ber, inside[0]))
            elif field.tag == CONTEXT_2:
                salt = ber.integer(inside[0])
            elif field.tag != CONTEXT_3 or ber.integer(inside[0]) != 1:
                raise BerFault("trailer of RSASSA-PSS is not 1")
    except BerFault as exc:
        raise refused(f"paramètres RSASSA-PSS illisibles : {exc}", f"unreadable parameters of RSASSA-PSS: {exc}") from exc
    if not digest or not mgf or not 0 <= salt <= MAX_SALT:
        raise refused("RSASSA-PSS avec sha1 par défaut, ou sel hors limites",
                      "RSASSA-PSS with default sha1, or salt out of bounds")
    return SignatureKind("rsa-pss", digest, mgf, salt)


def _mgf_digest(algorithm: Algorithm) -> str:
    if algorithm.oid != _MGF1 or not algorithm.parameters:
        raise refused("RSASSA-PSS sans MGF1", "RSASSA-PSS without MGF1")
    ber = Ber(algorithm.parameters)
    return digest_name(read_algorithm(ber, ber.whole()))


def public_key(certificate: x509.Certificate) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    """Give the key of a certificate when it is strong enough. Raises SmimeFault (ALGORITHM)."""
    try:
        key = certificate.public_key()
    except CERTIFICATE_FAULTS as exc:
        raise refused("clé du certificat illisible", "unreadable key in the certificate") from exc
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise refused(f"clé RSA de {key.key_size} bits, admises : {MIN_RSA_BITS} à {MAX_RSA_BITS}",
                          f"RSA key of {key.key_size} bits, admitted: {MIN_RSA_BITS} to {MAX_RSA_BITS}")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise refused(f"courbe {key.curve.name}", f"curve {key.curve.name}")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise refused("clé du certificat ni RSA, ni ECDSA, ni Ed25519", "key of the certificate is neither RSA, ECDSA nor Ed25519")


def key_name(certificate: x509.Certificate) -> str:
    """Give `rsa-2048`, `secp256r1`, `ed25519`. Raises SmimeFault (ALGORITHM)."""
    key = public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    return key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else "ed25519"


def check_signature(certificate: x509.Certificate, kind: SignatureKind, signature: bytes,
                    signed: Sequence[bytes | memoryview]) -> None:
    """Check a signature of octets given by pieces. Raises SmimeFault: SIGNATURE when it is not this key's, ALGORITHM."""
    key = public_key(certificate)
    try:
        if isinstance(key, rsa.RSAPublicKey) and kind.name.startswith("rsa"):
            digest = digest_of(kind.digest, signed)
            key.verify(signature, digest, _rsa_padding(kind), utils.Prehashed(_HASHES[kind.digest]))
        elif isinstance(key, ec.EllipticCurvePublicKey) and kind.name == "ecdsa":
            digest = digest_of(kind.digest, signed)
            key.verify(signature, digest, ec.ECDSA(utils.Prehashed(_HASHES[kind.digest])))
        elif isinstance(key, ed25519.Ed25519PublicKey) and kind.name == "ed25519":
            key.verify(signature, b"".join(signed))
        else:
            raise refused(f"signature {kind.name} et clé {key_name(certificate)}",
                          f"signature {kind.name} and key {key_name(certificate)}")
    except (InvalidSignature, ValueError) as exc:
        raise SmimeFault("signature fausse", SmimeCode.SIGNATURE, detail=say(
            f"la signature {kind.name} {kind.digest} n'est pas celle de la clé {key_name(certificate)}",
            f"the signature {kind.name} {kind.digest} is not that of the key {key_name(certificate)}")) from exc
    except UnsupportedAlgorithm as exc:
        raise refused(f"signature {kind.name} {kind.digest}", f"signature {kind.name} {kind.digest}") from exc


def _rsa_padding(kind: SignatureKind) -> padding.PKCS1v15 | padding.PSS:
    if kind.name == "rsa-pss":
        return padding.PSS(padding.MGF1(_HASHES[kind.mgf]), kind.salt)
    return padding.PKCS1v15()
