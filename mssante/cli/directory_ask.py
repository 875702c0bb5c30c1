"""`mssante directory ask ADDRESS`: ask the remote sources (FHIR, LDAP) now, or see what they said and when.

Exit 3 when no source has the address or none answers.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, emit, instant, moment
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address

if TYPE_CHECKING:
    from mssante.services.directory_sources import SourceAnswer

app = typer.Typer(no_args_is_help=True, help="L'annuaire national vu d'ici (the national directory as seen from here)")

Kept = Annotated[bool, typer.Option("--kept", help="Une réponse gardée suffit (a kept answer will do)")]


@app.callback()
def directory() -> None:
    """L'annuaire national vu d'ici (the national directory as seen from here)."""


@app.command("ask")
def ask(address: Annotated[str, typer.Argument(help="Adresse MSSanté")], config: ConfigFolder = DEFAULT_CONFIG, *,
        kept: Kept = False, as_json: AsJson = False) -> None:
    """Demander une adresse aux sources distantes (ask the remote sources for an address)."""
    wanted = parse_envelope_address(address).key
    answers = asyncio.run(_answers(config, wanted, kept=kept))
    now = SystemClock().now()
    lines = [line for one in answers for line in _lines(one, now)]
    emit(as_json, {"address": wanted, "answers": [_document(one, now) for one in answers]}, *lines)
    if not any(one.entries for one in answers):
        raise typer.Exit(CHECK_FAILED)


async def _answers(folder: Path, address: str, *, kept: bool) -> tuple[SourceAnswer, ...]:
    from mssante.topics.directory_use import remote_sources

    sources = remote_sources(load_config(folder), SystemClock())
    if sources is None:
        raise InputFault(say("aucune source distante n'est configurée", "no remote source is configured"), rule="CFG-ANNUAIRE",
                         remedy="operator.toml [directory] fhir_url, ldap_url")
    try:
        return await sources.answers(address, renew=not kept)
    finally:
        await sources.close()


_UNITS = ((86400, "j"), (3600, "h"), (60, "min"), (1, "s"))


def _age(at: datetime, now: datetime) -> str:
    seconds = max(int((now - at.astimezone(UTC)).total_seconds()), 0)
    return next(f"{seconds // size} {unit}" for size, unit in _UNITS if seconds >= size or size == 1)


def _document(one: SourceAnswer, now: datetime) -> dict[str, Any]:
    age = int((now - one.at).total_seconds()) if one.at else None
    return {"source": one.source.value, "at": instant(one.at), "age_seconds": age, "fresh": one.fresh, "rule": one.rule,
            "entries": [asdict(entry) for entry in one.entries], "certificates": len(one.certificates)}


def _lines(one: SourceAnswer, now: datetime) -> list[str]:
    """Give what one source says for a reader."""
    head = f"{one.source.value:5} "
    if one.at is None:
        return [head + say(f"pas de réponse [{one.rule}]", f"no answer [{one.rule}]")]
    age = say(f"réponse du {moment(one.at)}, il y a {_age(one.at, now)}", f"answered {moment(one.at)}, {_age(one.at, now)} ago")
    silent = f" · {say('source muette', 'source silent')} [{one.rule}]" if one.rule else ""
    if not one.entries:
        return [head + say("n'a pas cette adresse", "does not have this address") + f" · {age}{silent}"]
    lines = [f"{head}{age}{silent}"]
    for entry in one.entries:
        red = " · " + say("liste rouge", "red list") if entry.red_listed else ""
        parts = (entry.profession, entry.specialty, entry.holder_id or entry.structure_id, entry.town)
        holder = " · ".join(part for part in parts if part)
        lines.append(f"      {entry.type:4} {entry.name}{' · ' + holder if holder else ''}{red}")
    if one.certificates:
        lines.append("      " + say(f"{len(one.certificates)} certificat(s)", f"{len(one.certificates)} certificate(s)"))
    return lines
