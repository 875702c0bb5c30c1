"""Keys of S/MIME kept in files: signs, unwraps and agrees with the private key that stands beside a certificate.

- Reads octets that the caller gives: PEM (PKCS#8, PKCS#1, SEC 1, clear or under a password), DER, PKCS#12. No file is opened.
- Admits RSA of 2,048 to 8,192 bits and EC on P-256, P-384, P-521. The key and the certificate are a pair, or there is no key.
- `unwrap` never tells a bad PKCS#1 v1.5 padding: the fault of a forged key is only seen when the content does not open
  (implicit rejection, RFC 3218 §2.3.2). `agree` takes no point outside the curve.
- Never writes a key nor shows one: `repr` gives the fingerprint of the certificate.
- Called by `services` (mailboxes' keys), tests and tools; `encrypt`, `decrypt` and `sign` only see the interfaces of `values`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from mssante.lang import say
from mssante.smime.framing import broken, not_admitted, too_large
from mssante.smime.values import SmimeCode, SmimeFault

MAX_OCTETS = 1 << 20
MAX_CERTIFICATES = 20
RSA_BITS = (2_048, 8_192)
CURVES: dict[str, ec.EllipticCurve] = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1(), "secp521r1": ec.SECP521R1()}
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303  read only: OAEP's default (RFC 8017 §A.2.1), where collisions do no harm
    "sha224": hashes.SHA224(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_REJECTED_OCTETS = 32  # size of the key given instead of one that was forged

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def fingerprint(certificate: x509.Certificate) -> str:
    """Give the lower-case hexadecimal SHA-256 of a certificate's DER, the name of a key everywhere in S/MIME."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def admitted_public_key(certificate: x509.Certificate) -> PublicKey:
    """Give the public key of a certificate when S/MIME may use it here.

    Raises SmimeFault: `ALGORITHM` for another kind, size or curve (RFC 8550 §4.3), `UNREADABLE` for broken octets.
    """
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as exc:
        raise _algorithm("?") from exc
    except ValueError as exc:
        raise _unreadable("clé publique du certificat", "public key of the certificate") from exc
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _algorithm(type(key).__name__)
    _check_strength(key)
    return key


class FileKey:
    """A private key in memory, with its certificate: `SigningKey` and `OpeningKey` of values. Made by `load_key`."""

    __slots__ = ("_certificate", "_chain", "_key")

    def __init__(self, key: PrivateKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate] = ()) -> None:
        """key and certificate: a pair, both admitted; chain: authorities above, nearest first, without the root."""
        _check_strength(key.public_key())
        if not _pair(key, certificate):
            raise _not_a_pair(1)
        self._key = key
        self._certificate = certificate
        self._chain = tuple(chain)

    def __repr__(self) -> str:
        return f"FileKey({fingerprint(self._certificate)[:16]})"

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""
        return self._certificate

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The authorities above it that came with the key, nearest first, without the root."""
        return self._chain

    def sign(self, data: bytes) -> bytes:
        """Sign octets with SHA-256: RSA PKCS#1 v1.5, or ECDSA in DER (RFC 8551 §2.2)."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def unwrap(self, wrapped: bytes, *, oaep_hash: str, mgf_hash: str) -> bytes:
        """Give the content key that RSA wrapped (see `OpeningKey.unwrap`).

        A forged PKCS#1 v1.5 block gives a random key, so that only the content tells (RFC 3218 §2.3.2); a forged OAEP block
        raises SmimeFault (`BROKEN`), always the same.
        """
        if not isinstance(self._key, rsa.RSAPrivateKey):
            raise broken()
        if not oaep_hash:
            instead = os.urandom(_REJECTED_OCTETS)
            try:
                return self._key.decrypt(wrapped, padding.PKCS1v15())
            except ValueError:
                return instead
        if oaep_hash not in HASHES or mgf_hash not in HASHES:
            raise _algorithm(f"OAEP {oaep_hash}/{mgf_hash}")
        scheme = padding.OAEP(mgf=padding.MGF1(HASHES[mgf_hash]), algorithm=HASHES[oaep_hash], label=None)
        try:
            return self._key.decrypt(wrapped, scheme)
        except ValueError:
            raise broken() from None

    def agree(self, point: bytes) -> bytes:
        """Give the ECDH shared secret with a point of the key's own curve, as octets of the field's size (RFC 5753 §3.1).

        Raises SmimeFault (`BROKEN`) for a point outside the curve, at infinity, or of another curve (invalid-curve attack).
        """
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise broken()
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self._key.curve, point)
            return self._key.exchange(ec.ECDH(), peer)
        except ValueError:
            raise broken() from None


def load_key(key: bytes, certificates_pem: bytes = b"", password: bytes | None = None) -> FileKey:
    """Read a private key and the certificate that goes with it.

    key: PEM or DER of a private key, or PKCS#12 (its certificates join the others); certificates_pem: the key's certificate and,
    in any order, authorities above it, in PEM or one DER; password: of the key or of the PKCS#12. At most `MAX_OCTETS` each.
    When several certificates fit the key (a renewal that kept it), the one that ends last is taken.
    Raises SmimeFault: `UNREADABLE`, `ALGORITHM`, `USAGE` (no certificate fits the key), `LIMIT`.
    """
    if len(key) > MAX_OCTETS or len(certificates_pem) > MAX_OCTETS:
        raise too_large(f"fichier de clé ou de certificats, {MAX_OCTETS} octets au plus",
                        f"key or certificate file, {MAX_OCTETS} octets at most")
    private, found = _read_key(key, password)
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _algorithm(type(private).__name__)
    certificates = [*found, *_read_certificates(certificates_pem)]
    if len(certificates) > MAX_CERTIFICATES:
        raise too_large(f"{len(certificates)} certificats avec la clé, {MAX_CERTIFICATES} au plus",
                        f"{len(certificates)} certificates with the key, {MAX_CERTIFICATES} at most")
    own = [one for one in certificates if _pair(private, one)]
    if not own:
        raise _not_a_pair(len(certificates))
    leaf = max(own, key=lambda one: one.not_valid_after_utc)
    return FileKey(private, leaf, _chain_above(leaf, certificates))


def _read_key(data: bytes, password: bytes | None) -> tuple[object, list[x509.Certificate]]:
    """Read a private key in any of its clothes, with the certificates that a PKCS#12 holds."""
    secret = password or None
    try:
        if b"-----BEGIN" in data:
            return serialization.load_pem_private_key(data, secret), []
        try:
            return serialization.load_der_private_key(data, secret), []
        except (ValueError, TypeError):
            store = pkcs12.load_pkcs12(data, secret)
    except UnsupportedAlgorithm as exc:
        raise _algorithm("?") from exc
    except (ValueError, TypeError, OverflowError) as exc:  # TypeError: password missing, or given for a clear key
        raise _unreadable("clé privée", "private key") from exc
    held = [entry.certificate for entry in (store.cert, *store.additional_certs) if entry is not None]
    if store.key is None:
        raise _unreadable("PKCS#12 sans clé privée", "PKCS#12 without a private key")
    return store.key, held


def _read_certificates(data: bytes) -> list[x509.Certificate]:
    if not data.strip():
        return []
    try:
        return x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else [x509.load_der_x509_certificate(data)]
    except ValueError as exc:
        raise _unreadable("certificat", "certificate") from exc


def _pair(key: PrivateKey, certificate: x509.Certificate) -> bool:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return public == key.public_key()


def _chain_above(leaf: x509.Certificate, certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Order the authorities from the leaf's issuer up, by signature, leaving out what is self-signed."""
    chain: list[x509.Certificate] = []
    rest = [one for one in certificates if one.subject != one.issuer and one != leaf]
    current = leaf
    while True:
        above = next((one for one in rest if _issued(one, current)), None)
        if above is None:
            return tuple(chain)
        rest.remove(above)
        chain.append(above)
        current = above


def _issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # the library raises ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm: all mean no
        return False
    return True


def _check_strength(key: PublicKey) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
            raise _algorithm(f"RSA {key.key_size}")
    elif key.curve.name not in CURVES:
        raise _algorithm(f"EC {key.curve.name}")


def _algorithm(seen: str) -> SmimeFault:
    return not_admitted(f"clé d'une espèce, d'une taille ou d'un emploi non admis : {seen}",
                        f"key of a kind, a size or a use that is not admitted: {seen}")


def _unreadable(fr: str, en: str) -> SmimeFault:
    return SmimeFault("cle ou certificat illisible, ou mot de passe faux", SmimeCode.UNREADABLE, detail=say(fr, en),
                      remedy=say("PEM, DER ou PKCS#12, avec son mot de passe", "PEM, DER or PKCS#12, with its password"))


def _not_a_pair(count: int) -> SmimeFault:
    return SmimeFault("aucun certificat ne va avec la cle privee", SmimeCode.USAGE,
                      detail=say(f"{count} certificat(s) lu(s), d'autres clés", f"{count} certificate(s) read, of other keys"),
                      remedy=say("donner le certificat émis pour cette clé", "give the certificate issued for this key"))
