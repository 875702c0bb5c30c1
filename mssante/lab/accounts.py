"""The mailboxes that a lab is built with: the named ones, `--accounts N`, and those of `--accounts-file`.

- Passwords are random and stand only in `lab.json` (mode 0600); those of a CSV are the caller's.
- The CSV has the header `operator,local_part,type,password`; every bad line is named with its number and its remedy.
- An application mailbox (APP) of the plan has a certificate and no password (F6.4); it is created without a login.
"""

from __future__ import annotations

import csv
import io
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from mssante.errors import InputFault
from mssante.lab.plan import OPERATORS, OperatorPlan
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.mailbox import MailboxType

MAX_GENERATED = 9999
MAX_CSV_BYTES = 16 * 1024 * 1024
CSV_COLUMNS = ("operator", "local_part", "type", "password")


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox of the lab as `lab.json` tells it; paths are relative to the lab's folder."""

    address: str
    type: MailboxType
    login: str = ""
    password: str = field(default="", repr=False)
    holder_id: str = ""
    display_name: str = ""
    service: str = ""
    certificate: str = ""
    key: str = ""
    smime_certificate: str = ""
    smime_key: str = ""


@dataclass(frozen=True, slots=True)
class ExtraAccounts:
    """What the command line asks for besides the plan: `generated` per operator, and rows by operator name."""

    generated: int = 0
    rows: dict[str, tuple[Account, ...]] = field(default_factory=dict)


def new_password() -> str:
    """Give a random password of 16 characters."""
    return secrets.token_urlsafe(12)


def planned_accounts(plan: OperatorPlan) -> tuple[Account, ...]:
    """Give the named mailboxes of an operator, each with a new password except the APP ones."""
    accounts = []
    for wanted in plan.accounts:
        address = f"{wanted.local_part}@{plan.domain}"
        machine = wanted.type is MailboxType.APP
        accounts.append(Account(address, wanted.type, "" if machine else address, "" if machine else new_password(),
                                wanted.holder_id, wanted.display_name, wanted.service))
    return tuple(accounts)


def all_accounts(plan: OperatorPlan, extra: ExtraAccounts) -> tuple[Account, ...]:
    """Give every mailbox of an operator in the contract's order; raises InputFault (`LAB-ACCOUNTS`) on a double."""
    if not 0 <= extra.generated <= MAX_GENERATED:
        raise InputFault(say(f"--accounts {extra.generated} est hors limites",
                             f"--accounts {extra.generated} is out of range"), rule="LAB-ACCOUNTS",
                         remedy=f"0 – {MAX_GENERATED}")
    generated = []
    for rank in range(1, extra.generated + 1):
        address = f"user{rank:04d}@{plan.domain}"
        generated.append(Account(address, MailboxType.PER, address, new_password(), "", f"Compte {rank:04d}"))
    accounts = (*planned_accounts(plan), *generated, *extra.rows.get(plan.name, ()))
    seen: set[str] = set()
    for account in accounts:
        key = account.address.lower()
        if key in seen:
            raise InputFault(say(f"la boîte {account.address} est demandée deux fois",
                                 f"mailbox {account.address} is asked for twice"), rule="LAB-ACCOUNTS",
                             remedy=say("retirez-la du CSV ou baissez --accounts",
                                        "remove it from the CSV or lower --accounts"))
        seen.add(key)
    return accounts


def _row(line: int, cells: dict[str, str | None]) -> tuple[str, Account]:
    values = {name: (cells.get(name) or "").strip() for name in CSV_COLUMNS}
    domains = {plan.name: plan.domain for plan in OPERATORS}
    where = say(f"fichier des comptes, ligne {line}", f"accounts file, line {line}")
    one_of = say("un de : ", "one of: ")
    if values["operator"] not in domains:
        raise InputFault(say(f"{where} : opérateur inconnu {values['operator']!r}",
                             f"{where}: unknown operator {values['operator']!r}"), rule="LAB-ACCOUNTS",
                         remedy=one_of + ", ".join(domains))
    if values["type"] not in list(MailboxType):
        raise InputFault(say(f"{where} : type de boîte inconnu {values['type']!r}",
                             f"{where}: unknown mailbox type {values['type']!r}"), rule="LAB-ACCOUNTS",
                         remedy=one_of + ", ".join(MailboxType))
    if not values["password"]:
        raise InputFault(say(f"{where} : pas de mot de passe", f"{where}: no password"), rule="LAB-ACCOUNTS",
                         remedy=say("remplissez la quatrième colonne", "fill the fourth column"))
    try:
        address = str(parse_envelope_address(f"{values['local_part']}@{domains[values['operator']]}"))
    except InputFault as fault:
        raise InputFault(say(f"{where} : partie locale {values['local_part']!r} inutilisable",
                             f"{where}: local part {values['local_part']!r} is not usable"), rule="LAB-ACCOUNTS",
                         remedy=fault.public) from fault
    return values["operator"], Account(address, MailboxType(values["type"]), address, values["password"], "",
                                       values["local_part"])


def parse_accounts_csv(text: str) -> dict[str, tuple[Account, ...]]:
    """Read the CSV; give the rows by operator name. Raises InputFault (`LAB-ACCOUNTS`) naming line and remedy."""
    reader = csv.DictReader(io.StringIO(text))
    if tuple(name.strip() for name in reader.fieldnames or ()) != CSV_COLUMNS:
        raise InputFault(say("fichier des comptes : l'en-tête n'est pas celui attendu",
                             "accounts file: the header is not the expected one"), rule="LAB-ACCOUNTS",
                         remedy=say("première ligne : ", "first line: ") + ",".join(CSV_COLUMNS))
    rows: dict[str, list[Account]] = {}
    try:
        for line, cells in enumerate(reader, start=2):
            name, account = _row(line, cells)
            rows.setdefault(name, []).append(account)
    except csv.Error as exc:
        raise InputFault(say(f"fichier des comptes, ligne {reader.line_num} : ce n'est pas du CSV",
                             f"accounts file, line {reader.line_num}: not CSV"), detail=str(exc),
                         rule="LAB-ACCOUNTS") from exc
    return {name: tuple(accounts) for name, accounts in rows.items()}


def read_accounts_file(path: Path) -> dict[str, tuple[Account, ...]]:
    """Read a CSV file of at most 16 MiB, UTF-8; raises InputFault (`LAB-ACCOUNTS`)."""
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise InputFault(say("fichier des comptes trop gros", "accounts file is too large"), rule="LAB-ACCOUNTS",
                             remedy=say("au plus 16 Mio", "at most 16 MiB"))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise InputFault(say(f"le fichier des comptes {path} ne peut être lu",
                             f"accounts file {path} cannot be read"), detail=str(exc), rule="LAB-ACCOUNTS") from exc
    except UnicodeDecodeError as exc:
        raise InputFault(say(f"le fichier des comptes {path} n'est pas en UTF-8",
                             f"accounts file {path} is not UTF-8"), rule="LAB-ACCOUNTS") from exc
    return parse_accounts_csv(text)
