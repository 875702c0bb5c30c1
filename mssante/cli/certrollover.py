"""The guided change of the operator's certificate: declare, seen, try, switch (back), retire, abandon (spec §3.5).

- Each step checks that the one before is done, and says what is missing, with its rule (`BASCULE-…`) and remedy; `force` passes
  what a human may judge. The order itself is `services.rollover_state`'s, which the running server reads within seconds.
- `try_peers` speaks to other operators (no letter); everything else reads and writes files only.
- Nothing is ever deleted: the retired pair goes to `retired/` beside the certificates, its key still 0600.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.cli.certdesk import Explained, explain, use_of
from mssante.cli.checks.files import load_pair
from mssante.cli.trustdesk import kept_crls, read_current
from mssante.config.model import Config, split_hostport
from mssante.errors import InputFault, MssFault, OperatorFault, PeerFault
from mssante.lang import say
from mssante.model.address import normalise_domain
from mssante.services.ports import Target
from mssante.services.rollover_state import (
    Rollover,
    Stage,
    declare,
    read_rollover,
    retire,
    rollover_file,
    switch,
    try_with,
    write_rollover,
)
from mssante.transport.mx import DnsResolver, DnsSettings
from mssante.transport.operators import is_public, outbound_tls
from mssante.transport.smtp_connection import Endpoint
from mssante.transport.tryout import Tried, try_pair
from mssante.trust.anchors import certificate_id, read_der
from mssante.trust.expiry import What
from mssante.trust.names import DnMode, dn_from_x509
from mssante.trust.peer import UnknownRevocation, identify
from mssante.trust.profile_findings import Level
from mssante.trust.profiles import same_holder
from mssante.trust_setup import trust_snapshot

MAX_TRIES = 3  # addresses of one domain


@dataclass(frozen=True, slots=True)
class Binding:
    """One of our domains and a certificate: does the list in force bind them."""

    domain: str
    bound: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """A configuration with its rollover as it stands. current: our certificate; coming: the next one, None when none is named."""

    config: Config
    state: Rollover
    current: x509.Certificate
    coming: x509.Certificate | None

    @property
    def file(self) -> Path:
        """Where the state is kept."""
        return rollover_file(self.config.path(self.config.operator.tls.operator_certificate))

    def save(self, state: Rollover) -> None:
        """Write the state. Raises OperatorFault `BASCULE-ECRITURE`."""
        try:
            write_rollover(self.file, state)
        except OSError as exc:
            raise _unwritten(self.file.parent, exc) from exc


def open_desk(config: Config) -> Desk:
    """Read the state and both certificates. Raises InputFault (`ROLL-FILE`, `CERT-LECTURE`)."""
    certificate = config.path(config.operator.tls.operator_certificate)
    state = read_rollover(rollover_file(certificate))
    coming = load_pair(state.next_certificate, None)[0] if state.next_certificate is not None else None
    return Desk(config, state, load_pair(certificate, None)[0], coming)


def _refuse(rule: str, french: str, english: str, remedy: str, *, force: bool = True) -> InputFault:
    hint = say(" ; ou --force", "; or --force") if force else ""
    return InputFault(say(french, english), rule=rule, remedy=remedy + hint)


def _unwritten(folder: Path, exc: OSError) -> OperatorFault:
    return OperatorFault(say(f"{folder} : écriture impossible", f"{folder}: cannot be written"), rule="BASCULE-ECRITURE",
                         detail=exc.strerror or "", remedy=say("vérifiez le dossier et ses droits",
                                                               "check the folder and its mode"))


def bindings(config: Config, certificate: x509.Certificate) -> list[Binding]:
    """Tell for each of our domains whether the list in force binds it to a certificate. Raises InputFault (`LB-…`)."""
    read = read_current(config)
    name = dn_from_x509(certificate.subject)
    mode = DnMode(config.operator.trust.dn_mode)
    return [Binding(one.name, read.whitelist.binds(one.name, name, mode)) for one in config.domains.domain]


# ------------------------------------------------------------ declare


def declare_next(desk: Desk, certificate: Path, key: Path, now: datetime, *, force: bool) -> tuple[Explained, bool]:
    """Check a pair and name it as the next one; give its explanation, and whether its holder is the current one's.

    Raises InputFault: the faults of the pair (never forced), `BASCULE-MEME`, `BASCULE-PROFIL`, `ROLL-ORDER`.
    """
    leaf = load_pair(certificate, key)[0]
    if os.stat(key).st_mode & 0o077:
        raise InputFault(say(f"{key.name} est lisible par d'autres", f"{key.name} can be read by others"), rule="BASCULE-CLE",
                         remedy=f"chmod 600 {key.name}")
    if certificate_id(leaf) == certificate_id(desk.current):
        raise _refuse("BASCULE-MEME", "c'est le certificat déjà servi", "this is the certificate served already",
                      say("donnez le nouveau certificat", "give the new certificate"), force=False)
    shown = explain(leaf, certificate.name, use_of(desk.config, What.NEXT), now, desk.config)
    reason = _as_peer(desk.config, leaf, now)
    if (shown.failed or reason) and not force:
        rules = ", ".join([one.rule for one in shown.findings if one.level is Level.FAIL] + ([reason] if reason else []))
        raise _refuse("BASCULE-PROFIL", f"les autres opérateurs refuseraient ce certificat ({rules})",
                      f"other operators would refuse this certificate ({rules})", f"mssante cert show {certificate.name}")
    desk.save(declare(desk.state, certificate, key, now))
    return shown, same_holder(leaf, desk.current)


def _as_peer(config: Config, leaf: x509.Certificate, now: datetime) -> str:
    """Give the rule under which another operator with our settings would refuse a certificate for good, or nothing."""
    try:
        snapshot = trust_snapshot(config)
        crls = kept_crls(config, snapshot.anchors, now)
        identify(leaf.public_bytes(Encoding.DER), snapshot.anchors, crls, now, snapshot.peer_policy)
    except UnknownRevocation:
        return ""
    except PeerFault as fault:
        return fault.rule
    return ""


# ------------------------------------------------------------ seen, switch


def need_next(desk: Desk) -> x509.Certificate:
    """Give the next certificate. Raises InputFault `BASCULE-RIEN`."""
    if desk.coming is None:
        raise _refuse("BASCULE-RIEN", "aucun certificat suivant n'est déclaré", "no next certificate is declared",
                      "mssante cert rollover declare CERT CLE", force=False)
    return desk.coming


def switch_over(desk: Desk, now: datetime, *, force: bool) -> None:
    """Have the server serve the next pair. Raises InputFault: `BASCULE-RIEN`, `BASCULE-DATES`, `BASCULE-LISTE`, `BASCULE-ESSAI`,
    `ROLL-ORDER`."""
    coming = need_next(desk)
    if desk.state.next_certificate is not None and desk.state.next_key is not None:
        load_pair(desk.state.next_certificate, desk.state.next_key)  # still there, still a pair: never forced
    if not force:
        if not coming.not_valid_before_utc <= now <= coming.not_valid_after_utc:
            raise _refuse("BASCULE-DATES", "le certificat suivant n'est pas dans ses dates",
                          "the next certificate is not in its dates",
                          f"{coming.not_valid_before_utc:%Y-%m-%d} → {coming.not_valid_after_utc:%Y-%m-%d}")
        missing = [one.domain for one in bindings(desk.config, coming) if not one.bound]
        if missing:
            raise _refuse("BASCULE-LISTE", f"la liste ne lie pas encore le nouveau DN à {', '.join(missing)}",
                          f"the list does not bind the new DN yet to {', '.join(missing)}",
                          say("attendez la liste, ou demandez à l'ANS (mssante cert rollover seen)",
                              "wait for the list, or ask ANS (mssante cert rollover seen)"))
        if desk.state.stage is Stage.DECLARED:
            raise _refuse("BASCULE-ESSAI", "le certificat suivant n'a été essayé avec personne",
                          "the next certificate was tried with nobody", "mssante cert rollover try DOMAINE")
    desk.save(switch(desk.state, now))


def retire_former(desk: Desk, now: datetime) -> tuple[Path, str]:
    """Put the next pair in the configured files and the former one in `retired/`; give that folder and its certificate's print.

    Key first, then certificate, each by rename: a server that looks in between finds no pair and keeps the one in force. Cut
    short there, it is done again and loses nothing.
    Raises InputFault (`BASCULE-RIEN`, `ROLL-ORDER`, `CLE-AUTRE`), OperatorFault `BASCULE-ECRITURE`.
    """
    need_next(desk)
    next_certificate, next_key = desk.state.next_certificate, desk.state.next_key
    former = certificate_id(desk.current)
    done = retire(desk.state, former, now)  # refuses a wrong order before anything moves
    tls = desk.config.operator.tls
    certificate, key = desk.config.path(tls.operator_certificate), desk.config.path(tls.operator_key)
    folder = certificate.parent / "retired"
    if next_certificate is None or next_key is None:
        raise _refuse("BASCULE-RIEN", "la paire suivante n'est plus nommée", "the next pair is no longer named",
                      "mssante cert rollover status", force=False)
    load_pair(next_certificate, next_key)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for source, kind, mode in ((key, "key", 0o600), (certificate, "pem", 0o644)):
            kept = folder / f"{former[:16]}.{kind}"
            if not kept.exists():  # a retire that was cut short kept it already, and may have replaced the source
                _copy(source, kept, mode)
        _copy(next_key, key, 0o600)
        _copy(next_certificate, certificate, 0o644)
    except OSError as exc:
        raise _unwritten(certificate.parent, exc) from exc
    desk.save(done)
    return folder, former


def _copy(source: Path, target: Path, mode: int) -> None:
    """Replace a file by the copy of another, whole or not at all."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with source.open("rb") as reading, os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode),
                                                     "wb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


# ------------------------------------------------------------ try


@dataclass(frozen=True, slots=True)
class TriedDomain:
    """One domain tried. certificate: CN of its server; judged: the rule under which we would refuse it, or nothing."""

    domain: str
    tried: Tried
    certificate: str = ""
    judged: str = ""


def try_peers(desk: Desk, domains: Sequence[str], now: datetime) -> list[TriedDomain]:
    """Try the next pair with each domain, all at once; those that accept join `try_peers`: mail to them shows it from now on.

    Raises InputFault (`BASCULE-RIEN`, `ROLL-ORDER`, `ADR-…`), OperatorFault when the pair cannot be loaded.
    """
    need_next(desk)
    chosen = tuple(dict.fromkeys(normalise_domain(one) for one in domains))
    try_with(desk.state, chosen, now)  # refuses a wrong order before anybody is called
    certificate, key = desk.state.next_certificate, desk.state.next_key
    if certificate is None or key is None:
        raise _refuse("BASCULE-RIEN", "la paire suivante n'est plus nommée", "the next pair is no longer named",
                      "mssante cert rollover status", force=False)
    try:
        context = outbound_tls(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise OperatorFault(say("la paire suivante ne se charge pas", "the next pair cannot be loaded"), rule="BASCULE-PAIRE",
                            detail=type(exc).__name__, remedy="mssante cert rollover declare CERT CLE") from exc

    async def work() -> list[TriedDomain]:
        return list(await asyncio.gather(*(_try_domain(desk.config, one, context, now) for one in chosen)))

    found = asyncio.run(work())
    accepted = tuple(one.domain for one in found if one.tried.accepted)
    kept = tuple(dict.fromkeys((*desk.state.try_peers, *accepted)))
    if accepted:
        desk.save(try_with(desk.state, kept, now))
    return found


async def _try_domain(config: Config, domain: str, context: ssl.SSLContext, now: datetime) -> TriedDomain:
    endpoints = await _endpoints(config, domain)
    if not isinstance(endpoints, list):
        return TriedDomain(domain, Tried(False, "DNS", endpoints))
    last = Tried(False, "DNS", say("aucune adresse", "no address"))
    for endpoint in endpoints[:MAX_TRIES]:
        last = await try_pair(endpoint, context, ehlo_name=config.operator.operator.hostname,
                              sender=f"postmaster@{config.domains.domain[0].name}")
        if last.step != "connect":
            break
    name, judged = _server(config, last.leaf, now)
    return TriedDomain(domain, last, name, judged)


def _server(config: Config, leaf: bytes, now: datetime) -> tuple[str, str]:
    """Give the CN of a server's certificate and the rule under which we would refuse it."""
    if not leaf:
        return "", ""
    try:
        certificate = read_der(leaf)
        return dn_from_x509(certificate.subject).value("CN"), _as_peer(config, certificate, now)
    except (ValueError, TypeError, MssFault):
        return "?", "PEER-PARSE"


async def _endpoints(config: Config, domain: str) -> list[Endpoint] | str:
    """Resolve a domain as the relay does: fixed routes, then MX; give the addresses or why there is none."""
    relay = config.operator.relay
    resolver = DnsResolver(DnsSettings(tuple(split_hostport(server) for server in relay.dns_servers), port=relay.smtp_port,
                                       srv=relay.smtp_srv))
    route = relay.routes.get(domain)
    if route is not None:
        host, port = split_hostport(route)
        try:
            ipaddress.ip_address(host)
            return [Endpoint(host, port)]
        except ValueError:
            found = await resolver.addresses(host)
            return [Endpoint(one, port, host) for one in found] if isinstance(found, tuple) else found.reply
    targets = await resolver.mail_targets(domain)
    if not isinstance(targets, tuple):
        return targets.reply
    return _public(targets, allow_private=relay.allow_private)


def _public(targets: tuple[Target, ...], *, allow_private: bool) -> list[Endpoint]:
    return [Endpoint(address, target.port, target.host) for target in targets for address in target.addresses
            if allow_private or is_public(address)]
