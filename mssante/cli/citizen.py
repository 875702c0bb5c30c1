"""`mssante citizen …`: the address of a patient, codes for the citizens' page, the exchanges of a mailbox.

- `address` computes from what is typed or from a CDA; it opens no store, writes no log, and is the only place that shows a
  matricule, to whom typed it. Exit code 3 when there is no address.
- `code` makes a one-time code for the page, shown once; `exchanges` lists by pseudonym.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mssante.cli.common import (
    CHECK_FAILED,
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    administer_config,
    emit,
    instant,
    moment,
    read_limited,
    table,
)
from mssante.config.load import load_config
from mssante.documents.cda import CITIZEN_DOMAIN, MAX_CDA_BYTES, read_header
from mssante.documents.ins import OID_NIR, AddressPolicy, InsIdentity, address_of, typed_matricule
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.citizen import CitizenExchange
    from mssante.storage.interfaces import Tx

app = typer.Typer(no_args_is_help=True,
                  help="Usagers : adresse, codes de la page, échanges (citizens: address, codes, exchanges)")
Traits = Annotated[str, typer.Option(help="Trait de l'identité (trait of the identity)")]


@app.command("address")
def address(
    matricule: Annotated[str, typer.Option(help="Matricule INS, 15 caractères (INS matricule)")] = "",
    oid: Annotated[str, typer.Option(help="OID de l'INS (OID of the INS)")] = OID_NIR,
    birth_name: Traits = "",
    given: Traits = "",
    birth_date: Annotated[str, typer.Option(help="Date de naissance AAAAMMJJ (birth date)")] = "",
    sex: Annotated[str, typer.Option(help="M, F ou U")] = "",
    cda: Annotated[Path | None, typer.Option(help="Prendre l'identité d'un CDA (take the identity of a CDA)")] = None,
    domain: Annotated[str, typer.Option(help="Domaine des usagers (citizens' domain)")] = CITIZEN_DOMAIN,
    production: Annotated[bool,
                          typer.Option("--production", help="Refuser les identités de test (refuse test identities)")] = False,
    as_json: AsJson = False,
) -> None:
    """Adresse d'un usager depuis son INS qualifiée, ou ce qui manque (address of a citizen, or what is missing)."""
    identity = InsIdentity(typed_matricule(matricule), oid, birth_name, given, birth_date, sex)
    if cda is not None:
        found = read_header(read_limited(cda, MAX_CDA_BYTES, "CDA-SIZE")).patient.ins
        if found is None:
            raise InputFault(say("ce document ne porte pas d'INS", "this document holds no INS"), rule="CDA-INS",
                             remedy=say("qualifiez l'identité par l'INSi", "qualify the identity by INSi"))
        identity = found
    elif not matricule:
        raise typer.BadParameter("--matricule | --cda")
    typed_only = cda is None and not (birth_name or given or birth_date or sex)
    result = address_of(identity, domain, today=datetime.now(UTC).date(),
                        policy=AddressPolicy(tests_allowed=not production, traits_needed=not typed_only))
    lines = [f"{one.rule}: {one.text}" for one in result.findings]
    head = result.address or say("pas d'adresse", "no address")
    minor = [say("mineur : cette adresse est la sienne",
                 "minor: this address is his own")] if result.minor and result.usable else []
    also = [say(f"aussi : {one}", f"also: {one}") for one in result.also]
    emit(as_json, {"address": result.address, "also": list(result.also), "minor": result.minor, "usable": result.usable,
                   "findings": [{"rule": one.rule, "severity": one.severity.value, "text": one.text} for one in result.findings]},
         head, *also, *minor, *lines)
    if not result.usable:
        raise typer.Exit(CHECK_FAILED)


@app.command("code")
def code(
    mailbox: Annotated[str, typer.Argument(metavar="ADRESSE", help="Boîte de l'usager (citizen's mailbox)")],
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Donne un code de connexion à la page /usager, montré une fois (gives a sign-in code, shown once)."""
    from mssante.services.citizen_signin import code_login, new_code
    from mssante.services.citizen_words import not_a_citizen

    loaded = load_config(config)
    domain, made = loaded.domains.citizen.domain, new_code()
    from datetime import timedelta

    life = timedelta(minutes=loaded.operator.citizen.code_minutes)

    async def work(admin: Admin) -> datetime:
        def unit(tx: Tx) -> datetime:
            boxes = admin.stores.accounts.mailboxes_by_address(tx, [mailbox.lower()])
            if not boxes or not mailbox.lower().endswith(f"@{domain}"):
                raise not_a_citizen()
            login = code_login(made, boxes[0].id, datetime.now(UTC), life)
            admin.stores.citizens.put_login(tx, login)
            return login.until

        return await admin.stores.database.write(unit)

    until = administer_config(loaded, work)
    shown = f"{made[:5]}-{made[5:]}"
    emit(as_json, {"code": shown, "until": instant(until)}, shown, say(f"valable une fois, jusqu'à {moment(until)}",
                                                                       f"good once, until {moment(until)}"))


@app.command("exchanges")
def exchanges(
    mailbox: Annotated[str, typer.Argument(metavar="ADRESSE", help="Boîte (mailbox)")],
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Liste les échanges d'une boîte avec des usagers, par pseudonyme (exchanges of a mailbox, by pseudonym)."""
    from mssante.services.citizen_words import not_a_citizen

    async def work(admin: Admin) -> list[CitizenExchange]:
        def unit(tx: Tx) -> list[CitizenExchange]:
            boxes = admin.stores.accounts.mailboxes_by_address(tx, [mailbox.lower()])
            if not boxes:
                raise not_a_citizen()
            return admin.stores.citizens.exchanges(tx, boxes[0].id)

        return await admin.stores.database.read(unit)

    found = administer_config(load_config(config), work)
    rows = [[one.citizen.partition("@")[0], one.contact, moment(one.opened_at), moment(one.last_at), one.sent, one.received,
             moment(one.closed_at) if one.closed_at else say("ouvert", "open")] for one in found]
    emit(as_json, {"exchanges": [{"citizen": one.citizen, "contact": one.contact, "opened_at": instant(one.opened_at),
                                  "last_at": instant(one.last_at), "closed_at": instant(one.closed_at),
                                  "closed_by": one.closed_by,
                                  "sent": one.sent, "received": one.received} for one in found]},
         *table([say("usager", "citizen"), "contact", say("ouvert", "opened"), say("dernier", "last"), say("envoyés", "sent"),
                 say("reçus", "received"), say("clos", "closed")], rows))
