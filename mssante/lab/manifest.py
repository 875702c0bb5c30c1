"""`lab.json`: the contract between a lab and the programs that use it.

- Written by `mssante.lab.build` (whole) and by the supervisor (process ids), atomically and with mode 0600: it holds the
  passwords. Keys that stand in LAB.md keep their name and meaning; paths are relative to the lab's folder.
- `Lab` is the typed view used by our own commands; it never invents a value that the file does not hold.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mssante.errors import InputFault
from mssante.lab.accounts import Account
from mssante.lab.files import write_atomic
from mssante.lab.plan import DOORS
from mssante.lang import say
from mssante.model.mailbox import MailboxType

FILE_NAME = "lab.json"
MAX_BYTES = 64 * 1024 * 1024
_OPTIONAL = ("login", "password", "holder_id", "display_name", "service", "certificate", "key", "smime_certificate",
             "smime_key")


def account_document(account: Account) -> dict[str, str]:
    """Give the `accounts` entry of a mailbox: only what it has; `rpps` stands beside a professional's holder id."""
    document = {"address": account.address, "type": account.type.value}
    document.update({name: getattr(account, name) for name in _OPTIONAL if getattr(account, name)})
    if account.type is MailboxType.PER and account.holder_id:
        document["rpps"] = account.holder_id
    return document


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """One of `operators`. doors: `host:port` by door name (URL parts removed); pid None when it is stopped."""

    name: str
    domain: str
    config: Path
    pid: int | None
    doors: dict[str, str]
    accounts: tuple[Account, ...] = field(repr=False)

    def address(self, door: str) -> tuple[str, int]:
        """Give (host, port) of a door."""
        host, _, port = self.doors[door].rpartition(":")
        return host, int(port)

    def account(self, address: str) -> Account | None:
        """Give the mailbox of that address, or None."""
        return next((one for one in self.accounts if one.address.lower() == address.lower()), None)


def _bare(value: str) -> str:
    """`https://127.0.0.1:20105/x` → `127.0.0.1:20105`."""
    return value.split("://", 1)[-1].split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab on disk."""

    folder: Path
    document: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Lab:
        """Read `folder/lab.json`; raises InputFault (`LAB-MISSING`, `LAB-MANIFEST`)."""
        path = folder / FILE_NAME
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InputFault(say(f"{path} est trop gros", f"{path} is too large"), rule="LAB-MANIFEST")
            document = json.loads(path.read_bytes())
        except OSError as exc:
            raise InputFault(say(f"pas de laboratoire dans {folder}", f"no lab in {folder}"), rule="LAB-MISSING",
                             remedy=f"mssante lab up {folder}") from exc
        except ValueError as exc:
            raise InputFault(say(f"{path} n'est pas du JSON", f"{path} is not JSON"), rule="LAB-MANIFEST",
                             remedy=f"mssante lab up {folder} --fresh") from exc
        if not isinstance(document, dict) or document.get("version") != 1:
            raise InputFault(say(f"{path} n'est pas un laboratoire de version 1", f"{path} is not a version 1 lab"),
                             rule="LAB-MANIFEST",
                             remedy=f"mssante lab up {folder} --fresh")
        return cls(folder.resolve(), document)

    def save(self) -> None:
        """Write the document back."""
        write_atomic(self.folder / FILE_NAME, json.dumps(self.document, indent=2, ensure_ascii=False).encode(),
                     private=True)

    def path(self, relative: str | Path) -> Path:
        """Give the absolute form of a path of the document."""
        return self.folder / relative

    def trust(self, key: str) -> str:
        """Give a value of `trust`; raises InputFault (`LAB-MANIFEST`)."""
        try:
            return str(self.document["trust"][key])
        except (KeyError, TypeError) as exc:
            raise InputFault(say(f"lab.json n'a pas trust.{key}", f"lab.json has no trust.{key}"), rule="LAB-MANIFEST") from exc

    @property
    def base_port(self) -> int:
        """The base that every port was counted from."""
        return int(self.document["base_port"])

    @property
    def operators(self) -> tuple[OperatorEntry, ...]:
        """The typed view of `operators`; raises InputFault (`LAB-MANIFEST`) when a key is missing."""
        try:
            return tuple(_operator(entry) for entry in self.document["operators"])
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise InputFault(say("lab.json : operators n'a pas la forme attendue",
                                 "lab.json: operators does not have the expected shape"), detail=repr(exc),
                             rule="LAB-MANIFEST", remedy=say("reconstruisez avec --fresh", "rebuild with --fresh")) from exc

    def operator(self, name: str) -> OperatorEntry:
        """Give one operator; raises InputFault (`LAB-MANIFEST`)."""
        for entry in self.operators:
            if entry.name == name:
                return entry
        raise InputFault(say(f"lab.json n'a pas d'opérateur {name}", f"lab.json has no operator {name}"), rule="LAB-MANIFEST")

    def set_pid(self, part: str, pid: int | None) -> None:
        """Change the process id of `infra`, of `hospital` or of an operator, in memory; `save` writes it."""
        for entry in self.document["operators"]:
            if entry["name"] == part:
                entry["pid"] = pid
        if part in ("infra", "hospital"):
            self.document[part]["pid"] = pid


def _operator(entry: dict[str, Any]) -> OperatorEntry:
    accounts = tuple(
        Account(one["address"], MailboxType(one["type"]), **{name: str(one[name]) for name in _OPTIONAL if name in one})
        for one in entry["accounts"])
    doors = {door: _bare(entry[door]) for door in (*DOORS, *(("mllp",) if "mllp" in entry else ()))}
    pid = entry.get("pid")
    return OperatorEntry(entry["name"], entry["domain"], Path(entry["config"]), int(pid) if pid else None, doors,
                         accounts)
