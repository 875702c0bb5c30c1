"""`mssante mailbox show|edit|state|suspend|resume|close|reopen|hold|object` and `mssante life run`: the life of mailboxes.

Every change goes through `services.life.LifeDesk`; a running operator obeys within 30 s (its address book).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mssante.cli.common import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    administer_config,
    emit,
    instant,
    moment,
    progress,
    table,
)
from mssante.cli.team import operator_name
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.mailbox import MailboxState

if TYPE_CHECKING:
    from mssante.services.life import Dossier, LifeDesk
    from mssante.services.life_keeper import LifeReport

T = TypeVar("T")
SHOWN = 200
life_app = typer.Typer(no_args_is_help=True, help="Délais des boîtes (delays of mailboxes)")
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="nom@domaine (name@domain)")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Pourquoi, au journal (why, for the journal)")]
Successor = Annotated[str, typer.Option("--successor", metavar="ADDRESS",
                                        help="À qui écrire désormais (whom to write to instead)")]


def at_desk(folder: Path, action: Callable[[LifeDesk], Awaitable[T]]) -> T:
    """Run `action` on the desk of a configuration folder. Raises MssFault, OSError."""
    from mssante.clock import SystemClock
    from mssante.topics.life import life_desk

    config = load_config(folder)
    return administer_config(config, lambda admin: action(life_desk(config, admin.stores, SystemClock())))


_LABELS = {
    "address": "adresse", "type": "type", "state": "état", "holder_id": "titulaire", "display_name": "nom affiché",
    "quota_bytes": "quota, octets", "quota_messages": "quota, messages", "service": "service", "description": "description",
    "responsible": "responsable", "structure": "structure", "contact": "contact", "red_list": "liste rouge", "rank": "rang",
    "state_since": "dans cet état depuis", "last_used_at": "dernière connexion", "reason": "raison", "successor": "remplacée par",
    "warned_step": "avis d'inactivité envoyés", "warned_at": "dernier avis",
    "hold_until": "conservée jusqu'au", "objected_until": "opposition jusqu'au"}


def _document(found: Dossier) -> dict[str, Any]:
    box, profile, life = found.mailbox, found.profile, found.life
    return {
        "address": box.address, "type": box.type.value, "state": box.state.value, "holder_id": box.holder_id,
        "display_name": box.display_name, "quota_bytes": box.quota_bytes, "quota_messages": box.quota_messages,
        "service": profile.service, "description": profile.description, "responsible": profile.responsible,
        "structure": profile.structure_id, "contact": profile.contact, "red_list": profile.red_list, "rank": profile.rank,
        "state_since": instant(life.state_since), "last_used_at": instant(life.last_used_at), "reason": life.reason,
        "warned_step": life.warned_step, "warned_at": instant(life.warned_at), "objected_until": instant(life.objected_until),
        "hold_until": instant(life.hold_until), "successor": life.successor}


def _tell(found: Dossier, as_json: bool) -> None:
    document = _document(found)
    words = {True: say("oui", "yes"), False: say("non", "no")}
    rows = [(say(_LABELS.get(name, name), name), words[value] if isinstance(value, bool) else value)
            for name, value in document.items() if value not in ("", None)]
    emit(as_json, {"ok": True, "mailbox": document}, *table((say("donnée", "datum"), say("valeur", "value")), rows))


def show(address: Address, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre une boîte : annuaire, vie, délais (shows a mailbox: directory, life, delays)."""
    _tell(at_desk(config, lambda desk: desk.show(address)), as_json)


def edit(
    address: Address,
    holder: Annotated[str | None, typer.Option("--holder", metavar="ID", help="RPPS, FINESS, SIRET")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Nom affiché (shown name)")] = None,
    service: Annotated[str | None, typer.Option("--service", metavar="TEXT", help="ORG, APP")] = None,
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT", help="ORG, APP, CAB")] = None,
    responsible: Annotated[str | None, typer.Option("--responsible", metavar="TEXT", help="ORG, APP")] = None,
    structure: Annotated[str | None, typer.Option("--structure", metavar="ID", help="FINESS, SIRET")] = None,
    contact: Annotated[str | None, typer.Option("--contact", metavar="ADDRESS", help="Adresse d'avis (warnings)")] = None,
    red_list: Annotated[bool | None, typer.Option("--red-list/--no-red-list", help="Liste rouge (not shown)")] = None,
    rank: Annotated[int | None, typer.Option("--rank", metavar="N", help="1 : préférée (preferred) ; 0 : sans")] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Change ce que l'annuaire dit d'une boîte (changes what the directory says of a mailbox)."""
    from mssante.services.life import Edit

    wanted = Edit(holder, name, service, description, responsible, structure, contact, red_list, rank)
    if wanted == Edit():
        raise InputFault(say("rien à changer", "nothing to change"), rule="BAL-CHAMP", remedy="mssante mailbox edit --help")
    _tell(at_desk(config, lambda desk: desk.edit(address, wanted, actor=operator_name())), as_json)


def _move(address: str, to: MailboxState, said: tuple[str, str], config: Path, as_json: bool) -> None:
    reason, successor = said
    before = at_desk(config, lambda desk: desk.move(address, to, reason=reason or "admin", actor=operator_name(),
                                                    successor=successor))
    emit(as_json, {"ok": True, "address": before.address, "before": before.state.value, "state": to.value},
         f"{before.address} : {before.state.value} -> {to.value}")


def state(address: Address,
          wanted: Annotated[MailboxState, typer.Argument(metavar="STATE", case_sensitive=False,
                                                         help=" | ".join(MailboxState))],
          reason: Reason = "", config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Change l'état d'une boîte, si sa vie le permet (changes the state of a mailbox, where its life allows it)."""
    _move(address, wanted, (reason, ""), config, as_json)


def suspend(address: Address, reason: Reason = "", config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Suspend une boîte (suspends a mailbox)."""
    _move(address, MailboxState.SUSPENDED, (reason, ""), config, as_json)


def resume(address: Address, reason: Reason = "", config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Rouvre une boîte suspendue (opens a suspended mailbox again)."""
    _from(address, MailboxState.SUSPENDED, config)
    _move(address, MailboxState.ACTIVE, (reason, ""), config, as_json)


def close(address: Address, reason: Reason = "", successor: Successor = "", config: ConfigFolder = DEFAULT_CONFIG,
          as_json: AsJson = False) -> None:
    """Ferme une boîte ; son contenu part après le délai (closes a mailbox; its content goes after the delay)."""
    _move(address, MailboxState.CLOSED, (reason, successor), config, as_json)


def reopen(address: Address, reason: Reason = "", config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Rouvre une boîte fermée, tant que son contenu est là (opens a closed mailbox while its content stands)."""
    _from(address, MailboxState.CLOSED, config)
    _move(address, MailboxState.ACTIVE, (reason, ""), config, as_json)


def _from(address: str, wanted: MailboxState, config: Path) -> None:
    """Refuse when the mailbox is not where the command starts from. Raises InputFault `BAL-TRANSITION`."""
    found = at_desk(config, lambda desk: desk.show(address)).mailbox
    if found.state is not wanted:
        raise InputFault(say(f"{found.address} est {found.state.value}, pas {wanted.value}",
                             f"{found.address} is {found.state.value}, not {wanted.value}"), rule="BAL-TRANSITION",
                         remedy=f"mssante mailbox show {found.address}")


def hold(address: Address,
         until: Annotated[str, typer.Option("--until", metavar="DATE", help="AAAA-MM-JJ, jour compris (last day)")] = "",
         release: Annotated[bool, typer.Option("--release", help="Lève la conservation (ends it)")] = False,
         config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Empêche l'effacement d'une boîte (keeps a mailbox from being erased); sans date, sans fin (no date: no end)."""
    from mssante.services.delegations import bound

    end = None if release else bound(until, end=True) if until else datetime(9000, 1, 1, tzinfo=UTC)
    if end is not None and end <= datetime.now(UTC):
        raise InputFault(say(f"date passée : {until}", f"date is over: {until}"), rule="BAL-DATE", remedy="--until")
    at_desk(config, lambda desk: desk.hold(address, end, actor=operator_name()))
    emit(as_json, {"ok": True, "address": address.lower(), "hold_until": instant(end)},
         f"{address.lower()} : " + (say("conservation levée", "no longer held") if end is None else
                                    say(f"conservée jusqu'au {moment(end)}", f"held until {moment(end)}")))


def object_(address: Address, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Note l'opposition du titulaire à la suspension (notes that its holder objects to the suspension)."""
    life = at_desk(config, lambda desk: desk.object(address, actor=operator_name()))
    until = life.objected_until or life.state_since
    emit(as_json, {"ok": True, "address": address.lower(), "objected_until": instant(until)},
         say(f"{address.lower()} : ni avis ni suspension avant le {moment(until)}",
             f"{address.lower()}: neither warning nor suspension before {moment(until)}"))


@life_app.command("run")
def run_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Montre, ne change rien (shows, changes nothing)")] = False,
    at: Annotated[str, typer.Option("--at", metavar="DATE", help="Avec --dry-run : ce jour-là (on that day)")] = "",
    accept: Annotated[bool, typer.Option(
        "--accept", help="Confirme ce qui est retenu : saut d'horloge, nombre (confirms what is withheld)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Applique les délais maintenant, ou dit ce qui arriverait (applies the delays now, or tells what would happen)."""
    from mssante.clock import SystemClock
    from mssante.services.delegations import bound
    from mssante.topics.life import life_keeper

    if at and not dry_run:
        raise InputFault(say("--at ne va qu'avec --dry-run", "--at goes with --dry-run only"), rule="BAL-DATE",
                         remedy="--dry-run")
    loaded, when = load_config(config), bound(at, end=False) if at else None

    async def work(keeper: Any) -> LifeReport:
        report: LifeReport = await (keeper.plan(when) if dry_run else keeper.run(accept=accept, actor=operator_name()))
        return report

    with progress(say("examen des boîtes", "looking at mailboxes"), as_json):
        report = administer_config(loaded, lambda admin: work(life_keeper(loaded, admin.stores, SystemClock())))
    _tell_report(report, dry_run, as_json)


def _tell_report(report: LifeReport, dry_run: bool, as_json: bool) -> None:
    document = {"ok": True, "dry_run": dry_run, "at": instant(report.at), "seen": report.seen, "due": report.counts(),
                "done": dict(sorted(report.done.items())), "erased_messages": report.erased, "withheld": report.withheld,
                "steps": [{"address": one.address, "step": one.step.value} for one in report.due]}
    rows = [(one.address, one.step.value) for one in report.due[:SHOWN]]
    lines = [*table((say("adresse", "address"), say("à faire", "due")), rows)] if rows else []
    if len(report.due) > SHOWN:
        lines.append(say(f"… et {len(report.due) - SHOWN} autres (--json)", f"… and {len(report.due) - SHOWN} more (--json)"))
    lines.append(say(f"{report.seen} boîtes vues ; dû : {report.counts()} ; fait : {dict(report.done)}",
                     f"{report.seen} mailboxes seen; due: {report.counts()}; done: {dict(report.done)}"))
    if report.withheld:
        lines.append(say(f"retenu ({report.withheld}) : vérifiez l'horloge et la liste, puis mssante life run --accept",
                         f"withheld ({report.withheld}): check clock and list, then mssante life run --accept"))
    emit(as_json, document, *lines)
