"""`mssante discovery [DOMAIN]`: what mail clients are told, the DNS records to publish, and whether DNS has them.

Exit 3 when `--check` finds a record missing.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, emit, table
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.discovery import Discovery, SrvRecord, missing_records, srv_records

Zone = Annotated[bool, typer.Option("--zone", help="Enregistrements à publier, en fichier de zone (records, as a zone file)")]
Check = Annotated[bool, typer.Option("--check", help="Compare avec le DNS (compares with DNS)")]


async def _seen(config: Config, wanted: list[SrvRecord]) -> list[SrvRecord]:
    """Ask DNS for the owners of the wanted records. Raises OperatorFault."""
    from mssante.transport.srv import ask_srv

    return [record for owner in dict.fromkeys(one.owner for one in wanted)
            for record in await ask_srv(owner, config.operator.relay.dns_servers)]


def discovery(domain: Annotated[str, typer.Argument(help="Vide : tous (empty: all)")] = "", zone: Zone = False,
              check: Check = False, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Ce que les logiciels de courrier apprennent d'eux-mêmes (what mail clients find by themselves)."""
    from mssante.topics.discovery import discoveries

    loaded = load_config(config)
    known = discoveries(loaded)
    if domain and domain.lower() not in known:
        raise InputFault(say(f"domaine non hébergé ici : {domain}", f"domain not hosted here: {domain}"),
                         rule="DECOUVERTE-DOMAINE", remedy=", ".join(known))
    chosen = [known[domain.lower()]] if domain else list(known.values())
    records = [record for one in chosen for record in srv_records(one)]
    missing = missing_records(records, asyncio.run(_seen(loaded, records))) if check else []
    lines = [str(record) for record in records] if zone else _lines(chosen)
    if check:
        lines = [say(f"manque : {record}", f"missing: {record}") for record in missing] or [
            say(f"les {len(records)} enregistrements sont publiés", f"all {len(records)} records are published")]
    emit(as_json, {"ok": not missing, "records": [str(one) for one in records], "missing": [str(one) for one in missing],
                   "domains": {one.domain: [_document(one, rank) for rank in range(len(one.offers))] for one in chosen}}, *lines)
    if missing:
        raise typer.Exit(CHECK_FAILED)


def _document(found: Discovery, rank: int) -> dict[str, object]:
    offer = found.offers[rank]
    return {"service": offer.service.value, "host": offer.host, "port": offer.port,
            "tls": "implicit" if offer.implicit else "starttls", "logins": [one.value for one in offer.logins]}


def _lines(chosen: list[Discovery]) -> list[str]:
    rows = [(one.domain, offer.service.value, offer.host, offer.port, "TLS" if offer.implicit else "STARTTLS",
             " ".join(offer.logins)) for one in chosen for offer in one.offers]
    return table((say("domaine", "domain"), "service", say("hôte", "host"), "port", "TLS", say("connexion", "login")), rows)
