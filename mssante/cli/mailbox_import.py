"""`mssante mailbox import ADDRESS`: moves mail in from an IMAP account, a Maildir or mbox files.

Runs beside the server or without it; stopped or killed, the same command goes on where it was. At the end every message is
read again and its SHA-256 compared with the source's. Exit code 0: all is there and equal; 3: something was left out or
differs (the report says what); 1: a fault stopped it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, emit, table
from mssante.cli.passwords import PasswordFile, PasswordStdin, read_password
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.mime.mbox import Quoting

if TYPE_CHECKING:
    from mssante.services.importing import FolderReport, ImportReport
    from mssante.services.importing_source import MailSource

PASSWORD_VARIABLE = "MSSANTE_IMPORT_PASSWORD"  # noqa: S105 -- a name
TELL_SECONDS = 0.5
SHOWN_NOTES = 50
WORKERS = 4


@dataclass(frozen=True, slots=True)
class _From:
    """Where mail comes from, as the command line says it."""

    imap: str
    maildir: Path | None
    mbox: Path | None
    quoting: Quoting
    anchors: Path | None
    password_file: Path | None
    password_stdin: bool


def import_(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Boîte qui reçoit (mailbox that receives)")],
    imap: Annotated[str, typer.Option("--imap", metavar="URL", help="imaps://user@host[:port], imap://… : STARTTLS")] = "",
    maildir: Annotated[Path | None, typer.Option("--maildir", metavar="PATH", help="Maildir, Maildir++")] = None,
    mbox: Annotated[Path | None, typer.Option("--mbox", metavar="PATH", help="Fichier ou arborescence (file or tree)")] = None,
    quoting: Annotated[Quoting, typer.Option("--mbox-format", help="Lignes « >From » (quoting of From lines)")] = Quoting.MBOXRD,
    anchors: Annotated[Path | None, typer.Option(
        "--anchors", metavar="FILE", help="Autorités du serveur d'origine, PEM ; défaut : celles du système (system's)")] = None,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    folder: Annotated[list[str] | None, typer.Option(
        "--folder", metavar="NAME", help="Ce dossier d'origine seul, * et ? admis, répétable (only this source folder)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Montre le plan, ne change rien (shows the plan only)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Fait venir le courrier d'ailleurs, le vérifie, reprend après un arrêt (moves mail in, proves it, resumes)."""
    asked = _From(imap, maildir, mbox, quoting, anchors, password_file, password_stdin)
    if sum(bool(one) for one in (imap, maildir, mbox)) != 1:
        raise typer.BadParameter(say("une source et une seule : --imap, --maildir ou --mbox",
                                     "one source and only one: --imap, --maildir or --mbox"))
    report = asyncio.run(_run(load_config(config), address, asked, (folder or [], dry_run, _Teller(as_json))))
    document = _document(report, dry_run)
    emit(as_json, document, *_lines(report, dry_run))
    if not document["ok"]:
        raise typer.Exit(CHECK_FAILED)


async def _run(config: Config, address: str, asked: _From, how: tuple[list[str], bool, _Teller]) -> ImportReport:
    from mssante.app import open_admin
    from mssante.clock import SystemClock
    from mssante.services.importing import Importer, ImportSettings

    patterns, dry_run, teller = how
    operator = config.operator
    settings = ImportSettings(operator.limits.message_bytes, operator.storage.inline_limit_bytes, dry_run,
                              wanted=lambda name: _wanted(name, patterns))
    source = await _source(asked, operator.limits.message_bytes)
    try:
        async with open_admin(config) as admin:
            with ThreadPoolExecutor(WORKERS) as executor:
                importer = Importer(admin.stores, SystemClock(), executor, settings)
                return await importer.run(source, address, teller.tell)
    finally:
        teller.end()
        await source.close()


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a folder is asked for; INBOX by any case."""
    return not patterns or any(fnmatchcase(name, one) or (one.upper() == "INBOX" == name.upper()) for one in patterns)


# ------------------------------------------------------------ sources

async def _source(asked: _From, message_bytes: int) -> MailSource:
    from mssante.services.importing_files import MaildirSource
    from mssante.services.importing_mbox import MboxSource

    if asked.maildir is not None:
        return MaildirSource(asked.maildir)
    if asked.mbox is not None:
        return MboxSource(asked.mbox, asked.quoting, message_bytes=message_bytes)
    return await _imap_source(asked)


async def _imap_source(asked: _From) -> MailSource:
    try:
        from mssante.transport.imap_source import ImapAccount, ImapSource
    except ImportError as exc:
        raise InputFault(say("l'importation par IMAP n'est pas installée", "import over IMAP is not installed"),
                         detail=str(exc.name), rule="IMPORT-EXTRA", remedy="pip install 'mssante[import]'") from exc

    login, host, port, implicit = read_url(asked.imap)
    source = ImapSource(ImapAccount(host, port, login, _password(asked), _context(asked.anchors), implicit))
    try:
        await source.open()
    except BaseException:
        await source.close()
        raise
    return source


def read_url(url: str) -> tuple[str, str, int, bool]:
    """Give (login, host, port, implicit TLS) of `imaps://user@host[:port]`. Raises InputFault `IMPORT-URL`.

    A login may hold `%40`, and `@` itself: the last one counts.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    login, mark, _ = parts.netloc.rpartition("@")
    if ":" in login:
        raise InputFault(say("mot de passe sur la ligne de commande", "password on the command line"), rule="IMPORT-URL",
                         remedy=say(f"utilisez --password-file, --password-stdin ou {PASSWORD_VARIABLE}",
                                    f"use --password-file, --password-stdin or {PASSWORD_VARIABLE}"))
    shaped = parts.scheme in ("imap", "imaps") and mark and login and parts.path in ("", "/") and not parts.query
    if not shaped or not parts.hostname:
        raise InputFault(say("adresse IMAP refusée", "IMAP address refused"), rule="IMPORT-URL",
                         remedy="imaps://user@host:993")
    implicit = parts.scheme == "imaps"
    return unquote(login), parts.hostname, port or (993 if implicit else 143), implicit


def _password(asked: _From) -> str:
    """Give the password: file, standard input, environment, or asked for."""
    if asked.password_file is None and not asked.password_stdin:
        if PASSWORD_VARIABLE in os.environ:
            return os.environ[PASSWORD_VARIABLE]
        if sys.stdin.isatty():
            return str(typer.prompt(say("Mot de passe du compte d'origine", "Password of the source account"), hide_input=True,
                                    err=True))
    return read_password(asked.password_file, asked.password_stdin)


def _context(anchors: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(anchors) if anchors else None)
    except (OSError, ssl.SSLError) as exc:
        raise InputFault(say(f"autorités illisibles : {anchors}", f"authorities cannot be read: {anchors}"), rule="IMPORT-TLS",
                         remedy=say("donnez un fichier PEM", "give a PEM file")) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# ------------------------------------------------------------ what is told

class _Teller:
    """Progress on standard error: only on a terminal, never with --json."""

    def __init__(self, as_json: bool) -> None:
        self._on = sys.stderr.isatty() and not as_json
        self._next = 0.0
        self._shown = False

    def tell(self, done: FolderReport) -> None:
        """One page of a folder is done."""
        if not self._on or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + TELL_SECONDS
        self._shown = True
        name = "".join(letter if letter.isprintable() else "?" for letter in done.source[:40])
        sys.stderr.write(f"\r\x1b[K{name} : {done.messages} (+{done.imported})")
        sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _document(report: ImportReport, dry_run: bool) -> dict[str, Any]:
    return {
        "ok": report.whole or dry_run, "dry_run": dry_run, "address": report.address,
        "folders": [_folder_document(one, dry_run) for one in report.folders],
        "lost": report.lost, "more_notes": report.more_notes,
        "notes": [{"folder": one.folder, "message": one.label, "rule": one.rule, "text": one.text, "lost": one.lost}
                  for one in report.notes]}


def _folder_document(one: FolderReport, dry_run: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"source": one.source, "folder": one.target, "messages": one.messages, "octets": one.octets,
                                "to_import" if dry_run else "imported": one.imported, "already": one.already, "lost": one.lost}
    if one.proof is not None:
        document |= {"stored": one.proof.messages, "stored_octets": one.proof.octets, "removed": one.proof.removed,
                     "different": one.proof.different, "source_hash": one.proof.source_hash,
                     "stored_hash": one.proof.stored_hash, "equal": one.proof.equal}
    return document


def _lines(report: ImportReport, dry_run: bool) -> list[str]:
    headers = [say("origine", "source"), say("dossier", "folder"), "messages", say("octets", "octets"),
               say("à importer", "to import") if dry_run else say("importés", "imported"), say("déjà", "already"),
               say("laissés", "left out")]
    if not dry_run:
        headers += [say("relus", "read again"), say("empreinte", "hash"), say("égal", "equal")]
    rows: list[list[object]] = []
    for one in report.folders:
        row: list[object] = [one.source, one.target, one.messages, one.octets, one.imported, one.already, one.lost]
        if one.proof is not None:
            row += [one.proof.messages, one.proof.stored_hash[:16], say("oui", "yes") if one.proof.equal else say("NON", "NO")]
        rows.append(row)
    lines = table(headers, rows)
    for note in report.notes[:SHOWN_NOTES]:
        lines += [" ".join(part for part in (note.folder, note.label, ":", note.text, f"[{note.rule}]") if part)]
    more = report.more_notes + max(0, len(report.notes) - SHOWN_NOTES)
    if more:
        lines.append(say(f"et {more} autres remarques (--json en montre 1000)", f"and {more} more remarks (--json shows 1000)"))
    lines.append(_verdict(report, dry_run))
    return lines


def _verdict(report: ImportReport, dry_run: bool) -> str:
    if dry_run:
        return say("rien n'a été fait", "nothing was done")
    if report.whole:
        return say("tout est là : nombres et empreintes SHA-256 égaux", "all is there: counts and SHA-256 equal")
    return say(f"import incomplet : {report.lost} laissé(s) ou différents, voir ci-dessus [IMPORT-INCOMPLET]",
               f"import incomplete: {report.lost} left out or different, see above [IMPORT-INCOMPLET]")
