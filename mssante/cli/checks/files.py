"""Our certificates and keys: readable, private, matching, in date, of the right authority, usage and name.

The last word is `CERT-10`: our certificate is judged by the very function that judges a peer's (`mssante.trust.peer`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from mssante.cli.checks.finding import Finding, State, fail, ok, told, warn
from mssante.cli.common import read_limited
from mssante.config.model import Config
from mssante.errors import InputFault, PeerFault
from mssante.lang import say
from mssante.trust.anchors import TrustAnchors, common_name, issued_by, read_certificates
from mssante.trust.crl import CrlSet
from mssante.trust.peer import PeerPolicy, UnknownRevocation, identify

MAX_FILE = 1024 * 1024
WARN_DAYS = 30


@dataclass(frozen=True, slots=True)
class TrustFacts:
    """What the checks of our own certificate are judged against; anchors None: they could not be read."""

    anchors: TrustAnchors | None
    crls: CrlSet
    policy: PeerPolicy
    now: datetime


def load_pair(certificate: Path, key: Path | None) -> list[x509.Certificate]:
    """Give the certificates of a file, leaf first; checks that the key is theirs when given.

    Raises InputFault (`CERT-LECTURE`, `CLE-LECTURE`, `CLE-AUTRE`).
    """
    chain = read_certificates([read_limited(certificate, MAX_FILE, "CERT-LECTURE")])
    if not chain:
        raise InputFault(say(f"{certificate.name} ne contient pas de certificat", f"{certificate.name} holds no certificate"),
                         rule="CERT-LECTURE", remedy=say("donnez le certificat en PEM", "give the certificate as PEM"))
    if key is not None and _public(read_limited(key, MAX_FILE, "CLE-LECTURE"), key) != _octets(chain[0]):
        raise InputFault(say(f"{key.name} n'est pas la clé de {certificate.name}",
                             f"{key.name} is not the key of {certificate.name}"), rule="CLE-AUTRE",
                         remedy=say("donnez la clé qui a servi à demander ce certificat",
                                    "give the key with which this certificate was asked for"))
    return chain


def _octets(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public(raw: bytes, path: Path) -> bytes:
    try:
        key = load_pem_private_key(raw, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise InputFault(say(f"{path.name} n'est pas une clé privée lisible", f"{path.name} is not a readable private key"),
                         rule="CLE-LECTURE", remedy=say("donnez une clé PEM sans mot de passe, en mode 0600",
                                                        "give a PEM key without password, mode 0600")) from exc
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate_findings(config: Config, facts: TrustFacts) -> Iterator[Finding]:
    """Check the operator pair, then the pair of the users' ports when it is another one."""
    tls = config.operator.tls
    key = config.path(tls.operator_key)
    title = say("certificat opérateur", "operator certificate")
    certificate = config.path(tls.operator_certificate)
    try:
        chain = load_pair(certificate, None)
    except InputFault as fault:
        yield told("CERT-01", title, fault)
    else:
        yield ok("CERT-01", title, chain[0].subject.rfc4514_string())
        yield dates("CERT-02", chain[0], facts.now)
        yield _matches(certificate, key)
        yield from _judged(config, chain, facts)
    yield from key_mode("CERT-11", key)
    if tls.client_certificate is not None and tls.client_key is not None:
        yield from _users_pair(config.path(tls.client_certificate), config.path(tls.client_key), facts.now)
    yield from _login_authorities(config)


def _login_authorities(config: Config) -> Iterator[Finding]:
    """Check what asks IMAP clients for certificates (`login.client_anchors`), when something does."""
    login = config.operator.login
    title = say("certificats des clients IMAP", "certificates of IMAP clients")
    if login.client_anchors is None:
        if login.certificates:
            yield warn("CERT-23", title, say("login.certificates sans login.client_anchors",
                                             "login.certificates without login.client_anchors"),
                       say("nommez les autorités, ou videz la table", "name the authorities, or empty the table"))
        return
    try:
        found = read_certificates([read_limited(config.path(login.client_anchors), MAX_FILE, "CERT-23")])
    except InputFault as fault:
        yield told("CERT-23", title, fault)
        return
    yield ok("CERT-23", title, say(f"{len(found)} autorités, {len(login.certificates)} certificats connus",
                                   f"{len(found)} authorities, {len(login.certificates)} certificates known"))


def _users_pair(certificate: Path, key: Path, now: datetime) -> Iterator[Finding]:
    title = say("certificat des ports IMAP et dépôt", "certificate of IMAP and submission")
    try:
        leaf = load_pair(certificate, key)[0]
    except InputFault as fault:
        yield told("CERT-20", title, fault)
    else:
        yield ok("CERT-20", title, leaf.subject.rfc4514_string())
        yield dates("CERT-21", leaf, now)
    yield from key_mode("CERT-22", key)


def _matches(certificate: Path, key: Path) -> Finding:
    title = say("clé privée", "private key")
    try:
        load_pair(certificate, key)
    except InputFault as fault:
        return told("CERT-03", title, fault)
    return ok("CERT-03", title, say("c'est celle du certificat", "it is the certificate's"))


def dates(number: str, leaf: x509.Certificate, now: datetime) -> Finding:
    """Check the dates of a certificate."""
    title = say("dates du certificat", "certificate dates")
    end, start = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    left = (end - now).days
    seen = say(f"du {start:%Y-%m-%d} au {end:%Y-%m-%d}, reste {left} jours",
               f"{start:%Y-%m-%d} to {end:%Y-%m-%d}, {left} days left")
    if now > end:
        return fail(number, title, seen, say("expiré : commandez un certificat SERV SSL à l'IGC-Santé",
                                             "expired: order a SERV SSL certificate from IGC-Santé"))
    if now < start:
        return fail(number, title, seen, say("pas encore valable : vérifiez l'horloge", "not valid yet: check the clock"))
    if left < WARN_DAYS:
        return warn(number, title, seen, say("renouvelez-le maintenant", "renew it now"))
    return ok(number, title, seen)


def key_mode(number: str, path: Path) -> Iterator[Finding]:
    """A private key is its owner's only: mode 0600 or stricter, readable by the user who runs this."""
    title = say("droits de la clé privée", "private key's mode")
    try:
        facts = path.stat()
    except OSError as exc:
        yield fail(number, title, f"{path.name} : {exc.strerror}", say("vérifiez le chemin", "check the path"))
        return
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        yield fail(number, title, f"{path.name} : {mode:04o}", f"chmod 600 {path.name}")
    elif not os.access(path, os.R_OK):
        yield fail(number, title, f"{path.name} : {mode:04o}", say("donnez ce fichier à l'utilisateur du service",
                                                                  "give this file to the service's user"))
    else:
        yield ok(number, title, f"{path.name} : {mode:04o}")


def _judged(config: Config, chain: list[x509.Certificate], facts: TrustFacts) -> Iterator[Finding]:
    leaf = chain[0]
    yield _issuer(leaf, facts.anchors)
    yield _chain(chain)
    yield _usage(leaf)
    yield _name(leaf, config.operator.operator.hostname)
    if facts.anchors is not None:
        yield as_peer(leaf, facts, facts.anchors)


def _issuer(leaf: x509.Certificate, anchors: TrustAnchors | None) -> Finding:
    """ECO.1.1.10: the issuing authority is one of those admitted."""
    title = say("autorité émettrice", "issuing authority")
    seen = common_name(leaf.issuer)
    if anchors is None:
        return warn("CERT-04", title, seen, say("corrigez d'abord ANCRE-01", "mend ANCRE-01 first"))
    if any(issued_by(leaf, issuer) for issuer in anchors.issuers_named(leaf.issuer)):
        return ok("CERT-04", title, seen)
    admitted = ", ".join(sorted({common_name(one.subject) for one in anchors.issuers}))
    return fail("CERT-04", title, seen, say(f"seules sont admises : {admitted}", f"only these are admitted: {admitted}"))


def _chain(chain: list[x509.Certificate]) -> Finding:
    """RFC 8446 §4.4.2: the server sends its certificate and the one that issued it."""
    title = say("chaîne envoyée", "chain sent")
    if len(chain) > 1 and issued_by(chain[0], chain[1]):
        return ok("CERT-05", title, say(f"{len(chain)} certificats", f"{len(chain)} certificates"))
    return warn("CERT-05", title, say("l'autorité émettrice n'y est pas", "the issuing authority is not in it"),
                say("ajoutez son certificat à la fin du fichier PEM : des clients en ont besoin",
                    "append its certificate to the PEM file: some clients need it"))


def _usage(leaf: x509.Certificate) -> Finding:
    """F2.5: one certificate serves as server and as client between operators."""
    title = say("usages du certificat", "certificate usages")
    try:
        found = [one.value for one in leaf.extensions]
    except ValueError:
        return fail("CERT-06", title, say("extensions illisibles", "unreadable extensions"),
                    say("redemandez le certificat", "ask for the certificate again"))
    signs = any(isinstance(one, x509.KeyUsage) and one.digital_signature for one in found)
    extended = [one for one in found if isinstance(one, x509.ExtendedKeyUsage)]
    missing = [name for name, oid in (("serverAuth", ExtendedKeyUsageOID.SERVER_AUTH),
                                      ("clientAuth", ExtendedKeyUsageOID.CLIENT_AUTH)) if extended and oid not in extended[0]]
    if not signs or len(missing) == 2:
        return fail("CERT-06", title, ", ".join(missing) or "digitalSignature", say(
            "ce certificat ne sert pas à TLS : il faut une offre SERV SSL",
            "this certificate is not for TLS: a SERV SSL one is needed"))
    if missing:
        return warn("CERT-06", title, say(f"sans {missing[0]}", f"without {missing[0]}"), say(
            "un opérateur strict peut le refuser dans ce rôle", "a strict operator may refuse it in this role"))
    return ok("CERT-06", title, "digitalSignature, serverAuth, clientAuth" if extended else "digitalSignature")


def _name(leaf: x509.Certificate, hostname: str) -> Finding:
    title = say("nom du certificat", "certificate name")
    name = common_name(leaf.subject)
    if name.lower() == hostname.lower():
        return ok("CERT-07", title, f"CN = {name}")
    return fail("CERT-07", title, f"CN = {name}, hostname = {hostname}", say(
        "mettez le CN dans operator.hostname, ou changez de certificat",
        "write the CN into operator.hostname, or change the certificate"))


def as_peer(leaf: x509.Certificate, facts: TrustFacts, anchors: TrustAnchors) -> Finding:
    """Judge our certificate as another operator would."""
    title = say("vu par un autre opérateur", "as another operator sees it")
    try:
        identify(leaf.public_bytes(Encoding.DER), anchors, facts.crls, facts.now, facts.policy)
    except UnknownRevocation as fault:
        return Finding("CERT-10", State.WARN, title, fault.public,
                       say("voyez les contrôles CRL", "see the CRL checks"), fault.rule)
    except PeerFault as fault:
        return told("CERT-10", title, fault, say("changez de certificat", "change the certificate"))
    return ok("CERT-10", title, say("identité admise", "identity is admitted"))
