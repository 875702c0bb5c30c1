"""`mssante mailbox plan|apply|export`: bulk changes of mailboxes by CSV (services/mailbox_import.py)."""

from __future__ import annotations

import csv
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, emit, read_limited, table
from mssante.cli.mailbox_life import at_desk
from mssante.cli.team import operator_name
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.life import LifeDesk
    from mssante.services.mailbox_import import ImportPlan

SHOWN = 200
File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="address,type,holder,… : docs/mailboxes.md")]


async def _plan(desk: LifeDesk, file: Path) -> ImportPlan:
    from mssante.services.mailbox_csv import MAX_OCTETS, RULE, read_sheet
    from mssante.services.mailbox_import import MailboxImport

    raw = read_limited(file, MAX_OCTETS, RULE)
    return await MailboxImport(desk).plan(read_sheet(raw, desk.settings.hosted, cab=desk.settings.cab))


def _document(found: ImportPlan) -> dict[str, Any]:
    return {"plan_hash": found.digest(), "counts": found.counts(), "notice": found.notice,
            "lines": [{"line": one.line.row, "address": one.line.address, "action": one.action, "changes": list(one.changes)}
                      for one in found.planned],
            "problems": [{"line": one.row, "rule": one.rule, "error": one.text, "remedy": one.remedy} for one in found.wrong]}


def _problems(found: ImportPlan) -> None:
    for one in found.wrong[:SHOWN]:
        typer.echo(say(f"ligne {one.row}", f"line {one.row}") + f" : {one.text} [{one.rule}] -> {one.remedy}", err=True)
    if found.notice:
        typer.echo(found.notice, err=True)


def plan(file: File, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre ce qu'un CSV changerait ; ne change rien (shows what a CSV would change; changes nothing)."""
    found = at_desk(config, lambda desk: _plan(desk, file))
    rows = [(one.line.row, one.line.address, one.action, " ; ".join(one.changes))
            for one in found.planned if one.action != "unchanged"]
    lines = table((say("ligne", "line"), say("adresse", "address"), "action", say("changements", "changes")), rows[:SHOWN])
    if len(rows) > SHOWN:
        lines.append(say(f"… et {len(rows) - SHOWN} autres (--json)", f"… and {len(rows) - SHOWN} more (--json)"))
    summary = ", ".join(f"{name} {count}" for name, count in found.counts().items())
    emit(as_json, {"ok": not found.wrong, **_document(found)}, *(lines if rows else []), summary, f"--plan-hash {found.digest()}")
    _problems(found)
    if found.wrong:
        raise typer.Exit(1)


def apply(
    file: File,
    plan_hash: Annotated[str, typer.Option("--plan-hash", metavar="HASH", help="Refuse un plan changé (if it changed)")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="Laisse les lignes en faute (leaves wrong lines out)")] = False,
    passwords_out: Annotated[Path | None, typer.Option(
        "--passwords-out", metavar="FILE", help="Mots de passe des comptes créés, fichier nouveau (of logins made; a new file)",
    )] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Applique un CSV ; relancez-le après un arrêt, il finit (applies a CSV; run it again after a stop, it goes on)."""
    from mssante.services.mailbox_import import MailboxImport

    async def work(desk: LifeDesk) -> tuple[ImportPlan, dict[str, int]]:
        found = await _plan(desk, file)
        if found.wrong and not partial:
            _problems(found)
        importer = MailboxImport(desk)
        importer.check(found, partial_=partial, plan_hash=plan_hash)
        if passwords_out is not None and found.logins:
            found.passwords = _passwords(found.logins, passwords_out)
        told = None if as_json or not sys.stderr.isatty() else _tell
        return found, await importer.apply(found, actor=operator_name(), partial_=partial, plan_hash=plan_hash,
                                                      told=told)

    found, done = at_desk(config, work)
    changed = any(done.values())
    emit(as_json, {"ok": not done["conflict"], "done": done, **_document(found)},
         ", ".join(f"{name} {count}" for name, count in done.items()) if changed else say("rien à faire", "nothing to do"))
    _problems(found)
    if found.passwords and not as_json:
        typer.echo(say(f"{len(found.passwords)} mots de passe dans {passwords_out} : remettez-les, puis effacez ce fichier",
                       f"{len(found.passwords)} passwords in {passwords_out}: hand them over, then delete this file"), err=True)
    if done["conflict"]:
        raise typer.Exit(1)


def _passwords(logins: Sequence[str], path: Path) -> dict[str, str]:
    """Make passwords and put them on disk before any login is made: one that cannot be handed over is a lost box."""
    made = {login: secrets.token_urlsafe(12) for login in logins}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise InputFault(say(f"{path} existe déjà", f"{path} exists already"), rule="IMPORT-MOTS-DE-PASSE",
                         remedy=say("donnez un fichier nouveau", "give a new file")) from fault
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("login", "password"), *made.items()])
        out.flush()
        os.fsync(out.fileno())
    return made


def _tell(done: int, count: int) -> None:
    sys.stderr.write(f"\r{done}/{count} " + ("\n" if done == count else ""))
    sys.stderr.flush()


def export(config: ConfigFolder = DEFAULT_CONFIG) -> None:
    """Écrit toutes les boîtes en CSV, sur la sortie (writes all mailboxes as CSV, on standard output)."""
    from mssante.services.mailbox_import import MailboxImport

    async def work(desk: LifeDesk) -> None:
        async for text in MailboxImport(desk).export():
            sys.stdout.write(text)

    at_desk(config, work)
