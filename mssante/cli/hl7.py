"""`mssante hl7 queue` and `mssante hl7 repair list|show|retry|close`: what waits for the hospital's applications, and what they
could not file.

A change is obeyed by a running server within seconds (`hl7.poll_seconds`): `retry` gives the documents again under new
identifiers; `close --code 902` tells the sender of the mail that his documents were not taken, and why. No content is ever shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, instant, moment, table
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.protocol.hl7v2.values import APPLICATION_ERRORS
from mssante.storage.interfacing import CLOSED, OPEN, RETRIED, STATES, TOLD, OutboxItem, RepairItem

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.interfaces import Tx

app = typer.Typer(no_args_is_help=True, help="Passerelle HL7v2 : messages en attente, liste de reprise (HL7 gateway)")
repair_app = typer.Typer(no_args_is_help=True, help="Ce que le logiciel de l'hôpital n'a pas pu classer (repair list)")
app.add_typer(repair_app, name="repair")

Number = Annotated[int, typer.Argument(metavar="ID", help="Numéro de la reprise (its number)")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Qui agit (who acts)")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Ce qui a été fait (what was done)")]
MAX_SHOWN = 500


def _row(one: OutboxItem) -> dict[str, Any]:
    return {"application": one.interface, "kind": one.kind, "control_id": one.control_id, "state": one.state,
            "attempts": one.attempts, "detail": one.detail, "trace_id": one.trace_id, "created_at": instant(one.created_at),
            "next_attempt_at": instant(one.next_attempt_at)}


def _item(one: RepairItem) -> dict[str, Any]:
    return {"id": one.id, "application": one.interface, "code": one.code, "label": APPLICATION_ERRORS.get(one.code, ""),
            "detail": one.detail, "state": one.state, "trace_id": one.trace_id, "created_at": instant(one.created_at),
            "updated_at": instant(one.updated_at), "by": one.by, "note": one.note}


@app.command("queue")
def queue_(
    application: Annotated[str, typer.Option("--application", "-a", metavar="NAME")] = "",
    state: Annotated[str, typer.Option("--state", metavar="STATE", help="waiting · given · refused")] = "",
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Messages donnés ou à donner aux applications, les plus récents d'abord (messages for the applications)."""
    async def read(admin: Admin) -> list[OutboxItem]:
        stores = admin.stores
        return await stores.database.read(lambda tx: stores.interfacing.items(tx, application, state=state, limit=MAX_SHOWN))

    found = administer_config(load_config(config), read)
    lines = table((say("application", "application"), say("message", "message"), "MSH-10", say("état", "state"),
                   say("essais", "attempts"), say("détail", "detail"), "trace"),
                  [(one.interface, one.kind, one.control_id, one.state, one.attempts, one.detail, one.trace_id) for one in found])
    emit(as_json, {"ok": True, "messages": [_row(one) for one in found]},
         *(lines if found else [say("aucun message", "no message")]))


@repair_app.command("list")
def list_(
    state: Annotated[str, typer.Option("--state", metavar="STATE", help=" · ".join(STATES))] = OPEN,
    everything: Annotated[bool, typer.Option("--all", help="Tous les états (all states)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Liste les reprises ouvertes (lists open repairs)."""
    if state not in STATES:
        raise typer.BadParameter(" · ".join(STATES), param_hint="--state")

    async def read(admin: Admin) -> list[RepairItem]:
        stores = admin.stores
        return await stores.database.read(lambda tx: stores.interfacing.repairs(tx, "" if everything else state, MAX_SHOWN))

    found = administer_config(load_config(config), read)
    lines = table(("id", say("application", "application"), "code", say("détail", "detail"), say("état", "state"),
                   say("depuis", "since"), "trace"),
                  [(one.id, one.interface, one.code, one.detail, one.state, moment(one.created_at), one.trace_id)
                   for one in found])
    emit(as_json, {"ok": True, "repairs": [_item(one) for one in found]},
         *(lines if found else [say("aucune reprise", "nothing to repair")]))


@repair_app.command()
def show(number: Number, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre une reprise, et ce qui a été donné à l'application (shows a repair)."""
    async def read(admin: Admin) -> tuple[RepairItem | None, list[OutboxItem]]:
        def unit(tx: Tx) -> tuple[RepairItem | None, list[OutboxItem]]:
            port = admin.stores.interfacing
            one = port.repair(tx, number)
            return one, port.of_message(tx, one.interface, one.message_id) if one is not None else []

        return await admin.stores.database.read(unit)

    found, rows = administer_config(load_config(config), read)
    item = _known(found, number)
    lines = [f"{key} : {value}" for key, value in _item(item).items() if value != ""]
    lines += ["", *table(("MSH-10", say("état", "state"), say("essais", "attempts"), say("détail", "detail")),
                         [(one.control_id, one.state, one.attempts, one.detail) for one in rows])] if rows else []
    lines += ["", say(f"le message : mssante trace {item.trace_id}", f"the message: mssante trace {item.trace_id}")]
    emit(as_json, {"ok": True, "repair": _item(item), "messages": [_row(one) for one in rows]}, *lines)


def _known(found: RepairItem | None, number: int) -> RepairItem:
    if found is None:
        raise InputFault(say(f"la reprise {number} n'existe pas", f"repair {number} does not exist"), rule="REPRISE-INCONNUE",
                         remedy="mssante hl7 repair list --all")
    return found


@repair_app.command()
def retry(number: Number, by: By = "", note: Note = "", config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Donne de nouveau les documents à l'application, une fois la cause corrigée (gives the documents again)."""
    item = _change(config, number, RETRIED, replace_with=(by, note, ""))
    emit(as_json, {"ok": True, "repair": _item(item)},
         say(f"reprise {item.id} : les documents seront donnés de nouveau", f"repair {item.id}: documents will be given again"))


@repair_app.command()
def close(
    number: Number, by: By = "", note: Note = "",
    code: Annotated[str, typer.Option("--code", metavar="900-906", help="Le dire à l'expéditeur (tell the sender)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Ferme une reprise réglée à la main ; --code le dit à l'expéditeur (closes a repair)."""
    if code and code not in APPLICATION_ERRORS:
        raise typer.BadParameter(" · ".join(APPLICATION_ERRORS), param_hint="--code")
    item = _change(config, number, TOLD if code else CLOSED, replace_with=(by, note, code))
    emit(as_json, {"ok": True, "repair": _item(item)},
         say(f"reprise {item.id} fermée", f"repair {item.id} closed")
         + (say(f" ; l'expéditeur recevra le code {code}", f"; the sender will be told code {code}") if code else ""))


def _change(folder: Any, number: int, state: str, *, replace_with: tuple[str, str, str]) -> RepairItem:
    """Write a new state. Raises InputFault `REPRISE-INCONNUE`, `REPRISE-FERMEE`."""
    by, note, code = replace_with

    async def write(admin: Admin) -> RepairItem:
        stores, now = admin.stores, SystemClock().now()

        def unit(tx: Tx) -> RepairItem:
            item = _known(stores.interfacing.repair(tx, number), number)
            if item.state != OPEN:
                raise InputFault(say(f"cette reprise est déjà traitée ({item.state})", f"this repair is {item.state}"),
                                 rule="REPRISE-FERMEE", remedy="mssante hl7 repair show")
            changed = replace(item, state=state, by=by or item.by, note=note or item.note, code=code or item.code, updated_at=now)
            stores.interfacing.set_repair(tx, changed)
            stores.journal.append(tx, [JournalEvent(JournalKind.INTERFACE_REPAIR, now, item.trace_id, item.interface, {
                "state": state, "code": changed.code, "by": by[:100]})])
            return changed

        return await stores.database.write(unit)

    return administer_config(load_config(folder), write)
