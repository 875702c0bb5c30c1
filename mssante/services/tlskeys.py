"""Our certificates and keys on disk: read and judged before they are served, and watched for change.

- A pair is a PEM certificate followed by its chain, and a PEM key without password. It is judged before OpenSSL sees it, with
  the rule, the values and the remedy: the key is the certificate's, each certificate of the chain signed the one before it,
  the dates hold, the key and its usages do; on the operators' port, an admitted authority signed it.
- Judging gives hard faults (`TLS-LECTURE`, `TLS-CLE`, `TLS-CHAINE`, `TLS-TYPE`: OpenSSL or peers could do nothing with it) and
  soft ones (`TLS-DATES`, `TLS-USAGE`, `TLS-EMETTEUR`): a *new* pair is refused for either, the pair that is there at start for
  the hard ones only, so that a restart never stops more mail than the certificate itself does.
- What was judged is what is served: octets are read once and kept, contexts are made from them, never from the files again.
- A change is seen by size, time and inode, every few seconds: no dependency, and it works on any file system.

Never: logs a key or a file's content, writes a key on a disk. Called by `tls_setup`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.trust.anchors import READ_FAULTS, TrustAnchors, check_readable, common_name

MAX_FILE = 256 * 1024
MAX_CHAIN = 10
MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate and its key are: absolute paths, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ReadPair:
    """A pair that can be served. end_point: `tls-server-end-point` data (RFC 5929 §4.1), empty when it has none;
    kind: `RSA` or `EC`; fault: what is wrong with it though it could be served, or None; octets: both files, as they were."""

    pair: Pair
    leaf: x509.Certificate
    fingerprint: str
    kind: str
    end_point: bytes
    fault: OperatorFault | None
    octets: tuple[bytes, bytes] = field(repr=False)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a context show this pair. Raises OperatorFault `TLS-CONTEXTE` when OpenSSL does not take it."""
        try:
            with _as_file(self.octets[0]) as certificate, _as_file(self.octets[1]) as key:
                context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as fault:
            raise OperatorFault(
                say(f"OpenSSL refuse {self.pair.certificate.name} et sa clé", f"OpenSSL refuses {self.pair.certificate.name}"),
                rule="TLS-CONTEXTE", detail=str(getattr(fault, "reason", "") or type(fault).__name__),
                remedy=say("RSA de 2048 bits au moins, signature SHA-2", "RSA of 2048 bits, signed with SHA-2")) from fault


@contextmanager
def _as_file(octets: bytes) -> Iterator[str]:
    """Give octets a name that OpenSSL can open, in memory only (`memfd_create`)."""
    descriptor = os.memfd_create("mssante")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(octets)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


Mark = tuple[tuple[str, int, int, int], ...]


def mark_of(paths: Iterable[Path]) -> Mark:
    """Give what changes when a file is replaced, rewritten or touched; an absent file has a mark too."""
    return tuple(_mark(path) for path in paths)


def _mark(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (str(path), 0, 0, 0)
    return (str(path), found.st_mtime_ns, found.st_size, found.st_ino)


def read_pair(pair: Pair, now: datetime, issuers: TrustAnchors | None) -> ReadPair:
    """Read and judge a pair. issuers: the authorities that may have signed it, for the operators' port; None: anybody.

    Raises OperatorFault: `TLS-LECTURE`, `TLS-CLE`, `TLS-CHAINE`; softer faults are in the result.
    """
    octets = (_octets(pair.certificate), _octets(pair.key))
    chain = _chain(pair.certificate, octets[0])
    leaf = chain[0]
    _check_key(leaf, pair, octets[1])
    _check_chain(chain, pair)
    kind = "RSA" if isinstance(leaf.public_key(), rsa.RSAPublicKey) else "EC"
    fault = _dates(leaf, now) or _usage(leaf) or (_issuer(leaf, issuers, now) if issuers is not None else None)
    return ReadPair(pair, leaf, leaf.fingerprint(hashes.SHA256()).hex(), kind, end_point_of(leaf), fault, octets)


def read_side_by_side(pairs: Sequence[Pair], now: datetime, issuers: TrustAnchors | None) -> tuple[ReadPair, ...]:
    """Read pairs that one door serves together, OpenSSL choosing by what the client can do. Raises OperatorFault: those of
    `read_pair`, and `TLS-TYPE` when two have the same kind of key."""
    found = tuple(read_pair(pair, now, issuers) for pair in pairs)
    kinds = [one.kind for one in found]
    if len(set(kinds)) < len(kinds):
        raise OperatorFault(
            say(f"deux paires de même type : {kinds[0]}", f"two pairs of the same kind: {kinds[0]}"), rule="TLS-TYPE",
            remedy=say("second_certificate complète l'autre type : RSA avec ECDSA", "second_certificate is of the other kind"))
    return found


def end_point_of(leaf: x509.Certificate) -> bytes:
    """Give the `tls-server-end-point` data of a certificate (RFC 5929 §4.1), empty when its signature names no hash we know."""
    try:
        named = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return b""
    if named is None:
        return b""
    weak = isinstance(named, hashes.MD5 | hashes.SHA1)
    return leaf.fingerprint(hashes.SHA256() if weak else named)


def _octets(path: Path) -> bytes:
    """Give a file's octets. Raises OperatorFault `TLS-LECTURE`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as fault:
        raise _unreadable(path, fault.strerror or type(fault).__name__) from fault
    if len(raw) > MAX_FILE:
        raise _unreadable(path, f"> {MAX_FILE} octets")
    return raw


def _unreadable(path: Path, why: str) -> OperatorFault:
    return OperatorFault(say(f"{path.name} ne peut être lu : {why}", f"{path.name} cannot be read: {why}"), rule="TLS-LECTURE",
                         remedy=say("PEM, lisible par le compte du service ; remettez le fichier entier",
                                    "PEM, readable by the service's account; put the whole file back"))


def _chain(path: Path, octets: bytes) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(octets)
        for certificate in chain:
            check_readable(certificate)
    except READ_FAULTS as fault:
        raise _unreadable(path, "ce n'est pas une suite de certificats PEM") from fault
    if len(chain) > MAX_CHAIN:
        raise _unreadable(path, f"{len(chain)} certificats, {MAX_CHAIN} au plus")
    return chain


def _check_key(leaf: x509.Certificate, pair: Pair, octets: bytes) -> None:
    """The key is the certificate's, and strong enough (spec §3.3). Raises OperatorFault."""
    try:
        key = load_pem_private_key(octets, None)
        ours, theirs = (public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                        for public in (key.public_key(), leaf.public_key()))
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise _unreadable(pair.key, "ce n'est pas une clé PEM sans mot de passe") from fault
    if ours != theirs:
        raise OperatorFault(
            say(f"{pair.key.name} n'est pas la clé de {pair.certificate.name}",
                f"{pair.key.name} is not the key of {pair.certificate.name}"), rule="TLS-CLE",
            remedy=say("installez ensemble la clé et le certificat issus de la même demande",
                       "install the key and the certificate of one request together"))
    public = leaf.public_key()
    if not (isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS) \
            and not isinstance(public, ec.EllipticCurvePublicKey):
        raise OperatorFault(say(f"clé trop faible ou d'un autre type : {type(public).__name__}",
                                f"key too weak or of another kind: {type(public).__name__}"), rule="TLS-CLE",
                            remedy=say("RSA d'au moins 2048 bits, ou ECDSA", "RSA of 2048 bits at least, or ECDSA"))


def _check_chain(chain: list[x509.Certificate], pair: Pair) -> None:
    for rank, (below, above) in enumerate(pairwise(chain), 2):
        try:
            below.verify_directly_issued_by(above)
        except (InvalidSignature, *READ_FAULTS) as fault:
            raise OperatorFault(
                say(f"{pair.certificate.name} : le certificat n° {rank} ({common_name(above.subject)[:80]}) n'a pas signé "
                    "celui qui le précède", f"{pair.certificate.name}: certificate no. {rank} did not sign the one before it"),
                rule="TLS-CHAINE", remedy=say("d'abord le certificat du serveur, puis celui de son autorité",
                                              "the server's certificate first, then its authority's")) from fault


def _dates(leaf: x509.Certificate, now: datetime) -> OperatorFault | None:
    if leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return None
    span = f"{leaf.not_valid_before_utc:%Y-%m-%d} .. {leaf.not_valid_after_utc:%Y-%m-%d}"
    return OperatorFault(say(f"certificat hors de ses dates : {span}", f"certificate out of its dates: {span}"), rule="TLS-DATES",
                         remedy=say("renouvelez-le auprès de l'IGC-Santé, ou vérifiez l'horloge", "renew it, or check the clock"))


def _usage(leaf: x509.Certificate) -> OperatorFault | None:
    """serverAuth when an extended usage is there, digitalSignature when a key usage is (RFC 5280 §4.2.1.3, F3.12)."""
    wrong = ""
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.SERVER_AUTH not in value:
            wrong = "extendedKeyUsage : serverAuth"
        elif isinstance(value, x509.KeyUsage) and not value.digital_signature:
            wrong = "keyUsage : digitalSignature"
        elif extension.oid == ExtensionOID.BASIC_CONSTRAINTS and isinstance(value, x509.BasicConstraints) and value.ca:
            wrong = "basicConstraints : CA"
    if not wrong:
        return None
    return OperatorFault(
        say(f"ce certificat n'est pas celui d'un serveur ({wrong})", f"this is no server's certificate ({wrong})"),
        rule="TLS-USAGE", remedy=say("demandez un certificat SERV SSL", "request a SERV SSL certificate"))


def _issuer(leaf: x509.Certificate, anchors: TrustAnchors, now: datetime) -> OperatorFault | None:
    """On the operators' port only an admitted authority of the IGC-Santé is believed by peers (ECO.1.1.10)."""
    if anchors.issuer_of(leaf, now) is not None:
        return None
    admitted = ", ".join(sorted({common_name(issuer.subject) for issuer in anchors.issuers}))[:200]
    seen = common_name(leaf.issuer)[:120]
    return OperatorFault(
        say(f"certificat émis par « {seen} », les autres opérateurs n'admettent que : {admitted}",
            f"certificate issued by “{seen}”, other operators admit only: {admitted}"), rule="TLS-EMETTEUR",
        remedy=say("mettez ici le certificat IGC-Santé, et un autre dans client_certificate",
                   "put the IGC-Santé certificate here, and any other in client_certificate"))
