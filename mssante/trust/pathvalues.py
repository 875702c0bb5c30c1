"""Words of path validation: the stable codes, the rules to apply, the result.

- A code keeps its meaning once published: reports, the journal and S/MIME verdicts are made from it.
- The rules are values: nothing here reads a clock, a file or the network. Used by `path` and by whoever calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mssante.trust.anchors import GOOD_HASHES
from mssante.trust.crl import RevocationStatus

MAX_DEPTH = 10
MAX_TRIES = 200
MAX_INTERMEDIATES = 1000
MAX_CERTIFICATE = 64 * 1024

LinkStatus = Callable[[x509.Certificate, x509.Certificate, datetime], RevocationStatus]
"""Tells the state of a certificate as its issuer (second) publishes it, at an instant."""


class PathCode(StrEnum):
    """What became of a path."""

    VALID = "CHEMIN-VALIDE"
    ISSUER = "CHEMIN-EMETTEUR"  # no path to an anchor
    SIGNATURE = "CHEMIN-SIGNATURE"  # a signature is not that of the issuer's key
    EXPIRED = "CHEMIN-EXPIRE"
    NOT_YET = "CHEMIN-PAS-ENCORE"
    AUTHORITY = "CHEMIN-AUTORITE"  # an issuer is no authority: basicConstraints, keyCertSign
    LENGTH = "CHEMIN-LONGUEUR"  # pathLenConstraint
    NAMES = "CHEMIN-NOMS"  # name constraints
    POLICY = "CHEMIN-POLITIQUE"  # certificate policies
    CRITICAL = "CHEMIN-CRITIQUE"  # an unknown critical extension
    PURPOSE = "CHEMIN-USAGE"  # the leaf is not for this use
    ALGORITHM = "CHEMIN-ALGORITHME"  # weak or unknown signature, or key
    REVOKED = "CHEMIN-REVOQUE"
    REVOCATION = "CHEMIN-REVOCATION"  # the state cannot be told now
    UNREADABLE = "CHEMIN-ILLISIBLE"
    LIMIT = "CHEMIN-LIMITE"


class Purpose(StrEnum):
    """What the leaf is to be used for; `any` looks at no usage."""

    ANY = "any"
    SERVER = "server"
    CLIENT = "client"
    SIGN_MAIL = "sign-mail"
    ENCRYPT_MAIL = "encrypt-mail"


@dataclass(frozen=True, slots=True)
class PathRules:
    """purpose: of the leaf; status: asked for each link of a path (None: revocation is not looked at); hashes, rsa_bits: what
    signatures and keys must be, weaker for test suites only; depth: authorities between leaf and anchor; tries: signatures
    verified and paths judged."""

    purpose: Purpose = Purpose.ANY
    status: LinkStatus | None = None
    hashes: tuple[type[hashes.HashAlgorithm], ...] = GOOD_HASHES
    rsa_bits: int = 2048
    depth: int = MAX_DEPTH
    tries: int = MAX_TRIES


@dataclass(frozen=True, slots=True)
class PathResult:
    """path: leaf first, anchor last; when refused, the path that came farthest. culprit: CN of the certificate at fault;
    detail: what was seen, technical and short; policies: those valid for the leaf (dotted), empty when none is."""

    code: PathCode
    path: tuple[x509.Certificate, ...] = ()
    culprit: str = ""
    detail: str = ""
    policies: frozenset[str] = field(default_factory=frozenset)
    tries: int = 0

    @property
    def valid(self) -> bool:
        """True when the leaf is admitted."""
        return self.code is PathCode.VALID

    @property
    def temporary(self) -> bool:
        """True when the same path may be admitted later without anybody changing a certificate."""
        return self.code in (PathCode.REVOCATION, PathCode.NOT_YET)


class PathFault(Exception):
    """A rule of the path is broken; never leaves `validate_path`."""

    def __init__(self, code: PathCode, certificate: x509.Certificate | None, detail: str = "") -> None:
        super().__init__(code.value)
        self.code = code
        self.certificate = certificate
        self.detail = detail
