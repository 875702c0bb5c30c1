"""What only the network tells, for `mssante check --online`: our names in the DNS, the clock, our doors as others meet them.

- `SERVI-01` connects to our own public name as another operator does, with our own pair as client, and compares the certificate
  served with the one on disk: it sees the renewed one that nobody serves. `SERVI-02` does so at the users' doors.
- Several small questions, each bounded; one that fails hides none of the others. Changes nothing, sends no message.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.reversename
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.cli.checks.files import load_pair
from mssante.cli.checks.finding import Finding, State, fail, ok, told, warn
from mssante.clock import SystemClock
from mssante.config.model import Config, split_hostport
from mssante.errors import InputFault, OperatorFault
from mssante.lang import say
from mssante.services.peervalues import Door, Observed
from mssante.transport import selfprobe
from mssante.transport.mx import DnsResolver, DnsSettings
from mssante.transport.peerprobe import PeerProbe, ProbeSettings, client_context

WARN_SKEW, FAIL_SKEW = 30.0, 300.0  # CRL and OCSP forgive five minutes
DOORS = ("smtp", "submission", "submissions", "imap", "imaps")
_KINDS = {"submission": selfprobe.SMTP, "submissions": selfprobe.TLS, "imap": selfprobe.IMAP, "imaps": selfprobe.TLS}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where to knock, not where to listen


def online_findings(config: Config) -> list[Finding]:
    """Run every control of this module."""
    async def work() -> list[Finding]:
        return [one async for one in _all(config)]

    return asyncio.run(work())


async def _all(config: Config) -> AsyncIterator[Finding]:
    relay = config.operator.relay
    servers = tuple(split_hostport(server) for server in relay.dns_servers)
    resolver = DnsResolver(DnsSettings(servers, port=relay.smtp_port, srv=relay.smtp_srv))
    for one in config.domains.domain:
        yield await _mx(resolver, one.name, config.operator.operator.hostname)
    addresses = await resolver.addresses(config.operator.operator.hostname)
    found = addresses if isinstance(addresses, tuple) else ()
    yield _addresses(config.operator.operator.hostname, found)
    for address in found:
        yield await _reverse(address, servers, config.operator.operator.hostname)
    yield await _clock(config)
    for door in DOORS:
        listen = getattr(config.operator.listen, door)
        if listen:
            yield await _open(door, listen)
    disk = _operator_leaves(config, SystemClock().now())
    if not disk:
        return  # CERT-01 tells it
    yield await _operator_door(config, found, disk)
    async for finding in _users_doors(config):
        yield finding


def _leaves(config: Config, *paths: Path | None) -> tuple[bytes, ...]:
    """Give the leaves (DER) of those files that hold one; the others are told by the controls of files."""
    found = []
    for path in paths:
        if path is not None:
            with suppress(InputFault):
                found.append(load_pair(config.path(path), None)[0].public_bytes(Encoding.DER))
    return tuple(found)


def _operator_leaves(config: Config, now: datetime) -> tuple[bytes, ...]:
    """Give what the operators' port may serve now: the pair and its second kind, or the next one, once its hour has come."""
    tls = config.operator.tls
    due = tls.next_from is not None and now >= tls.next_from
    if due:
        return _leaves(config, tls.next_certificate, tls.second_certificate)
    return _leaves(config, tls.operator_certificate, tls.second_certificate, tls.next_certificate)


# ------------------------------------------------------------ names


async def _mx(resolver: DnsResolver, domain: str, hostname: str) -> Finding:
    title = say(f"MX de {domain}", f"MX of {domain}")
    found = await resolver.mail_targets(domain)
    if not isinstance(found, tuple):
        return Finding("NOM-01", State.FAIL, title, found.reply, say(
            "publiez un MX qui mène à operator.hostname", "publish an MX that leads to operator.hostname"), found.rule)
    hosts = ", ".join(one.host for one in found)
    if any(one.host == hostname.lower() for one in found):
        return ok("NOM-01", title, hosts)
    return fail("NOM-01", title, hosts, say(f"aucun n'est {hostname} : le courrier va ailleurs",
                                            f"none is {hostname}: mail goes elsewhere"))


def _addresses(hostname: str, found: tuple[str, ...]) -> Finding:
    title = say(f"adresses de {hostname}", f"addresses of {hostname}")
    if found:
        return ok("NOM-02", title, ", ".join(found))
    return fail("NOM-02", title, say("aucune", "none"), say("publiez A ou AAAA pour ce nom", "publish A or AAAA for this name"))


async def _reverse(address: str, servers: tuple[tuple[str, int], ...], hostname: str) -> Finding:
    """PTR: some operators look at it; a warning at most."""
    title = say(f"nom inverse de {address}", f"reverse name of {address}")
    asker = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        asker.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
    asker.lifetime = 5.0
    try:
        answer = await asker.resolve(dns.reversename.from_address(address), "PTR", search=False)
        names = [str(one.target).rstrip(".").lower() for one in answer][:10]
    except (dns.exception.DNSException, OSError):
        names = []
    if hostname.lower() in names:
        return ok("NOM-03", title, ", ".join(names))
    return warn("NOM-03", title, ", ".join(names) or say("aucun", "none"), say(
        f"demandez un PTR {hostname} à votre hébergeur : des opérateurs le regardent",
        f"ask your host for a PTR {hostname}: some operators look at it"))


# ------------------------------------------------------------ clock


async def _clock(config: Config) -> Finding:
    title = say("horloge", "clock")
    trust, clock = config.operator.trust, SystemClock()
    anchors = config.path(trust.whitelist_anchors or trust.anchors)
    faults = []
    for url in (*trust.crl_urls, trust.whitelist_url):
        try:
            before = clock.now()
            there = await selfprobe.server_date(url, anchors)
            return _skew(title, there, before, clock.now())
        except (OperatorFault, ssl.SSLError, OSError) as fault:
            faults.append(getattr(fault, "rule", "") or type(fault).__name__)
    return warn("HEURE-01", title, ", ".join(dict.fromkeys(faults)) or say("aucune source", "no source"),
                say("aucune source ne donne l'heure : comparez à la main", "no source tells the time: compare by hand"))


def _skew(title: str, there: datetime, before: datetime, after: datetime) -> Finding:
    """Compare with a time that is told to the second, some time between two instants of ours."""
    early = (there - after).total_seconds()
    late = (before - there).total_seconds() - 1
    off = max(early, late, 0.0)
    seen = say(f"écart {off:.0f} s", f"off by {off:.0f} s")
    remedy = say("réglez NTP (chrony, systemd-timesyncd)", "set NTP up (chrony, systemd-timesyncd)")
    if off > FAIL_SKEW:
        return fail("HEURE-01", title, seen, remedy)
    return warn("HEURE-01", title, seen, remedy) if off > WARN_SKEW else ok("HEURE-01", title, seen)


# ------------------------------------------------------------ doors


def _knock(listen: str) -> tuple[str, int]:
    host, port = split_hostport(listen)
    return _EVERYWHERE.get(host, host), port


async def _open(door: str, listen: str) -> Finding:
    title = say(f"porte {door}", f"door {door}")
    why = await selfprobe.accepts(_knock(listen))
    if not why:
        return ok("PORTE-01", title, say(f"{listen} ouverte", f"{listen} is open"))
    return fail("PORTE-01", title, f"{listen} : {why}", say("démarrez le serveur, ou videz cette clé de [listen]",
                                                           "start the server, or empty this key of [listen]"))


@dataclass(frozen=True, slots=True)
class _Served:
    title: str
    place: str


async def _operator_door(config: Config, addresses: tuple[str, ...], disk: tuple[bytes, ...]) -> Finding:
    """Meet ourselves at our public name as another operator does, with our own certificate as client."""
    tls, operator, listen = config.operator.tls, config.operator.operator, config.operator.listen
    title = say("certificat servi entre opérateurs", "certificate served between operators")
    if not listen.smtp:
        return warn("SERVI-01", title, "listen.smtp = \"\"", say("aucune porte entre opérateurs", "no door between operators"))
    host, port = (addresses[0], config.operator.relay.smtp_port) if addresses else _knock(listen.smtp)
    if _loopback(host):  # a laboratory: its DNS knows no port
        port = _knock(listen.smtp)[1]
    settings = ProbeSettings(operator.hostname, config.path(tls.operator_certificate), config.path(tls.operator_key),
                             f"postmaster@{config.domains.domain[0].name}")
    try:
        seen = await PeerProbe(settings, Door(operator.hostname, host, port)).run_ours()
    except (ssl.SSLError, OSError) as exc:
        return fail("SERVI-01", title, type(exc).__name__, say("voyez CERT-03", "see CERT-03"))
    return _operator_verdict(seen, disk, _Served(title, f"{operator.hostname}[{host}]:{port}"))


def _operator_verdict(seen: Observed, disk: tuple[bytes, ...], served: _Served) -> Finding:
    talk = seen.talks["ours"]
    if talk.tls is None or not talk.tls.done:
        reason = talk.tls.reason if talk.tls is not None else talk.detail or talk.fault
        return fail("SERVI-01", served.title, f"{served.place} : {reason}", say(
            "vu de dehors notre porte ne répond pas : pare-feu, adresse, service",
            "seen from outside our door does not answer: firewall, address, service"))
    found = _compare("SERVI-01", served, talk.tls.chain[0] if talk.tls.chain else b"", disk)
    mail = talk.find("MAIL", inside=True)
    if found.remedy or (mail is not None and mail.code == 250):
        return found
    refused = next((one for one in talk.inside if one.code != 250), None)
    return fail("SERVI-01", served.title, refused.text if refused is not None else talk.fault, say(
        "notre propre certificat est refusé : voyez LISTE-04 et CRL-01",
        "our own certificate is refused: see LISTE-04 and CRL-01"))


def _compare(number: str, served: _Served, leaf: bytes, disk: tuple[bytes, ...]) -> Finding:
    there = sha256(leaf).hexdigest()[:16]
    if leaf in disk:
        return ok(number, served.title, say(f"{served.place} : celui du disque ({there}…)",
                                            f"{served.place}: the one on disk ({there}…)"))
    here = "…, ".join(sha256(one).hexdigest()[:16] for one in disk)
    return fail(number, served.title, say(f"{served.place} sert {there}…, le disque porte {here}…",
                                          f"{served.place} serves {there}…, the disk holds {here}…"), say(
        "renouvelé mais pas servi : rechargez le serveur, ou cherchez quelle machine répond",
        "renewed but not served: reload the server, or look for which machine answers"))


async def _users_doors(config: Config) -> AsyncIterator[Finding]:
    tls, listen = config.operator.tls, config.operator.listen
    own = _leaves(config, tls.client_certificate) if tls.client_certificate else _operator_leaves(config, SystemClock().now())
    disk = (*own, *_leaves(config, *(one.certificate for one in tls.sni)))
    if not disk:
        return  # CERT-20 tells it
    context = client_context(None)
    for door, kind in _KINDS.items():
        address = getattr(listen, door)
        if not address:
            continue
        served = _Served(say(f"certificat servi, porte {door}", f"certificate served, door {door}"), address)
        try:
            leaf = await selfprobe.served_leaf(_knock(address), kind, context, server_name=config.operator.operator.hostname)
        except OperatorFault as fault:
            yield told("SERVI-02", served.title, fault, say("démarrez le serveur", "start the server"))
            continue
        yield _compare("SERVI-02", served, leaf, disk)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
