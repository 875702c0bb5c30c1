"""The CSV of mailboxes, as spreadsheets write it: reading with errors by line, writing that no spreadsheet takes for a formula.

- Columns are named by the first line, in any order; `address` is needed, `type` and `holder` for a mailbox to create. An
  empty cell leaves what is there; `-` empties a text. Separator `;` or `,`. UTF-8 with or without a mark; Windows-1252 is
  read, and told.
- `members`: logins with rights (`lea@x.fr:open,send@2026-12-31`), `aliases`: addresses; several in one cell, separated by
  spaces or semicolons (in quotes when `;` separates the columns). `login`: the login whose own mailbox it is, made when there
  is none; a file never holds a password.
- At most 16 MiB, 100,000 lines. A cell that begins like a formula is written behind an apostrophe, and read without it.
Pure: no clock, no store. Called by `services.mailbox_import` and the command line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.model.mailbox_rules import check_field, check_holder, check_people, check_type, octets_of
from mssante.services.delegations import MemberSpec, parse_members
from mssante.services.life import Edit, contact_of, structure_of

MAX_OCTETS = 16 * 1024 * 1024
MAX_LINES = 100_000
MAX_ALIASES = 50
MAX_NAME = 200
MAX_LOGIN = 254
RULE = "IMPORT-CSV"
COLUMNS = ("address", "type", "state", "holder", "display_name", "service", "description", "responsible", "structure", "red_list",
           "rank", "quota", "contact", "members", "aliases", "login")
STATES = (MailboxState.PROVISIONED, MailboxState.PUBLISHED, MailboxState.ACTIVE, MailboxState.SUSPENDED, MailboxState.CLOSED)
_YES, _NO = ("1", "oui", "yes", "true", "vrai"), ("0", "non", "no", "false", "faux")
_RISKY = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line: the rule, the words, what to do."""

    row: int
    rule: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line that reads well. None: the cell is empty. kind: None for a mailbox that exists."""

    row: int
    address: str
    kind: MailboxType | None
    state: MailboxState | None
    edit: Edit
    quota: int | None
    members: tuple[MemberSpec, ...]
    aliases: tuple[str, ...]
    login: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file: lines, problems, and what a reader should know of its encoding (empty: nothing)."""

    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]
    notice: str = ""


def _fault(fr: str, en: str, remedy: str) -> InputFault:
    return InputFault(say(fr, en), rule=RULE, remedy=remedy)


def decode(raw: bytes) -> tuple[str, str]:
    """Give the text of a file and a notice. Raises InputFault `IMPORT-CSV`."""
    if len(raw) > MAX_OCTETS:
        raise _fault(f"fichier de {len(raw)} octets", f"file of {len(raw)} octets", say("16 Mio au plus", "16 MiB at most"))
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4096]:
        raise _fault("fichier UTF-16 ou binaire, pas un CSV en UTF-8", "UTF-16 or binary file, not a CSV in UTF-8",
                     say("enregistrez-le en « CSV UTF-8 »", "save it as \u201cCSV UTF-8\u201d"))
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as exc:
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            row = raw.count(b"\n", 0, exc.start) + 1
            raise _fault(f"ligne {row} : ni UTF-8 ni Windows-1252", f"line {row}: neither UTF-8 nor Windows-1252",
                         say("enregistrez-le en « CSV UTF-8 »", "save it as \u201cCSV UTF-8\u201d")) from exc
    return text, say("fichier lu comme Windows-1252 (Excel) : vérifiez les accents du plan, ou enregistrez-le en « CSV UTF-8 »",
                     "file read as Windows-1252 (Excel): check the accents of the plan, or save it as \u201cCSV UTF-8\u201d")


def _rows(text: str) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Give (line number, cells by column), None for a line whose cells do not fit. Raises InputFault `IMPORT-CSV`."""
    if text[:4].lower() == "sep=":
        text = text.partition("\n")[2]  # a line that Excel writes
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",", strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if "address" not in names or set(names) - set(COLUMNS) or len(set(names)) != len(names):
            wrong = ", ".join(sorted(set(names) - set(COLUMNS)))[:200] or ", ".join(names)[:200]
            raise _fault(f"première ligne : {wrong}", f"first line: {wrong}", ", ".join(COLUMNS))
        for count, cells in enumerate(reader, 1):
            if count > MAX_LINES:
                raise _fault(f"plus de {MAX_LINES} lignes", f"over {MAX_LINES} lines",
                             say("découpez le fichier", "split the file"))
            if any(cell.strip() for cell in cells):
                fits = len(cells) == len(names)
                yield reader.line_num, dict(zip(names, map(_plain, cells), strict=True)) if fits else None
    except csv.Error as exc:
        raise _fault(f"ligne {reader.line_num} : CSV illisible", f"line {reader.line_num}: not CSV",
                     say("refermez les guillemets", "close the quotes")) from exc


def _plain(cell: str) -> str:
    text = cell.strip()
    return text[1:] if text[:1] == "'" and text[1:2] in _RISKY else text


def read_sheet(raw: bytes, hosted: frozenset[str], *, cab: bool) -> Sheet:
    """Read a file. hosted: our domains; cab: CAB mailboxes are allowed. Raises InputFault `IMPORT-CSV` when it cannot be read."""
    text, notice = decode(raw)
    lines: list[Line] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for row, cells in _rows(text):
        try:
            if cells is None:
                raise _fault("nombre de cellules différent de la première ligne", "cells do not match the first line",
                             say("ajoutez ou retirez un séparateur", "add or remove a separator"))
            line = _line(row, cells, hosted, cab=cab)
            claims = {one: one for one in (line.address, *line.aliases)}
            if line.login:
                claims[f"login {line.login}"] = line.login
            for claim, word in claims.items():
                if claim in seen:
                    raise InputFault(say(f"{word} est déjà ligne {seen[claim]}", f"{word} stands on line {seen[claim]}"),
                                     rule="IMPORT-DOUBLE", remedy=say("gardez une seule des deux", "keep one of the two"))
            seen.update(dict.fromkeys(claims, row))
            lines.append(line)
        except InputFault as fault:
            problems.append(Problem(row, fault.rule, fault.public, fault.remedy))
    if not lines and not problems:
        raise _fault("fichier sans boîte", "the file holds no mailbox",
                     say("ajoutez une ligne par boîte", "add one line a mailbox"))
    return Sheet(tuple(lines), tuple(problems), notice)


def _line(row: int, cells: dict[str, str], hosted: frozenset[str], *, cab: bool) -> Line:
    kind = _word(cells, "type", tuple(MailboxType), upper=True)
    state = _word(cells, "state", STATES)
    type_ = MailboxType(kind) if kind else None
    members = parse_members(cells.get("members", ""))
    aliases = tuple(dict.fromkeys(_address(one, hosted) for one in cells.get("aliases", "").replace(";", " ").split()))
    if len(aliases) > MAX_ALIASES:
        raise _fault(f"{len(aliases)} alias", f"{len(aliases)} aliases", say(f"{MAX_ALIASES} au plus", f"{MAX_ALIASES} at most"))
    if type_ is not None:
        check_type(type_, cab=cab)
        if members:
            check_people(type_)
    rank = cells.get("rank", "")
    if rank and not (rank.isascii() and rank.isdigit() and int(rank[:4]) <= 99 and len(rank) <= 2):
        raise _fault(f"rank = {rank[:20]!r}", f"rank = {rank[:20]!r}", say("de 1 à 99, 0 pour aucun", "1 to 99, 0 for none"))
    texts = {name: None if not (cell := cells.get(name, "")) else "" if cell == "-" else cell for name in (
        "holder", "display_name", "service", "description", "responsible", "structure", "contact")}
    red = _word(cells, "red_list", (*_YES, *_NO))
    edit = Edit(**texts, red_list=None if not red else red in _YES, rank=int(rank) if rank else None)
    quota = cells.get("quota", "")
    return Line(row, _address(cells.get("address", ""), hosted), type_, MailboxState(state) if state else None, edit,
                octets_of(quota) if quota else None, members, aliases, _login(cells.get("login", "")))


def _login(text: str) -> str:
    if len(text) > MAX_LOGIN or any(character.isspace() or not character.isprintable() for character in text):
        raise InputFault(say(f"login = {text[:40]!r}", f"login = {text[:40]!r}"), rule="COMPTE-NOM",
                         remedy=say(f"sans espace, {MAX_LOGIN} caractères au plus", f"no space, {MAX_LOGIN} characters at most"))
    return text.lower()


def check_edit(type_: MailboxType, edit: Edit) -> None:
    """Refuse what does not suit the type. Raises InputFault `TITULAIRE-…`, `BAL-…`."""
    if edit.holder:
        check_holder(type_, edit.holder)
    for name in ("service", "description", "responsible"):
        check_field(type_, name, getattr(edit, name) or "")
    structure_of(edit.structure or "")
    contact_of(edit.contact or "")
    name = edit.display_name or ""
    if len(name) > MAX_NAME or not all(character.isprintable() for character in name):
        raise InputFault(say("display_name : trop long, ou caractère de contrôle",
                             "display_name: too long, or a control character"),
                         rule="BAL-CHAMP", remedy=say(f"{MAX_NAME} caractères au plus, sur une ligne",
                                                      f"{MAX_NAME} characters at most, on one line"))


def _word(cells: dict[str, str], name: str, allowed: Sequence[str], *, upper: bool = False) -> str:
    word = cells.get(name, "").upper() if upper else cells.get(name, "").lower()
    if word and word not in [str(one) for one in allowed]:
        raise _fault(f"{name} = {word[:20]!r}", f"{name} = {word[:20]!r}", ", ".join(allowed))
    return word


def _address(text: str, hosted: frozenset[str]) -> str:
    try:
        found = parse_envelope_address(text)
    except InputFault as exc:
        raise InputFault(say(f"adresse illisible : {text[:60]!r}", f"not an address: {text[:60]!r}"), rule="BAL-ADRESSE",
                         remedy=say("utilisez nom@domaine", "use name@domain")) from exc
    if found.domain not in hosted:
        raise InputFault(say(f"le domaine {found.domain} n'est pas hébergé ici", f"{found.domain} is not hosted here"),
                         rule="BAL-DOMAINE", remedy="domains.toml")
    return found.key


def safe_cell(text: str) -> str:
    """Give a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in _RISKY else text


def write_rows(rows: Sequence[Sequence[str]], *, head: bool) -> str:
    """Give CSV lines, separated by `;`, cells made safe."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    if head:
        writer.writerow(COLUMNS)
    writer.writerows([[safe_cell(cell) for cell in row] for row in rows])
    return out.getvalue()
