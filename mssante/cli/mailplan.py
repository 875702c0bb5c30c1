"""Reads the CSV of `mssante mailbox import-csv` into a plan: what would be created, and what is wrong, line by line.

Columns, named by the first line, in any order: `type` and `address` are needed; `login`, `password`, `holder_id` and
`display_name` may stand. Separator `,` or `;`; UTF-8, with or without a mark. At most 16 MiB and 100,000 lines.
Pure: what exists already is given by the caller. Nothing is created when one line is wrong.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.mailbox import MailboxType

MAX_OCTETS = 16 * 1024 * 1024
MAX_LINES = 100_000
NEEDED = ("type", "address")
COLUMNS = (*NEEDED, "login", "password", "holder_id", "display_name")
_LOGIN = re.compile(r"[^\s\x00-\x1f\x7f]{1,254}\Z")
_HOLDER = re.compile(r"[0-9A-Za-z]{0,20}\Z")


@dataclass(frozen=True, slots=True)
class PlannedMailbox:
    """One mailbox to create. generated: its password was made here and must be handed over."""

    row: int
    address: str
    type: MailboxType
    login: str = ""
    password: str = ""
    holder_id: str = ""
    display_name: str = ""
    generated: bool = False


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with one line of the file, and what to do."""

    row: int
    text: str
    remedy: str

    def __str__(self) -> str:
        return say(f"ligne {self.row}", f"line {self.row}") + f" : {self.text} -> {self.remedy}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file asks for. Nothing is created unless `problems` is empty."""

    boxes: tuple[PlannedMailbox, ...]
    problems: tuple[LineProblem, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What lines are judged against. generate: a login without password gets one made here."""

    hosted: frozenset[str]
    generate: bool = False


def _fault(fr: str, en: str, remedy_fr: str, remedy_en: str) -> InputFault:
    return InputFault(say(fr, en), rule="BAL-CSV", remedy=say(remedy_fr, remedy_en))


def _rows(raw: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Give (line number, cells by column). Raises InputFault `BAL-CSV` when the file or its header cannot be used."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        row = raw.count(b"\n", 0, exc.start) + 1
        raise _fault(f"ligne {row} : ce n'est pas de l'UTF-8", f"line {row}: not UTF-8", "enregistrez le fichier en UTF-8",
                     "save the file as UTF-8") from exc
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",", strict=True)
    try:
        names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        if not set(NEEDED) <= set(names) or set(names) - set(COLUMNS) or len(set(names)) != len(names):
            raise _fault(f"première ligne : {', '.join(names) or 'vide'}", f"first line: {', '.join(names) or 'empty'}",
                         f"écrivez les colonnes {', '.join(NEEDED)}, et au besoin {', '.join(COLUMNS[2:])}",
                         f"write columns {', '.join(NEEDED)}, and if needed {', '.join(COLUMNS[2:])}")
        reader.fieldnames = names
        for count, cells in enumerate(reader, 1):
            if count > MAX_LINES:
                raise _fault(f"plus de {MAX_LINES} lignes", f"over {MAX_LINES} lines", "découpez le fichier", "split the file")
            values = {name: value.strip() for name, value in cells.items() if isinstance(name, str) and value is not None}
            if None in cells or len(values) < len(names):
                values = {"": "cells"}
            yield reader.line_num, values
    except csv.Error as exc:
        raise _fault(f"ligne {reader.line_num} : CSV illisible", f"line {reader.line_num}: not CSV",
                     "refermez les guillemets", "close the quotes") from exc


def read_plan(raw: bytes, rules: Rules) -> Plan:
    """Read the file into a plan. Raises InputFault `BAL-CSV` when it cannot be read line by line at all."""
    boxes: list[PlannedMailbox] = []
    problems: list[LineProblem] = []
    seen: dict[str, int] = {}
    for row, values in _rows(raw):
        if not any(values.values()):
            continue  # an empty line
        box = _box(row, values, rules)
        if isinstance(box, PlannedMailbox):
            box = _unseen(box, seen) or box
        if isinstance(box, LineProblem):
            problems.append(box)
        else:
            boxes.append(box)
    if not boxes and not problems:
        raise _fault("fichier sans boîte", "the file holds no mailbox", "ajoutez une ligne par boîte", "add one line a mailbox")
    return Plan(tuple(boxes), tuple(problems))


def _box(row: int, values: dict[str, str], rules: Rules) -> PlannedMailbox | LineProblem:
    if "" in values:
        return LineProblem(row, say("nombre de cellules différent de la première ligne", "cells do not match the first line"),
                           say("ajoutez ou retirez un séparateur", "add or remove a separator"))
    kind = values["type"].upper()
    if kind not in set(MailboxType):
        return LineProblem(row, f"type = {values['type'][:20]!r}", say("écrivez ", "write ") + ", ".join(MailboxType))
    try:
        address = parse_envelope_address(values["address"])
    except InputFault as fault:
        return LineProblem(row, f"address = {values['address'][:60]!r}", fault.remedy or say("utilisez nom@domaine",
                                                                                          "use name@domain"))
    if address.domain not in rules.hosted:
        return LineProblem(row, say(f"le domaine {address.domain} n'est pas hébergé ici", f"{address.domain} is not hosted here"),
                           say("ajoutez-le à domains.toml ou corrigez l'adresse", "add it to domains.toml or mend the address"))
    return _with_login(row, values, rules, PlannedMailbox(row, address.key, MailboxType(kind)))


def _with_login(row: int, values: dict[str, str], rules: Rules, box: PlannedMailbox) -> PlannedMailbox | LineProblem:
    login, password, holder = (values.get(name, "") for name in ("login", "password", "holder_id"))
    if not _HOLDER.match(holder):
        return LineProblem(row, f"holder_id = {holder[:30]!r}", say("RPPS, FINESS ou SIRET, sans espace",
                                                                   "RPPS, FINESS or SIRET, without space"))
    if login and not _LOGIN.match(login):
        return LineProblem(row, f"login = {login[:60]!r}", say("sans espace, 254 caractères au plus",
                                                              "no space, 254 characters at most"))
    if password and not login:
        return LineProblem(row, say("mot de passe sans login", "password without login"),
                           say("ajoutez le login", "add the login"))
    if login and not password and not rules.generate:
        return LineProblem(row, say("login sans mot de passe", "login without password"),
                           say("ajoutez-le, ou demandez --passwords-out FICHIER", "add it, or ask for --passwords-out FILE"))
    made = login and not password
    return PlannedMailbox(row, box.address, box.type, login.lower(), secrets.token_urlsafe(12) if made else password, holder,
                          values.get("display_name", "")[:200], bool(made))


def _unseen(box: PlannedMailbox, seen: dict[str, int]) -> LineProblem | None:
    """Note what a line claims; give the problem when an earlier line claims it too."""
    for name, value in (("address", box.address), ("login", box.login)):
        key = f"{name} {value}"
        if value and key in seen:
            first = seen[key]
            return LineProblem(box.row, say(f"{name} {value} déjà ligne {first}", f"{name} {value} stands on line {first}"),
                               say("gardez une seule des deux lignes", "keep one of the two lines"))
        seen[key] = box.row
    return None


def existing_problems(plan: Plan, addresses: frozenset[str], logins: frozenset[str]) -> tuple[LineProblem, ...]:
    """Give the problems of lines whose address or login exists in the database already."""
    problems = []
    for box in plan.boxes:
        for name, value, known in (("address", box.address, addresses), ("login", box.login, logins)):
            if value and value in known:
                problems.append(LineProblem(box.row, say(f"{name} {value} existe déjà", f"{name} {value} exists already"),
                                            say("retirez cette ligne", "remove this line")))
    return tuple(problems)
