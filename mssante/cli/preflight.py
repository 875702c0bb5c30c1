"""`mssante preflight FILE|DIR…`: the checks of departure on files, without sending anything.

CDA, IHE_XDM archives and mails (.eml); a folder is read whole (`.xml`, `.zip`, `.eml`). `--rules` names the folder of schema and
schematrons; without it, that of the configuration when there is one, else headers, metadata and archives only are checked. Exit
code 0: no error (remarks may be), 3: a document has errors, 1: the work could not be done. The checks run in a worker as in the
server.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, emit, progress
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.documents.preflight import Preflight
    from mssante.documents.remarks import Remark

MAX_FILES = 100_000
MAX_BYTES = 120 * 1024 * 1024
_READ = (".xml", ".zip", ".eml")


@dataclass(frozen=True, slots=True)
class _Work:
    """rules: folder, or None; cache: of prepared rules; memory_bytes, seconds: of a worker."""

    rules: Path | None
    cache: Path
    memory_bytes: int = 2_000_000_000
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One file. fault: why it could not be judged, empty when it was."""

    file: str
    result: Preflight | None
    fault: str = ""


def preflight(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE|DIR…", help="CDA, archives, messages .eml, dossiers (folders)")],
    rules: Annotated[Path | None, typer.Option("--rules", metavar="DIR", help="Schémas, schématrons (schema, rules)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Contrôle des documents comme avant un départ ; code 3 s'il y a des erreurs (checks documents as before they leave)."""
    work = _work(rules, config)
    files = list(_files(paths))
    if not files:
        raise InputFault("no file to check", rule="PREFLIGHT-FICHIER", remedy=say("donnez des .xml, .zip ou .eml",
                                                                                 "give .xml, .zip or .eml files"))
    with progress(say(f"contrôle de {len(files)} fichier(s)", f"checking {len(files)} file(s)"), as_json):
        judged = asyncio.run(_judge(files, work))
    emit(as_json, _document(judged, work), *_lines(judged, work))
    if any(one.fault for one in judged):
        raise typer.Exit(1)
    if any(one.result is not None and one.result.errors for one in judged):
        raise typer.Exit(CHECK_FAILED)


def _work(rules: Path | None, folder: Path) -> _Work:
    """Give where the rules are: asked for, configured, or nowhere. Raises ConfigFault, InputFault."""
    from mssante.config.load import load_config

    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mssante" / "rules"
    if rules is not None:
        return _Work(rules.resolve(), own)
    if not (folder / "operator.toml").is_file():
        return _Work(None, own)
    config = load_config(folder)
    section = config.operator.documents
    found = config.path(section.rules_directory) if section.rules_directory is not None else None
    return _Work(found, own, section.worker_memory_bytes)


def _files(paths: list[Path]) -> Iterator[Path]:
    """Give the regular files asked for, folders read whole, in order. Raises InputFault, OSError."""
    seen = 0
    for path in paths:
        inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in _READ) if path.is_dir() else [path]
        for one in inside:
            if not stat.S_ISREG(one.stat().st_mode):
                raise InputFault("not a regular file", detail=one.name, rule="PREFLIGHT-FICHIER", remedy=say("donnez un fichier",
                                                                                                            "give a file"))
            seen += 1
            if seen > MAX_FILES:
                raise InputFault("too many files", rule="PREFLIGHT-FICHIER", remedy=f"{MAX_FILES}")
            yield one


async def _judge(files: list[Path], work: _Work) -> list[Judged]:
    """Judge each file in a worker. Raises DocumentFault when the rules cannot be used."""
    from mssante.services.rulebook import RuleBook
    from mssante.services.workshop import Workshop, WorkshopLimits

    work.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    readable = tuple(str(path.resolve()) for path in (work.cache, work.rules) if path is not None)
    workshop = Workshop(WorkshopLimits(memory_bytes=work.memory_bytes, seconds=work.seconds, readable=readable))
    await workshop.open()
    try:
        book = RuleBook(workshop, work.rules, work.cache)
        await book.warm()
        return [await _judge_one(workshop, book, file, work) for file in files]
    finally:
        await workshop.close()


def _read_file(path: Path) -> bytes:
    """Give a file, one octet beyond the limit at most. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


async def _judge_one(workshop: Any, book: Any, file: Path, work: _Work) -> Judged:
    from mssante.documents.faults import DocumentFault
    from mssante.services.preflight_work import look_at_file

    rules = await book.current()
    raw = _read_file(file)
    if len(raw) > MAX_BYTES:
        return Judged(str(file), None, "DOC-TAILLE")
    try:
        return Judged(str(file), await workshop.run(look_at_file, file.name, raw, rules))
    except DocumentFault as fault:
        return Judged(str(file), None, fault.rule)


def _document(judged: list[Judged], work: _Work) -> dict[str, Any]:
    """Give the JSON form."""
    def told(one: Remark) -> dict[str, Any]:
        return {"source": one.source.value, "rule": one.rule, "file": one.file, "line": one.line, "place": one.place,
                "severity": one.severity.value, "text": one.text, "remedy": one.remedy}

    return {"rules": work.rules is not None, "files": [
        {"file": one.file, "fault": one.fault} if one.result is None else {
            "file": one.file, "verdict": one.result.outcome.value, "documents": one.result.documents, "fired": one.result.fired,
            "computed": dict(one.result.computed), "remarks": [told(remark) for remark in one.result.remarks]} for one in judged]}


def _lines(judged: list[Judged], work: _Work) -> list[str]:
    """Give the text form: one line a file, its remarks below, the sum at the end."""
    out = [] if work.rules is not None else [say(
        "sans règles : seuls en-têtes, métadonnées et archives sont contrôlés (--rules DIR)",
        "without rules: only headers, metadata and archives are checked (--rules DIR)")]
    for one in judged:
        if one.result is None:
            out.append(f"{one.file} : {say('non contrôlé', 'not checked')} [{one.fault}]")
            continue
        words = {"ok": say("bon", "good"), "warn": say("avertissements", "warnings"), "block": say("ERREURS", "ERRORS")}
        out.append(f"{one.file} : {words[one.result.outcome.value]} ({one.result.documents} document(s), "
                   f"{one.result.fired} {say('règles jouées', 'rules fired')})")
        out += [_line(remark) for remark in one.result.remarks]
    failed = sum(1 for one in judged if one.fault or (one.result is not None and one.result.errors))
    return [*out, say(f"{len(judged)} fichier(s), {failed} en erreur", f"{len(judged)} file(s), {failed} failed")]


def _line(one: Remark) -> str:
    mark = say("erreur", "error") if one.severity.value == "error" else say("avertissement", "warning")
    where = " ".join(part for part in (one.file, f"l.{one.line}" if one.line else "", one.place) if part)
    return f"  {mark} [{one.rule}] {where} : {one.text} -> {one.remedy}"
