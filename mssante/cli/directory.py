"""`mssante directory status|import|search|show|changes`: the mirror of the national directory (`ask` stands in `directory_ask`).

Exit 3 when `show` or `search` finds nothing, or when `status` has no mirror or one too old. An import beside a running server is
seen by it at once.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, Limit, emit, instant, moment, table
from mssante.cli.directory_ask import app as app
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding
from mssante.errors import InputFault
from mssante.lang import say
from mssante.storage.mirror import Adoption, ImportRequest

Force = Annotated[bool, typer.Option("--force", help="Lève les gardes de taille et de date (lifts the guards)")]


def _adoption(one: Adoption | None) -> dict[str, Any] | None:
    return None if one is None else {**asdict(one), "stamp": instant(one.stamp), "at": instant(one.at)}


def _entry(one: DirectoryEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if value not in ("", None, (), 0)}


@app.command()
def status(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre l'état du miroir (shows the state of the mirror)."""
    from mssante.topics.directory import mirror_for

    loaded = load_config(config)
    state = mirror_for(loaded).state()
    latest = state.latest
    age = SystemClock().now() - latest.stamp if latest is not None else None
    good = age is not None and age <= timedelta(days=loaded.operator.directory.max_age_days)
    lines = [say("aucune extraction : `mssante directory import FICHIER` ou directory.extraction_url",
                 "no extraction: `mssante directory import FILE` or directory.extraction_url")]
    if latest is not None and age is not None:
        days = f"{age.total_seconds() / 86400:.1f}"
        lines = [say(f"extraction du {moment(latest.stamp)}, prise le {moment(latest.at)}, âge {days} j",
                     f"extraction of {moment(latest.stamp)}, taken on {moment(latest.at)}, age {days} d"),
                 say(f"{state.entries} lignes, {state.addresses} adresses, {state.departed} parties, {state.octets >> 20} Mio",
                     f"{state.entries} rows, {state.addresses} addresses, {state.departed} departed, {state.octets >> 20} MiB"),
                 f"+{latest.added} -{latest.removed} ~{latest.changed}"]
    emit(as_json, {"ok": good, "latest": _adoption(latest), "age_seconds": age.total_seconds() if age is not None else None,
                   "entries": state.entries, "addresses": state.addresses, "departed": state.departed,
                   "octets": state.octets}, *lines)
    if not good:
        raise typer.Exit(CHECK_FAILED)


def _show_progress(done: int, total: int) -> None:
    part = f"{100 * done // total:3d} %" if total else f"{done >> 20} Mio"
    sys.stderr.write("\r" + say("lecture", "reading") + f" {part} ")
    sys.stderr.flush()


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="ZIP ou texte (ZIP or text)")], config: ConfigFolder = DEFAULT_CONFIG,
            force: Force = False, as_json: AsJson = False) -> None:
    """Prend une extraction dans le miroir, en entier ou pas du tout (takes an extraction in, whole or not at all)."""
    from mssante.topics.directory import mirror_for

    shown = _show_progress if sys.stderr.isatty() and not as_json else None
    adopted = mirror_for(load_config(config)).adopt(
        ImportRequest(file, file.name, SystemClock().now(), force=force, progress=shown))
    if shown is not None:
        sys.stderr.write("\r\x1b[K")
    line = say("déjà en service", "already in force") if adopted is None else say(
        f"{adopted.rows} lignes : {adopted.added} ajoutées, {adopted.removed} parties, {adopted.changed} changées",
        f"{adopted.rows} rows: {adopted.added} added, {adopted.removed} removed, {adopted.changed} changed")
    emit(as_json, {"ok": True, "new": adopted is not None, "adoption": _adoption(adopted)}, line)


@app.command("search")
def search_(words: Annotated[list[str], typer.Argument(help="Mots, le dernier même inachevé (words)")],
            config: ConfigFolder = DEFAULT_CONFIG, *, type_: Annotated[str, typer.Option("--type", help="PER, ORG")] = "",
            department: Annotated[str, typer.Option("--department", help="69, 2A, 971")] = "",
            profession: Annotated[str, typer.Option("--profession", help="Code ou mots (code or words)")] = "",
            limit: Limit = 20, as_json: AsJson = False) -> None:
    """Cherche dans le miroir, le meilleur d'abord (searches the mirror, best first)."""
    from mssante.topics.directory import mirror_for

    found = mirror_for(load_config(config)).search(DirectoryQuery(
        " ".join(words), type=type_.upper(), department=department.upper(), profession=profession, limit=min(limit, 200)))
    rows = [(one.address, one.type, one.name, one.specialty or one.profession, one.town or one.department) for one in found]
    headers = (say("adresse", "address"), "type", say("nom", "name"), "profession", say("lieu", "place"))
    emit(as_json, {"ok": bool(found), "entries": [_entry(one) for one in found]},
         *(table(headers, rows) if found else [say("rien ne répond à ces mots", "nothing answers these words")]))
    if not found:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def show(address: str, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre ce que l'on sait d'une adresse, d'où et de quand (shows what is known of an address)."""
    loaded = load_config(config)

    async def read() -> Finding:
        from mssante.app import open_admin
        from mssante.topics.directory import open_desk

        async with open_admin(loaded) as admin, open_desk(loaded, admin.stores, SystemClock()) as desk:
            return await desk.find(address)

    found = asyncio.run(read())
    words = {"published": ("publiée", "published"), "red_listed": ("liste rouge", "red-listed"), "closed": ("fermée", "closed"),
             "absent": ("absente", "absent"), "unknown": ("inconnue : aucune source", "unknown: no source")}
    lines = [f"{found.address} : {say(*words[found.presence.value])}"]
    if found.as_of is not None:
        lines.append(say(f"d'après {', '.join(found.sources)} du {moment(found.as_of)}",
                         f"by {', '.join(found.sources)} of {moment(found.as_of)}"))
    if found.closed_at is not None:
        lines.append(say(f"fermée le {moment(found.closed_at)} ({found.closed_by})",
                         f"closed on {moment(found.closed_at)} ({found.closed_by})"))
    for one in found.entries:
        lines += ["", *(f"{name:18} {value}" for name, value in _entry(one).items())]
    lines += [say("peut-être : ", "maybe: ") + one for one in found.near]
    emit(as_json, {"ok": bool(found.entries), "address": found.address, "presence": found.presence.value,
                   "as_of": instant(found.as_of), "sources": list(found.sources), "closed_at": instant(found.closed_at),
                   "closed_by": found.closed_by, "near": list(found.near),
                   "entries": [_entry(one) for one in found.entries]}, *lines)
    if not found.entries:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def changes(config: ConfigFolder = DEFAULT_CONFIG, since: Annotated[str, typer.Option(
        "--since", metavar="AAAA-MM-JJ", help="Après ce jour (after that day)")] = "", limit: Limit = 1000,
            as_json: AsJson = False) -> None:
    """Liste ce qui est venu, parti ou changé (lists what came, left or changed)."""
    from mssante.topics.directory import mirror_for

    try:
        after = datetime.fromisoformat(since).replace(tzinfo=UTC) if since else None
    except ValueError as exc:
        raise InputFault(say("date mal formée", "malformed date"), detail=since[:40], rule="MIROIR-DEPUIS",
                         remedy="2026-09-01") from exc
    found = mirror_for(load_config(config)).changes(after, limit=limit)
    words = {"added": ("venue", "added"), "removed": ("partie", "removed"), "changed": ("changée", "changed")}
    listed = [{"stamp": instant(one.stamp), "kind": one.kind, "address": one.address} for one in found]
    emit(as_json, {"ok": True, "changes": listed},
         *table(("date", say("quoi", "what"), say("adresse", "address")),
                [(moment(one.stamp), say(*words[one.kind]), one.address) for one in found]))
