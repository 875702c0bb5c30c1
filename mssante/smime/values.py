"""Words that all of S/MIME shares: the stable codes of a verdict, the keys as interfaces, the limits.

- A code, once published, keeps its meaning: the header of a message, the journal, the metrics and the integrators' programs
  all read it. Codes are added, never reused.
- A key is an interface, so that a file, a token (PKCS#11) or a test can stand behind it.
- Nothing here decides: `verify`, `sign`, `encrypt` and `decrypt` do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from mssante.errors import InputFault


class SmimeCode(StrEnum):
    """What a check of S/MIME found; see `docs/smime.md` for the words and the remedy of each."""

    NONE = "SMIME-ABSENT"  # neither signed nor encrypted
    VALID = "SMIME-VALIDE"  # one signer, whole body, signer is the author, certificate admitted
    ALTERED = "SMIME-ALTERE"  # the digest is not that of the content
    SIGNATURE = "SMIME-SIGNATURE"  # the signature is not that of the certificate's key
    CHAIN = "SMIME-CHAINE"  # the signer's certificate does not lead to an admitted authority
    EXPIRED = "SMIME-EXPIRE"  # the certificate was not in its dates
    REVOKED = "SMIME-REVOQUE"
    REVOCATION_UNKNOWN = "SMIME-REVOCATION"  # the state of revocation cannot be told now
    USAGE = "SMIME-USAGE"  # the certificate is not for this use
    SENDER = "SMIME-EXPEDITEUR"  # the signer's address is not the author's
    PARTIAL = "SMIME-PARTIEL"  # something in the message is not covered by the signature
    SEVERAL = "SMIME-MULTIPLE"  # several signers
    NO_SIGNER = "SMIME-SANS-SIGNATAIRE"  # no signer, or its certificate is missing
    CONFUSED = "SMIME-CONFUS"  # the structure can be read in two ways
    ALGORITHM = "SMIME-ALGORITHME"  # weak or unknown algorithm
    UNREADABLE = "SMIME-ILLISIBLE"
    LIMIT = "SMIME-LIMITE"  # beyond a limit of size, depth or count
    ENCRYPTED = "SMIME-CHIFFRE"  # encrypted, and left so
    OPENED = "SMIME-OUVERT"  # encrypted, and a readable view stands beside it
    NOT_FOR_US = "SMIME-AUTRE-DESTINATAIRE"  # encrypted for none of our keys
    BROKEN = "SMIME-DECHIFFREMENT"  # the key fits and the content does not open: altered, or not what it says
    UNSAFE = "SMIME-EFAIL"  # opened content that must not be shown: clear and encrypted parts mixed, or malformed (EFAIL)


class SmimeFault(InputFault):
    """A message that cannot be signed, encrypted or opened. rule: a SmimeCode."""

    def __init__(self, public: str, code: SmimeCode, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(public, rule=code.value, remedy=remedy, detail=detail)
        self.code = code


class Cipher(StrEnum):
    """Content encryption that we write; all that RFC 8551 §2.7 asks for is read, and AES-192 besides."""

    AES256_GCM = "aes256-gcm"
    AES128_GCM = "aes128-gcm"
    AES256_CBC = "aes256-cbc"
    AES128_CBC = "aes128-cbc"


class SigningKey(Protocol):
    """A private key that signs, wherever it is kept."""

    @property
    def certificate(self) -> x509.Certificate:
        """The signer's certificate."""
        ...

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The authorities above it, nearest first, without the root."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Sign octets with SHA-256: RSA PKCS#1 v1.5, or ECDSA in DER. Raises OperatorFault when the key cannot be used."""
        ...


class OpeningKey(Protocol):
    """A private key that opens what was encrypted for its certificate."""

    @property
    def certificate(self) -> x509.Certificate:
        """The recipient's certificate."""
        ...

    def unwrap(self, wrapped: bytes, *, oaep_hash: str, mgf_hash: str) -> bytes:
        """Give the content key that RSA wrapped; oaep_hash `sha1`, `sha256`, `sha384`, `sha512`, or empty for PKCS#1 v1.5.

        Raises SmimeFault (`BROKEN`); never tells a bad padding from a bad length (Bleichenbacher: RFC 3218).
        """
        ...

    def agree(self, point: bytes) -> bytes:
        """Give the ECDH shared secret with an uncompressed or compressed point of the same curve (RFC 5753 §3.1).

        Raises SmimeFault (`BROKEN`).
        """
        ...


CERTIFICATE_FAULTS = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
                      x509.UnsupportedGeneralNameType)
"""What `cryptography` raises on a certificate that is malformed; it parses names and extensions late."""

CertificateCheck = Callable[[x509.Certificate, Sequence[x509.Certificate], datetime], SmimeCode]
"""Decides on a signer's certificate with the intermediates found beside it, at an instant: VALID, or why not."""


@dataclass(frozen=True, slots=True)
class SmimeLimits:
    """message_bytes: larger messages are not checked; depth: layers of S/MIME and MIME levels walked; count: certificates,
    signers and recipients of one structure."""

    message_bytes: int = 64 * 1024 * 1024
    depth: int = 10
    count: int = 100


@dataclass(frozen=True, slots=True)
class SmimeVerdict:
    """What was found in one message. signature, encryption: the code of each, NONE when there is none of the kind.

    signer: e-mail address of the certificate; name: its CN; fingerprint: lower-case hex SHA-256 of its DER; signed_at: the
    signer's own claim (signingTime); algorithms: as they stand in the structures, for the reader; certificates: those to
    learn from when the signature is VALID (the signer's, and the one for encryption that it names: RFC 8551 §2.5.3).
    """

    signature: SmimeCode = SmimeCode.NONE
    encryption: SmimeCode = SmimeCode.NONE
    signer: str = ""
    name: str = ""
    fingerprint: str = ""
    signed_at: datetime | None = None
    algorithms: tuple[str, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()
    detail: str = ""
