"""`mssante check peer DOMAIN`: runs another operator's door rule by rule, with our own certificate. Sends no message.

Numbers are stable (`P-01`…); each finding has its evidence, its source, who must fix it. Text, `--json`, `--html FILE`. Exit code
0 when nothing fails, 3 when something does. `--host` and `--port` knock elsewhere than the DNS and the routes say.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mssante.cli import peerreport
from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, emit, progress, read_limited
from mssante.config.load import load_config
from mssante.config.model import Config, split_hostport
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import normalise_domain
from mssante.services.peervalues import Door, Observed

if TYPE_CHECKING:
    from mssante.transport.mx import DnsResolver


@dataclass(frozen=True, slots=True)
class Target:
    """What to check. host empty: as a delivery finds it."""

    domain: str
    host: str = ""
    port: int = 0


def peer(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Domaine de l'autre opérateur (the other operator's domain)")],
    host: Annotated[str, typer.Option("--host", metavar="H", help="Ce serveur, sans DNS ni route (this host)")] = "",
    port: Annotated[int, typer.Option("--port", metavar="P", min=0, max=65535, help="Ce port (this port)")] = 0,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Écrit aussi une page (writes a page too)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Contrôle la porte d'un autre opérateur, règle par règle ; code 3 si une échoue (checks another operator's door)."""
    loaded = load_config(config)
    target = Target(normalise_domain(domain), host, port)
    with progress(say("contrôle de la porte", "checking the door"), as_json):
        report = check_peer(loaded, target)
    if html is not None:
        html.write_text(peerreport.html(report), encoding="utf-8")
    emit(as_json, peerreport.document(report), *peerreport.lines(report))
    if report.failed:
        raise typer.Exit(CHECK_FAILED)


def check_peer(config: Config, target: Target) -> peerreport.Report:
    """Probe and judge. Raises InputFault, OSError, ssl.SSLError when our own files cannot serve."""
    from mssante.cli.trustdesk import kept_crls, read_current
    from mssante.clock import SystemClock
    from mssante.services.explainhistory import CrlShelf
    from mssante.services.peercheck import Judges, judge
    from mssante.trust_setup import trust_snapshot

    now, trust = SystemClock().now(), config.operator.trust
    snapshot = trust_snapshot(config)
    snapshot = replace(snapshot, crls=kept_crls(config, snapshot.anchors, now))
    with suppress(InputFault, OSError):  # without list the report says so (P-01)
        snapshot = replace(snapshot, whitelist=read_current(config).whitelist)
    files = []
    for rank in range(len(trust.crl_urls)):
        with suppress(InputFault):
            files.append(read_limited(config.path(trust.crl_folder) / f"{rank}.crl", trust.crl_max_bytes, "CRL-LECTURE"))
    seen = asyncio.run(probe(config, target))
    findings = judge(seen, Judges(snapshot, CrlShelf(files, snapshot.anchors, now), now))
    return peerreport.Report(seen, findings, config.operator.operator.hostname, now)


async def probe(config: Config, target: Target) -> Observed:
    """Find the doors of a domain, and knock at the first that opens. Raises OSError, ssl.SSLError for our own files."""
    from mssante.transport.peerprobe import PeerProbe, ProbeSettings, client_context, find_open

    tls, operator = config.operator.tls, config.operator.operator
    settings = ProbeSettings(operator.hostname, config.path(tls.operator_certificate), config.path(tls.operator_key),
                             f"postmaster@{config.domains.domain[0].name}")
    client_context((settings.certificate, settings.key))
    seen = await _doors(config, target)
    if not seen.doors:
        return seen
    doors = await find_open(list(seen.doors), settings.connect)
    seen = replace(seen, doors=tuple(doors))
    door = next((one for one in doors if not one.fault), None)
    if door is None:
        return seen
    held = await PeerProbe(settings, door).run()
    return replace(seen, door=door, talks=held.talks, seconds=held.seconds, ended=held.ended)


async def _doors(config: Config, target: Target) -> Observed:
    """Give the addresses to try, as a delivery finds them: the fixed route, else the DNS (F2.10)."""
    from mssante.transport.mx import DnsResolver, DnsSettings
    from mssante.transport.operators import MAX_ENDPOINTS, is_public

    relay = config.operator.relay
    resolver = DnsResolver(DnsSettings(tuple(split_hostport(server) for server in relay.dns_servers), port=relay.smtp_port,
                                       srv=relay.smtp_srv))
    given, route = (target.host, target.port or relay.smtp_port) if target.host else None, relay.routes.get(target.domain)
    place = given or (split_hostport(route) if route else None)
    if place is not None:
        return await _place(resolver, target.domain, place, "given" if given else "route", target.port)
    found = await resolver.mail_targets(target.domain)
    if not isinstance(found, tuple):
        return Observed(target.domain, "mx", dns_fault=found.rule, dns_text=found.reply)
    doors = [Door(one.host, address, target.port or one.port) for one in found for address in one.addresses
             if relay.allow_private or is_public(address)]
    if not doors:
        return Observed(target.domain, "mx", dns_fault="DNS-PRIVATE", dns_text=say("adresses privées seulement",
                                                                                  "private addresses only"))
    return Observed(target.domain, "mx", tuple(doors[:MAX_ENDPOINTS]))


async def _place(resolver: DnsResolver, domain: str, place: tuple[str, int], route: str, port: int) -> Observed:
    """Give the doors of one named place."""
    host, named = place
    try:
        ip_address(host)
        return Observed(domain, route, (Door(host, host, port or named),))
    except ValueError:
        found = await resolver.addresses(host)
    if not isinstance(found, tuple):
        return Observed(domain, "mx", dns_fault=found.rule, dns_text=f"{host} : {found.reply}")
    return Observed(domain, route, tuple(Door(host, address, port or named) for address in found))
