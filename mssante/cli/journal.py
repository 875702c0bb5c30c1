"""`mssante journal …`: the latest facts, and whether the chain of hashes is whole (exit code 3 when it is not)."""

from __future__ import annotations

from typing import Annotated

import typer

from mssante.cli.common import (
    CHECK_FAILED,
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer,
    emit,
    moment,
    progress,
    table,
)
from mssante.cli.trace import event_document, facts, kind_name
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalKind

app = typer.Typer(no_args_is_help=True, help="Journal des traces (journal of facts)")


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Une sorte d'événement (one kind)")] = None,
    subject: Annotated[str | None, typer.Option("--subject", metavar="WORD", help="Adresse, domaine ou compte (about)")] = None,
    limit: Limit = 100,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Liste les derniers événements, du plus récent (lists the latest events, newest first)."""
    if kind is not None and kind not in set(JournalKind):
        raise InputFault(say(f"sorte inconnue : {kind}", f"unknown kind: {kind}"), rule="JOURNAL-SORTE",
                         remedy=", ".join(JournalKind))
    with progress(say("lecture du journal", "reading the journal"), as_json):
        rows = administer(config, lambda admin: admin.journal(kind=kind, subject=subject, limit=limit))
    headers = ("n°", say("instant", "instant"), say("événement", "event"), say("sujet", "about"), "trace", say("faits", "facts"))
    emit(as_json, {"ok": True, "events": [event_document(row) for row in rows]},
         *table(headers, [(row.sequence, moment(row.at), kind_name(row.kind), row.subject, row.trace_id, facts(row))
                          for row in rows]))


@app.command()
def verify(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Vérifie la chaîne d'empreintes ; code 3 si elle est rompue (checks the chain of hashes)."""
    from mssante.services.admin import Admin

    async def check(admin: Admin) -> tuple[int | None, int]:
        broken = await admin.stores.database.read(lambda tx: admin.stores.journal.verify(tx))
        last = await admin.journal(limit=1)
        return broken, last[0].sequence if last else 0

    with progress(say("vérification du journal", "checking the journal"), as_json):
        broken, last = administer(config, check)
    if broken is None:
        emit(as_json, {"ok": True, "events": last, "broken_at": None},
             say(f"journal entier : {last} événements enchaînés", f"journal is whole: {last} events in chain"))
        return
    emit(as_json, {"ok": False, "events": last, "broken_at": broken})
    typer.echo(say(f"journal rompu à l'événement {broken} -> comparez avec une sauvegarde [JOURNAL-CHAINE]",
                   f"journal is broken at event {broken} -> compare with a backup [JOURNAL-CHAINE]"), err=True)
    raise typer.Exit(CHECK_FAILED)
