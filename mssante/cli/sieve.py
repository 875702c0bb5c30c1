"""`mssante sieve list | get | put | check | activate | delete | test` and `mssante mailbox vacation`: filters of a mailbox.

Beside a running server: a change acts within `sieve.refresh_seconds`. `test` files nothing: it tells what would become of a
message given as a file, and why, line by line.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, emit, instant, last_moment, moment, read_limited, table
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.protocol.sieve.actions import Action
    from mssante.services.sieve_desk import Author, ScriptDesk
    from mssante.storage.interfaces import Stores

T = TypeVar("T")
MAX_MESSAGE = 64 * 1024 * 1024
MAX_SCRIPT = 4 * 1024 * 1024

app = typer.Typer(no_args_is_help=True, help="Filtres Sieve d'une boîte (Sieve filters of a mailbox).")
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="nom@domaine (name@domain)")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Nom du script (name of the script)")]
ScriptFile = Annotated[Path, typer.Argument(metavar="FILE", help="Script Sieve (a Sieve script)")]


def _with(folder: Path, address: str, action: Callable[[ScriptDesk, Author, Stores], Awaitable[T]]) -> T:
    """Run an action on the scripts of one mailbox. Raises MssFault."""
    from mssante.cli.common import administer_config
    from mssante.clock import SystemClock
    from mssante.services.admin import Admin
    from mssante.services.sieve_desk import Author
    from mssante.topics.sieve import desk_for

    config = load_config(folder)

    async def work(admin: Admin) -> T:
        found = await admin.stores.database.read(lambda tx: admin.stores.accounts.mailboxes_by_address(tx, [address.lower()]))
        if not found:
            raise InputFault(say(f"boîte inconnue : {address[:80]}", f"unknown mailbox: {address[:80]}"), rule="BOITE-INCONNUE")
        return await action(desk_for(config, admin.stores, SystemClock()), Author(found[0], "cli", "cli"), admin.stores)

    return administer_config(config, work)


@app.command("list")
def list_scripts(address: Address, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les scripts d'une boîte (lists the scripts of a mailbox)."""
    async def read(desk: ScriptDesk, author: Author, stores: Stores) -> tuple[Any, Any]:
        return await desk.all(author.mailbox), await desk.absence(author.mailbox)

    scripts, absence = _with(config, address, read)
    lines = table((say("script", "script"), say("actif", "active"), say("octets", "octets"), say("changé", "changed")),
                  [(one.name, say("oui", "yes") if one.active else "", len(one.content), moment(one.updated_at))
                   for one in scripts])
    if absence is not None:
        lines.append(say("une absence est réglée (mssante mailbox vacation)", "an absence is set (mssante mailbox vacation)"))
    emit(as_json, {"ok": True, "address": address.lower(), "absence": absence is not None, "scripts": [
        {"name": one.name, "active": one.active, "octets": len(one.content), "updated_at": instant(one.updated_at)}
        for one in scripts]}, *lines)


@app.command("get")
def get(address: Address, name: Name, config: ConfigFolder = DEFAULT_CONFIG) -> None:
    """Écrit un script sur la sortie (writes a script to the output)."""
    script = _with(config, address, lambda desk, author, stores: desk.get(author.mailbox, name))
    sys.stdout.write(script.content.decode("utf-8", "replace"))


@app.command("put")
def put(address: Address, name: Name, file: ScriptFile,
        activate_it: Annotated[bool, typer.Option("--activate", help="L'activer aussi (activate it too)")] = False,
        config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Vérifie et enregistre un script (checks and stores a script)."""
    content = read_limited(file, MAX_SCRIPT, "SIEVE-TAILLE")

    async def write(desk: ScriptDesk, author: Author, stores: Stores) -> None:
        await desk.put(author, name, content)
        if activate_it:
            await desk.activate(author, name)

    _with(config, address, write)
    emit(as_json, {"ok": True, "address": address.lower(), "name": name, "activated": activate_it},
         say(f"script « {name} » enregistré", f"script '{name}' stored"))


@app.command("check")
def check(file: ScriptFile, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Vérifie un script sans rien changer (checks a script, changes nothing)."""
    from mssante.protocol.sieve.compile import compile_script
    from mssante.topics.sieve import limits_of

    loaded = load_config(config)
    script = compile_script(read_limited(file, MAX_SCRIPT, "SIEVE-TAILLE"), limits_of(loaded),
                            redirects=loaded.operator.sieve.redirect == "own")
    emit(as_json, {"ok": True, "uses": sorted(script.uses)}, say("script juste", "script is right"))


@app.command("activate")
def activate(address: Address, name: Annotated[str, typer.Argument(metavar="NAME", help="Nom, « - » pour aucun (none: -)")],
             config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Rend un script actif, ou aucun (makes a script the active one, or none)."""
    wanted = "" if name == "-" else name
    _with(config, address, lambda desk, author, stores: desk.activate(author, wanted))
    emit(as_json, {"ok": True, "address": address.lower(), "active": wanted},
         say(f"actif : {wanted or 'aucun'}", f"active: {wanted or 'none'}"))


@app.command("delete")
def delete(address: Address, name: Name, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Efface un script qui n'est pas actif (removes a script that is not active)."""
    _with(config, address, lambda desk, author, stores: desk.delete(author, name))
    emit(as_json, {"ok": True, "address": address.lower(), "name": name}, say("script effacé", "script removed"))


@app.command("test")
def test(address: Address,
         message: Annotated[Path, typer.Option("--message", "-m", metavar="FILE", help="Message à filtrer (the message)")],
         script: Annotated[Path | None, typer.Option("--script", metavar="FILE", help="Ce script (this script)")] = None,
         sender: Annotated[str, typer.Option("--sender", metavar="ADDRESS", help="Expéditeur (envelope sender)")] = "",
         config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Dit ce que deviendrait un message, et pourquoi ; ne range rien (tells what would become of a message, and why)."""
    from mssante.protocol.mime.headers import find_header_end
    from mssante.protocol.sieve.compile import compile_script
    from mssante.protocol.sieve.interpreter import Surroundings
    from mssante.protocol.sieve.message import MessageView

    raw = read_limited(message, MAX_MESSAGE, "SIEVE-MESSAGE")
    given = read_limited(script, MAX_SCRIPT, "SIEVE-TAILLE") if script is not None else None

    async def read(desk: ScriptDesk, author: Author, stores: Stores) -> tuple[bytes, frozenset[str]]:
        active = next((one.content for one in await desk.all(author.mailbox) if one.active), b"")
        found = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, author.mailbox.id))
        return (given if given is not None else active), frozenset(one.name for one in found)

    content, folders = _with(config, address, read)
    view = MessageView.of(raw[:find_header_end(raw)], sender=sender, recipient=address.lower(), size=len(raw))
    outcome = compile_script(content).run(view, Surroundings(datetime.now(UTC), folders.__contains__, traced=True))
    told = [action_text(action, folders) for action in outcome.actions]
    emit(as_json, {"ok": True, "actions": told, "trace": [{"line": line, "what": what} for line, what in outcome.trace]},
         *[say(f"  ligne {line} : {what}", f"  line {line}: {what}") for line, what in outcome.trace],
         *[f"-> {text}" for text in told])


def action_text(action: Action, folders: frozenset[str]) -> str:
    """Give an action for a reader; never the text of an answer."""
    from mssante.protocol.sieve.actions import FileInto, Keep, Redirect, Vacation

    match action:
        case Keep(flags):
            return " ".join(("keep INBOX", *flags))
        case FileInto(folder, flags, create):
            missing = folder not in folders and folder.upper() != "INBOX" and not create
            return " ".join((f"fileinto {folder}", *flags)) + (say(" (absent : INBOX)", " (missing: INBOX)") if missing else "")
        case Redirect(to):
            return f"redirect {to}"
        case Vacation():
            return "vacation"
        case _:
            return "discard"


def _day(text: str, *, after: bool) -> datetime:
    """Read a day of this machine's calendar, or an ISO instant. after: its end. Raises InputFault (`ABSENCE-DATES`)."""
    try:
        if len(text) == 10:
            day = date.fromisoformat(text) + timedelta(days=1 if after else 0)
            return datetime.combine(day, time()).astimezone()
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as fault:
        raise InputFault(say(f"date illisible : {text[:40]!r}", f"unreadable date: {text[:40]!r}"), rule="ABSENCE-DATES",
                         remedy="2026-12-24") from fault


def vacation(
    address: Address,
    since: Annotated[str, typer.Option("--from", metavar="DATE", help="Premier jour ; défaut : aujourd'hui (first day)")] = "",
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="Dernier jour (last day)")] = "",
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="Ce qui est répondu (what is answered)")] = "",
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Le texte, UTF-8 (the text)")] = None,
    off: Annotated[bool, typer.Option("--off", help="Finit l'absence (ends it)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Règle la réponse d'absence d'une boîte, sans toucher à ses scripts (out-of-office of a mailbox, beside its scripts)."""
    from mssante.services.sieve_desk import Absence

    absence = None
    if not off:
        if not until or bool(text) == (file is not None):
            raise InputFault(say("il faut --until et --text ou --file, ou --off",
                                 "--until and --text or --file are needed, or --off"), rule="ABSENCE-DATES")
        words = text or read_limited(file or Path(), MAX_SCRIPT, "ABSENCE-TEXTE").decode("utf-8", "replace")
        today = datetime.now().astimezone()
        begin = _day(since, after=False) if since else today
        absence = Absence(begin, _day(until, after=True), words, load_config(config).operator.sieve.vacation_days)
        if absence.until <= today:
            raise InputFault(say("cette absence est déjà finie", "this absence is over already"), rule="ABSENCE-DATES")
    wanted = absence
    _with(config, address, lambda desk, author, stores: desk.set_absence(author, wanted))
    document = {"ok": True, "address": address.lower(), "absence": None if absence is None else
                {"from": instant(absence.since), "until": instant(absence.until)}}
    emit(as_json, document, say("absence finie", "absence ended") if absence is None else
         say(f"absent du {moment(absence.since)} au {last_moment(absence.until)}",
             f"away from {moment(absence.since)} to {last_moment(absence.until)}"))
