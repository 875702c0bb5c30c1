"""`mssante publication list|show|retry|sweep|reconcile`: our mailboxes in the national directory.

Changes are obeyed by a running server within seconds. Exit 3 when `reconcile` finds a difference.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import (
    CHECK_FAILED,
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer_config,
    emit,
    instant,
    moment,
    table,
)
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.directory.publication import read_box
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.publication_view import Compared, PublicationDesk, delay
from mssante.storage.publication import PublicationRow, PublicationState

if TYPE_CHECKING:
    from mssante.services.admin import Admin

app = typer.Typer(no_args_is_help=True, help="Nos boîtes dans l'annuaire national (our mailboxes in the national directory)")

StateName = Annotated[str, typer.Option("--state", "-s", metavar="STATE", help=" · ".join(PublicationState))]
_WORDS = {PublicationState.DUE: ("à envoyer", "due"), PublicationState.SENT: ("remis, sans retour", "sent, no answer"),
          PublicationState.ACCEPTED: ("accepté", "accepted"), PublicationState.HELD: ("attend quelqu'un", "held"),
          PublicationState.WITHDRAWN: ("retiré", "withdrawn")}


def _when(value: datetime | None) -> str:
    return moment(value) if value is not None else ""


def _document(row: PublicationRow) -> dict[str, Any]:
    wanted, sent = read_box(row.wanted), read_box(row.sent)
    late = delay(row)
    return {"address": row.address, "state": row.state.value, "wanted": asdict(wanted) if wanted else None,
            "sent": asdict(sent) if sent else None, "wanted_at": instant(row.wanted_at),
            "sent_at": instant(row.sent_at) if row.sent_at else None,
            "accepted_at": instant(row.accepted_at) if row.accepted_at else None,
            "visible_at": instant(row.visible_at) if row.visible_at else None,
            "delay_seconds": late.total_seconds() if late is not None else None, "attempts": row.attempts,
            "next_attempt_at": instant(row.next_attempt_at), "version": row.version, "error": row.last_error}


def _line(row: PublicationRow) -> tuple[object, ...]:
    box, late = read_box(row.wanted), delay(row)
    local = say("retirée", "withdrawn") if box is None else say("liste rouge", "red list") if box.red_listed else say(
        "publiée", "published")
    return (row.address, local, say(*_WORDS[row.state]), _when(row.sent_at), _when(row.accepted_at), _when(row.visible_at),
            f"{late.total_seconds():.0f} s" if late is not None else "", row.last_error)


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, state: StateName = "", limit: Limit = 200, as_json: AsJson = False) -> None:
    """Liste nos adresses : voulu, envoyé, accepté, visible (lists our addresses)."""
    if state and state not in list(PublicationState):
        raise InputFault(say(f"état inconnu : {state}", f"unknown state: {state}"), rule="PUB-ETAT",
                         remedy=", ".join(PublicationState))

    async def read(admin: Admin) -> tuple[list[PublicationRow], dict[PublicationState, int]]:
        desk = PublicationDesk(admin.stores, SystemClock())
        return await desk.rows(state=PublicationState(state) if state else None, limit=limit), await desk.counts()

    rows, counts = administer_config(load_config(config), read)
    headers = (say("adresse", "address"), say("voulu", "wanted"), say("état", "state"), say("envoyé", "sent"),
               say("accepté", "accepted"), say("visible", "visible"), say("délai", "delay"), say("motif", "reason"))
    total = "  ".join(f"{say(*_WORDS[one])} : {count}" for one, count in sorted(counts.items()))
    lines = [*table(headers, [_line(row) for row in rows]), "", total]
    emit(as_json, {"ok": True, "counts": {one.value: count for one, count in counts.items()},
                   "entries": [_document(row) for row in rows]},
         *(lines if rows else [say("aucune adresse : `mssante publication sweep`", "no address: `mssante publication sweep`")]))


@app.command()
def show(address: str, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre une adresse (shows one address)."""
    key = address.lower()

    async def read(admin: Admin) -> list[PublicationRow]:
        return await PublicationDesk(admin.stores, SystemClock()).rows(after=key[:-1], limit=1000)

    found = [row for row in administer_config(load_config(config), read) if row.address == key]
    if not found:
        raise InputFault(say(f"adresse sans publication : {address}", f"no publication of {address}"), rule="PUB-INCONNUE",
                         remedy="mssante publication sweep")
    document = _document(found[0])
    emit(as_json, {"ok": True, **document},
         *[f"{name:16} {value if value is not None else '-'}" for name, value in document.items()])


@app.command()
def retry(address: Annotated[str, typer.Argument(help="Vide : toutes (empty: all)")] = "",
          config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Renvoie ce qui attend quelqu'un ou une réponse (sends again what waits)."""
    async def act(admin: Admin) -> int:
        return await PublicationDesk(admin.stores, SystemClock()).retry(address)

    count = administer_config(load_config(config), act)
    emit(as_json, {"ok": True, "due": count}, say(f"{count} à envoyer", f"{count} due"))


@app.command()
def sweep(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Compare toutes nos boîtes avec ce qui est publié (compares every mailbox with what is published)."""
    loaded = load_config(config)

    async def act(admin: Admin) -> int:
        from mssante.topics.publication import publisher_for

        return await publisher_for(loaded, admin.stores, SystemClock()).sweep()

    count = administer_config(loaded, act)
    emit(as_json, {"ok": True, "changed": count}, say(f"{count} ligne(s) changée(s)", f"{count} row(s) changed"))


@app.command()
def reconcile(config: ConfigFolder = DEFAULT_CONFIG, fix: Annotated[bool, typer.Option(
        "--fix", help="Republie ce qui diffère (publishes again what differs)")] = False, as_json: AsJson = False) -> None:
    """Demande à l'annuaire ce qu'il montre de nos boîtes (asks the directory what it shows of our mailboxes)."""
    loaded = load_config(config)

    async def act(admin: Admin) -> list[Compared]:
        from mssante.topics.directory import open_desk

        desk = PublicationDesk(admin.stores, SystemClock())
        async with open_desk(loaded, admin.stores, SystemClock()) as directory:
            found = [one async for one in desk.compare(directory)]
        for one in found if fix else ():
            if one.differences and "unknown" not in one.differences:
                await desk.again(one)
        return found

    found = administer_config(loaded, act)
    differing = [one for one in found if one.differences]
    lines = table((say("adresse", "address"), say("écarts", "differences")),
                  [(one.row.address, ", ".join(one.differences)) for one in differing])
    emit(as_json, {"ok": not differing, "compared": len(found), "fixed": fix, "differences": [
        {"address": one.row.address, "differences": list(one.differences)} for one in differing]},
        *(lines if differing else []), say(f"{len(found)} comparée(s), {len(differing)} écart(s)",
                                           f"{len(found)} compared, {len(differing)} differing"))
    if differing:
        raise typer.Exit(CHECK_FAILED)
