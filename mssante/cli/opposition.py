"""`mssante opposition add|list|remove|check`: oppositions of patients to sending by MSSanté.

The INS is read from standard input, one line (asked without echo on a terminal): on the command line it would stay in the history
of the shell and be seen in the list of processes. It is never printed.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, instant, moment, table
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.opposition import SCOPES, Oppositions

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.opposition import Opposition

app = typer.Typer(no_args_is_help=True, help="Oppositions de patients à l'envoi par MSSanté (oppositions of patients)")
T = TypeVar("T")
Scope = Annotated[str, typer.Option("--scope", "-s", help=" · ".join(SCOPES))]
By = Annotated[str, typer.Option("--by", help="Qui enregistre (who records it)")]
Reason = Annotated[str, typer.Option("--reason", help="Pourquoi, sans identité (why, without identity)")]
MAX_LINE = 64


def _desk(config: ConfigFolder, act: Callable[[Oppositions], Awaitable[T]]) -> T:
    """Run an action on the desk. Raises MssFault, OSError."""
    from mssante.services.privacy import load_key

    loaded = load_config(config)
    secret = load_key(loaded.path(loaded.operator.storage.blobs).parent / "pseudonym.key")

    async def run(admin: Admin) -> T:
        return await act(Oppositions(admin.stores, SystemClock(), secret))

    return administer_config(loaded, run)


def _matricule() -> str:
    """Read one INS. Raises InputFault."""
    if sys.stdin.isatty():
        return str(typer.prompt(say("matricule INS", "INS"), hide_input=True, err=True)).strip()
    line = sys.stdin.readline(MAX_LINE + 2)
    if len(line) > MAX_LINE or not line.strip():
        raise InputFault(say("le matricule INS est lu sur l'entrée standard, une ligne",
                             "the INS is read from standard input, one line"), rule="OPPOSITION-INS",
                         remedy="mssante opposition … < fichier")
    return line.strip()


def _document(one: Opposition) -> dict[str, Any]:
    return {"patient": one.patient[:16], "scope": one.scope, "since": instant(one.since), "until": instant(one.until),
            "by": one.by, "reason": one.reason}


def _lines(found: list[Opposition]) -> list[str]:
    headers = ("patient", say("portée", "scope"), say("depuis", "since"), say("jusqu'à", "until"), say("par", "by"),
               say("motif", "reason"))
    return table(headers, [(one.patient[:16], one.scope, moment(one.since), moment(one.until) if one.until else "-", one.by,
                            one.reason) for one in found])


@app.command()
def add(by: By, reason: Reason, scope: Scope = "all",
        until: Annotated[datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Dernier jour (last day)")] = None,
        config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Enregistre l'opposition d'un patient, INS sur l'entrée standard (records an opposition)."""
    matricule, end = _matricule(), until.replace(hour=23, minute=59, second=59, tzinfo=UTC) if until is not None else None
    one = _desk(config, lambda desk: desk.add(matricule, scope, by=by, reason=reason, until=end))
    emit(as_json, {"ok": True, **_document(one)}, say(f"opposition enregistrée : {one.patient[:16]}, {SCOPES[scope][0]}",
                                                      f"opposition recorded: {one.patient[:16]}, {SCOPES[scope][1]}"))


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les oppositions ; les patients y sont des empreintes (lists oppositions)."""
    found = _desk(config, lambda desk: desk.all())
    emit(as_json, {"ok": True, "oppositions": [_document(one) for one in found]},
         *(_lines(found) if found else [say("aucune opposition", "no opposition")]))


@app.command()
def remove(by: By, reason: Reason, scope: Scope = "all", config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Retire une opposition, INS sur l'entrée standard (ends an opposition)."""
    matricule = _matricule()
    if not _desk(config, lambda desk: desk.remove(matricule, scope, by=by, reason=reason)):
        raise InputFault(say("aucune opposition de cette portée pour ce patient", "no opposition of this scope for this patient"),
                         rule="OPPOSITION-INCONNUE", remedy="mssante opposition check")
    emit(as_json, {"ok": True}, say("opposition retirée", "opposition ended"))


@app.command()
def check(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Dit si un patient s'est opposé, INS sur l'entrée standard ; code 3 s'il l'a fait (tells whether a patient opposed)."""
    from mssante.cli.common import CHECK_FAILED

    matricule = _matricule()
    found = _desk(config, lambda desk: desk.of([matricule]))
    emit(as_json, {"ok": not found, "oppositions": [_document(one) for one in found]},
         *(_lines(found) if found else [say("aucune opposition", "no opposition")]))
    if found:
        raise typer.Exit(CHECK_FAILED)
