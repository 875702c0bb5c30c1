"""`mssante hold list|add|release`: why mail waits, since when and until when, what releases it, who must act.

A change is obeyed by a running server within seconds. Releasing makes the mail of that hold due at once and gives it
`holds.tail_hours` more; an automatic hold whose cause lasts stays on the list, spent: it protects no more, and ends by itself.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, instant, moment, table
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import normalise_domain
from mssante.model.hold import Hold, HoldCause
from mssante.model.journal import JournalEvent, JournalKind
from mssante.routing.holding import RELEASE_MARK, words

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.interfaces import Tx

app = typer.Typer(no_args_is_help=True, help="Retenues : le courrier attend au lieu d'être renvoyé (holds of the queue)")

CauseName = Annotated[str, typer.Option("--cause", metavar="CAUSE", help=" · ".join(HoldCause))]
DomainName = Annotated[str, typer.Option("--domain", "-d", metavar="DOMAIN", help="Un domaine (one domain)")]
Everything = Annotated[bool, typer.Option("--all", help="Tous les domaines (all domains)")]


def read_holds(config: Config) -> tuple[list[Hold], dict[str, int]]:
    """Give the holds and the recipients waiting by domain."""
    async def read(admin: Admin) -> tuple[list[Hold], dict[str, int]]:
        def unit(tx: Tx) -> tuple[list[Hold], dict[str, int]]:
            return admin.stores.holds.all(tx), admin.stores.holds.waiting(tx)

        return await admin.stores.database.read(unit)

    return administer_config(config, read)


def affected(hold: Hold, waiting: dict[str, int]) -> int:
    """Give how many recipients wait for the domain of a hold, or for any."""
    return waiting.get(hold.domain, 0) if hold.domain else sum(waiting.values())


def _document(hold: Hold, waiting: dict[str, int]) -> dict[str, Any]:
    why, release, who = words(hold)
    return {"cause": hold.cause.value, "domain": hold.domain, "since": instant(hold.since), "until": instant(hold.until),
            "active": hold.protects(SystemClock().now()), "automatic": hold.automatic, "note": hold.note,
            "recipients": affected(hold, waiting), "why": why, "released_by": release, "who": who}


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les retenues (lists holds)."""
    holds, waiting = read_holds(load_config(config))
    now = SystemClock().now()
    headers = ("cause", say("domaine", "domain"), say("depuis", "since"), say("au plus tard", "until"),
               say("destinataires", "recipients"), "note")
    lines = table(headers, [(one.cause.value, one.domain or say("(tous)", "(all)"), moment(one.since), moment(one.until),
                             affected(one, waiting), one.note) for one in holds])
    for cause in dict.fromkeys(one.cause for one in holds):
        why, release, who = words(next(one for one in holds if one.cause is cause))
        lines += ["", f"{cause.value} : {why}", say(f"  finit quand : {release}", f"  ends when: {release}"),
                  say(f"  qui agit : {who}", f"  who acts: {who}")]
    spent = [one for one in holds if not one.protects(now)]
    if spent:
        lines += ["", say(f"{len(spent)} retenue(s) à leur limite : le courrier suit de nouveau les délais ordinaires",
                          f"{len(spent)} hold(s) at their limit: mail follows the ordinary delays again")]
    emit(as_json, {"ok": True, "holds": [_document(one, waiting) for one in holds]},
         *(lines if holds else [say("aucune retenue", "no hold")]))


def _target(domain: str, everything: bool) -> str:
    """Give the domain, or empty for all; exactly one must be asked."""
    if bool(domain) == everything:
        raise typer.BadParameter(say("donnez --domain ou --all, un seul", "give --domain or --all, one of them"))
    return normalise_domain(domain) if domain else ""


@app.command()
def add(
    domain: DomainName = "", everything: Everything = False,
    hours: Annotated[float | None, typer.Option("--hours", min=0.01, max=24 * 60,
                                                help="Âge limite ; holds.manual_hours (age limit)")] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Pourquoi (why)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Retient le courrier d'un domaine, ou tout (holds the mail of a domain, or all)."""
    target = _target(domain, everything)
    loaded = load_config(config)
    now = SystemClock().now()
    limit = timedelta(hours=hours or loaded.operator.holds.manual_hours)
    hold = Hold(HoldCause.MANUAL, target, now, now + limit, False, note[:200])

    async def write(admin: Admin) -> bool:
        def unit(tx: Tx) -> bool:
            begun = admin.stores.holds.put(tx, hold)
            if begun:
                admin.stores.journal.append(tx, [_event(JournalKind.HOLD_STARTED, hold, {})])
            return begun

        return await admin.stores.database.write(unit)

    if not administer_config(loaded, write):
        raise InputFault(say("cette retenue existe déjà", "this hold stands already"), rule="RETENUE-EXISTE",
                         remedy="mssante hold list ; mssante hold release")
    emit(as_json, {"ok": True, "hold": _document(hold, {})},
         say(f"retenu jusqu'au {moment(hold.until)} au plus : {target or 'tous les domaines'}",
             f"held until {moment(hold.until)} at most: {target or 'all domains'}"))


def _event(kind: JournalKind, hold: Hold, more: dict[str, str | int]) -> JournalEvent:
    return JournalEvent(kind, SystemClock().now(), "", hold.domain or "*", {
        "cause": hold.cause.value, "until": instant(hold.until) or "", "automatic": hold.automatic, "note": hold.note, **more})


@app.command()
def release(
    cause: CauseName = "", domain: DomainName = "", everything: Everything = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Met fin à des retenues : leur courrier part tout de suite (ends holds: their mail is tried at once)."""
    if not cause and not domain and not everything:
        raise typer.BadParameter(say("donnez --cause, --domain ou --all", "give --cause, --domain or --all"))
    if cause and cause not in set(HoldCause):
        raise typer.BadParameter(" · ".join(HoldCause), param_hint="--cause")
    loaded = load_config(config)
    wanted = normalise_domain(domain) if domain else None
    tail = timedelta(hours=loaded.operator.holds.tail_hours)

    async def write(admin: Admin) -> list[tuple[Hold, int]]:
        stores = admin.stores

        def unit(tx: Tx) -> list[tuple[Hold, int]]:
            now, done = SystemClock().now(), []
            for hold in stores.holds.all(tx):
                if (cause and hold.cause.value != cause) or (wanted is not None and hold.domain != wanted):
                    continue
                spent = replace(hold, until=min(hold.until, now), note=f"{hold.note} ; {RELEASE_MARK}".lstrip(" ;"))
                if hold.automatic:  # its cause may last: the row keeps the same trouble from beginning a new one
                    stores.holds.change(tx, spent)
                else:
                    stores.holds.remove(tx, hold)
                done.append((hold, stores.holds.let_go(tx, hold.domain, now, now + tail)))
            stores.journal.append(tx, [_event(JournalKind.HOLD_ENDED, hold, {"because": RELEASE_MARK, "recipients": count})
                                       for hold, count in done])
            return done

        return await stores.database.write(unit)

    done = administer_config(loaded, write)
    if not done and not everything:
        raise InputFault(say("aucune retenue de ce nom", "no such hold"), rule="RETENUE-INCONNUE", remedy="mssante hold list")
    emit(as_json, {"ok": True, "released": [{"cause": hold.cause.value, "domain": hold.domain, "recipients": count}
                                            for hold, count in done]},
         *[say(f"{hold.cause.value} {hold.domain or '(tous)'} : {count} destinataire(s) à essayer maintenant",
               f"{hold.cause.value} {hold.domain or '(all)'}: {count} recipient(s) due now") for hold, count in done]
         or [say("aucune retenue", "no hold")])
