"""`mssante mailbox team | delegate | alias | readers | senders`: boxes that several people open, each with their own login.

Beside a running server: rights act within seconds, aliases within 30; dates to the second.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer,
    emit,
    instant,
    last_moment,
    moment,
    progress,
    table,
)
from mssante.lang import say
from mssante.model.delegation import Delegation, rights_text

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.services.delegations import MemberPlan

team = typer.Typer(no_args_is_help=True, help="Équipe d'une boîte partagée (team of a shared mailbox)")
alias = typer.Typer(no_args_is_help=True, help="Autres adresses d'une boîte (other addresses of a mailbox)")

Box = Annotated[str, typer.Argument(metavar="BOX", help="nom@domaine (name@domain)")]
Since = Annotated[str, typer.Option("--since", metavar="DATE", help="Depuis ce jour ou cet instant ISO 8601 (since)")]
_STATES = {"running": ("en cours", "running"), "future": ("à venir", "future"), "over": ("terminée", "over")}


def operator_name() -> str:
    """Give who runs the command, for the journal."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"


def _member(one: Delegation, state: str) -> dict[str, Any]:
    return {"login": one.login, "own": one.own, "rights": rights_text(one.rights), "since": instant(one.since),
            "until": instant(one.until), "granted_by": one.granted_by, "state": state}


def plan_lines(plan: MemberPlan) -> list[str]:
    """Give the table of what a plan changes."""
    words = {"add": ("ajouté", "added"), "change": ("changé", "changed"), "keep": ("inchangé", "unchanged"),
             "remove": ("retiré", "removed")}
    rows = [(one.login, say(*words[one.action]), rights_text(one.rights), last_moment(one.until))
            for one in plan.changes]
    return table((say("compte", "login"), "action", say("droits", "rights"), say("jusqu'au", "until")), rows)


def plan_document(plan: MemberPlan) -> dict[str, Any]:
    """Give a plan as JSON holds it."""
    return {"mailbox": plan.mailbox.address, "members": [
        {"login": one.login, "action": one.action, "rights": rights_text(one.rights), "since": instant(one.since),
         "until": instant(one.until)} for one in plan.changes],
        "problems": [{"login": one.login, "rule": one.rule, "error": one.text, "remedy": one.remedy} for one in plan.problems]}


@team.command("add")
def add(
    box: Box,
    member: Annotated[list[str], typer.Option(
        "--member", "-m", metavar="LOGIN[:RIGHTS][@UNTIL]",
        help="Répétable ; droits open, read, send (défaut open,send) ; plusieurs séparés par « ; » (repeatable)")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Montre le plan, ne change rien (shows the plan only)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Ouvre une boîte à plusieurs comptes, tous ou aucun (opens a box to several logins, all or none)."""
    from mssante.services.delegations import parse_members

    members = parse_members(";".join(member))
    if dry_run:
        plan = administer(config, lambda admin: admin.shared.plan(box, members))
    else:
        plan = administer(config, lambda admin: admin.shared.add(box, members, by=operator_name()))
    emit(as_json, {"ok": not plan.problems, "dry_run": dry_run, **plan_document(plan)}, *plan_lines(plan),
         *[f"{one.text} [{one.rule}]" for one in plan.problems])
    if plan.problems:
        raise typer.Exit(1)


@team.command("list")
def list_(box: Box, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste qui ouvre une boîte (lists who opens a box)."""
    from mssante.clock import SystemClock

    now = SystemClock().now()
    found = administer(config, lambda admin: admin.shared.team(box))
    rows = [(one.login, say("titulaire", "owner") if one.own else rights_text(one.rights),
             moment(one.since) if one.since else "", last_moment(one.until),
             say(*_STATES[one.state(now)]), one.granted_by) for one in found]
    emit(as_json, {"ok": True, "mailbox": box.lower(), "members": [_member(one, one.state(now)) for one in found]},
         *table((say("compte", "login"), say("droits", "rights"), say("du", "from"), say("au", "until"), say("état", "state"),
                 say("donné par", "granted by")), rows))


@team.command("remove")
def remove(box: Box, login: Annotated[list[str], typer.Argument(metavar="LOGIN…", help="Comptes (logins)")],
           config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Ferme une boîte à des comptes (closes a box to logins)."""
    gone = administer(config, lambda admin: admin.shared.remove(box, login, by=operator_name()))
    emit(as_json, {"ok": True, "mailbox": box.lower(), "removed": [one.login for one in gone]},
         say(f"{', '.join(one.login for one in gone)} : plus d'accès à {box.lower()}, en 5 secondes au plus",
             f"{', '.join(one.login for one in gone)}: no access to {box.lower()} any more, within 5 seconds"))


def delegate(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Boîte déléguée (box to delegate)")],
    login: Annotated[str, typer.Argument(metavar="DELEGATE", help="Compte du remplaçant (login of the replacement)")],
    since: Annotated[str, typer.Option("--from", metavar="DATE", help="Premier jour ou instant (first day or instant)")] = "",
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="Dernier jour inclus, ou instant (last day)")] = "",
    rights: Annotated[str, typer.Option("--rights", metavar="R,R", help="open, read, send")] = "read,send",
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Délègue une boîte pour une absence, et le dit aux deux (delegates a box for an absence, and tells both)."""
    from mssante.services.delegations import MemberSpec, bound, read_rights

    spec = MemberSpec(login.lower(), read_rights(rights), bound(until, end=True) if until else None,
                      bound(since, end=False) if since else None)
    plan = administer(config, lambda admin: admin.shared.delegate(owner, spec, by=operator_name()))
    emit(as_json, {"ok": True, **plan_document(plan)}, *plan_lines(plan))


@alias.command("add")
def alias_add(box: Box, address: Annotated[str, typer.Argument(metavar="ALIAS", help="Autre adresse (other address)")],
              until: Annotated[str, typer.Option("--until", metavar="DATE", help="Dernier jour inclus (last day)")] = "",
              config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Donne une autre adresse à une boîte (gives a box another address)."""
    from mssante.services.delegations import bound

    end = bound(until, end=True) if until else None
    made = administer(config, lambda admin: admin.shared.add_alias(box, address, end))
    emit(as_json, {"ok": True, "alias": made.address, "mailbox": made.box, "until": instant(made.until)},
         f"{made.address} → {made.box}")


@alias.command("list")
def alias_list(box: Annotated[str, typer.Argument(metavar="[BOX]", help="D'une boîte, ou toutes (of one box, or all)")] = "",
               config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les alias (lists aliases)."""
    found = administer(config, lambda admin: admin.shared.aliases(box))
    emit(as_json, {"ok": True, "aliases": [{"alias": one.address, "mailbox": one.box, "created_at": instant(one.created_at),
                                            "until": instant(one.until)} for one in found]},
         *table(("alias", say("boîte", "mailbox"), say("jusqu'au", "until")),
                [(one.address, one.box, last_moment(one.until)) for one in found]))


@alias.command("remove")
def alias_remove(address: Annotated[str, typer.Argument(metavar="ALIAS", help="Adresse (address)")],
                 config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Retire un alias ; l'adresse redevient libre (removes an alias; the address is free again)."""
    administer(config, lambda admin: admin.shared.remove_alias(address))
    emit(as_json, {"ok": True, "alias": address.lower()},
         say(f"alias retiré : {address.lower()}", f"alias removed: {address.lower()}"))


def readers(box: Box,
            message_id: Annotated[str, typer.Option("--message-id", metavar="ID", help="Un seul message (one message)")] = "",
            since: Since = "", limit: Limit = 1000, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Dit qui a ouvert en premier quels messages d'une boîte ORG (tells who opened which messages of an ORG box)."""
    from mssante.services.delegations import bound

    key = message_id if not message_id or message_id.startswith("<") else f"<{message_id}>"
    at = bound(since, end=False) if since else None
    with progress(say("lecture", "reading"), as_json):
        found = administer(config, lambda admin: admin.shared.readers(box, message_key=key, since=at, limit=limit))
    emit(as_json, {"ok": True, "mailbox": box.lower(), "readings": [
        {"login": one.login, "message_id": one.message_key, "trace_id": one.trace_id, "first_at": instant(one.first_at)}
        for one in found]},
        *table((say("première lecture", "first reading"), say("compte", "login"), "Message-ID"),
               [(moment(one.first_at), one.login, one.message_key) for one in found]))


def senders(box: Box, since: Since = "", limit: Limit = 1000, config: ConfigFolder = DEFAULT_CONFIG,
            as_json: AsJson = False) -> None:
    """Dit qui a envoyé au nom d'une boîte (tells who sent in the name of a box)."""
    from mssante.services.delegations import bound

    at = bound(since, end=False) if since else None

    async def read(admin: Admin) -> Any:
        return await admin.shared.senders(box, since=at, limit=limit)

    found = administer(config, read)
    emit(as_json, {"ok": True, "mailbox": box.lower(), "sent": [
        {"at": instant(one.at), "login": one.login, "trace_id": one.trace_id, "to": one.to} for one in found]},
        *table((say("envoyé", "sent"), say("compte", "login"), "trace", say("à", "to")),
               [(moment(one.at), one.login, one.trace_id, one.to) for one in found]))
