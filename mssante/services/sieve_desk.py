"""The users' scripts: list, read, check, write, activate, rename, remove; and the managed script of out-of-office.

- A script is compiled before it is written: none that cannot run is ever stored by this way. Quotas: scripts, octets of each.
- Each change is one transaction with its journal event: who, which name, the SHA-256 of the content; never the content.
- The active script cannot be removed (RFC 5804 §2.10). Names of RFC 5804 §1.6; managed ones are not seen here.
Called by the ManageSieve door and the command line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.protocol.sieve.compile import Script, compile_script
from mssante.protocol.sieve.faults import Limits
from mssante.storage.filters import ABSENCE, MANAGED, SieveScript
from mssante.storage.interfaces import Stores, Tx

MAX_NAME = 128
MAX_TEXT = 8_000
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class DeskRule(StrEnum):
    """Why a change is refused; the ManageSieve door turns them into response codes (RFC 5804 §1.3)."""

    NAME = "SIEVE-NOM"
    MISSING = "SIEVE-ABSENT"
    EXISTS = "SIEVE-EXISTE"
    ACTIVE = "SIEVE-ACTIF"
    COUNT = "SIEVE-NOMBRE"
    SIZE = "SIEVE-TAILLE"


class DeskFault(InputFault):
    """A change that is refused."""

    def __init__(self, rule: DeskRule, french: str, english: str) -> None:
        super().__init__(say(french, english), rule=rule)
        self.desk_rule = rule


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """scripts: of one mailbox at most; redirects: `redirect` is allowed."""

    limits: Limits
    scripts: int = 20
    redirects: bool = False


@dataclass(frozen=True, slots=True)
class Absence:
    """When, and what is told. since: included; until: excluded; aware."""

    since: datetime
    until: datetime
    text: str
    days: int = 7


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes the scripts of which mailbox. via: managesieve, cli."""

    mailbox: Mailbox
    who: str
    via: str


def check_name(name: str) -> str:
    """Give the name back. Raises DeskFault (`SIEVE-NOM`)."""
    if not name or len(name) > MAX_NAME or _CONTROL.search(name):
        raise DeskFault(DeskRule.NAME, f"nom de script vide, de plus de {MAX_NAME} caractères ou avec un caractère de contrôle",
                        f"script name empty, over {MAX_NAME} characters or with a control character")
    return name


def absence_script(absence: Absence) -> bytes:
    """Give the managed script: between two instants, one vacation (RFC 5260, RFC 5230)."""
    since, until = (at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00") for at in (absence.since, absence.until))
    text = "".join("." + line if line.startswith(".") else line for line in absence.text.replace("\r\n", "\n").splitlines(True))
    parts = 'currentdate :zone "+0000" :comparator "i;octet" :value'
    return (f'require ["vacation", "date", "relational"];\nif allof({parts} "ge" "iso8601" "{since}",\n'
            f'         {parts} "lt" "iso8601" "{until}") {{\n  vacation :days {absence.days} :handle "absence-{since}" text:\n'
            f"{text.rstrip()}\n.\n;\n}}\n").encode()


class ScriptDesk:
    """Reads and changes scripts."""

    def __init__(self, stores: Stores, clock: Clock, settings: DeskSettings,
                 changed: Callable[[int], Awaitable[None]] | None = None) -> None:
        """changed: told after each change in this process."""
        self._stores = stores
        self._clock = clock
        self.settings = settings
        self._changed = changed

    def check(self, content: bytes) -> Script:
        """Compile. Raises SieveFault with its line, DeskFault (`SIEVE-TAILLE`)."""
        self._fits(len(content))
        return compile_script(content, self.settings.limits, redirects=self.settings.redirects)

    def _fits(self, octets: int) -> None:
        most = self.settings.limits.script_octets
        if octets > most:
            raise DeskFault(DeskRule.SIZE, f"script de plus de {most} octets", f"script of over {most} octets")

    async def all(self, mailbox: Mailbox) -> list[SieveScript]:
        """Give the user's scripts by name."""
        found = await self._stores.database.read(lambda tx: self._stores.filters.scripts(tx, mailbox.id))
        return [one for one in found if not one.name.startswith(MANAGED)]

    async def get(self, mailbox: Mailbox, name: str) -> SieveScript:
        """Give one. Raises DeskFault (`SIEVE-ABSENT`)."""
        return _named(await self.all(mailbox), name)

    async def absence(self, mailbox: Mailbox) -> SieveScript | None:
        """Give the managed script of out-of-office."""
        found = await self._stores.database.read(lambda tx: self._stores.filters.scripts(tx, mailbox.id))
        return next((one for one in found if one.name == ABSENCE), None)

    async def room(self, mailbox: Mailbox, name: str, octets: int) -> None:
        """Raise DeskFault when a script of this size has no room (HAVESPACE, RFC 5804 §2.5)."""
        check_name(name)
        self._fits(octets)
        self._counts(await self.all(mailbox), name)

    def _counts(self, scripts: list[SieveScript], name: str) -> None:
        if len(scripts) >= self.settings.scripts and all(one.name != name for one in scripts):
            raise DeskFault(DeskRule.COUNT, f"déjà {len(scripts)} scripts", f"{len(scripts)} scripts already")

    async def put(self, author: Author, name: str, content: bytes) -> None:
        """Write a script; it stays active when it was. Raises SieveFault, DeskFault."""
        check_name(name)
        self.check(content)

        def unit(tx: Tx, scripts: list[SieveScript]) -> None:
            self._counts(scripts, name)
            active = any(one.name == name and one.active for one in scripts)
            self._stores.filters.put(tx, author.mailbox.id, SieveScript(name, content, active, self._clock.now()))

        await self._change(author, "put", name, unit, digest=hashlib.sha256(content).hexdigest())

    async def activate(self, author: Author, name: str) -> None:
        """Make a script the active one, none when the name is empty. Raises DeskFault."""
        def unit(tx: Tx, scripts: list[SieveScript]) -> None:
            if name:
                _named(scripts, name)
            self._stores.filters.activate(tx, author.mailbox.id, name, self._clock.now())

        await self._change(author, "activate", name, unit)

    async def delete(self, author: Author, name: str) -> None:
        """Remove a script that is not active. Raises DeskFault."""
        def unit(tx: Tx, scripts: list[SieveScript]) -> None:
            if _named(scripts, name).active:
                raise DeskFault(DeskRule.ACTIVE, "le script actif ne s'efface pas", "the active script cannot be removed")
            self._stores.filters.delete(tx, author.mailbox.id, name)

        await self._change(author, "delete", name, unit)

    async def rename(self, author: Author, old: str, new: str) -> None:
        """Rename; it stays active when it was. Raises DeskFault."""
        check_name(new)

        def unit(tx: Tx, scripts: list[SieveScript]) -> None:
            script = _named(scripts, old)
            if any(one.name == new for one in scripts):
                raise DeskFault(DeskRule.EXISTS, "ce nom est pris", "this name is taken")
            self._stores.filters.delete(tx, author.mailbox.id, old)
            self._stores.filters.put(tx, author.mailbox.id, SieveScript(new, script.content, script.active, self._clock.now()))

        await self._change(author, "rename", f"{old} -> {new}", unit)

    async def set_absence(self, author: Author, absence: Absence | None) -> None:
        """Write or remove the managed script; the user's own are not touched. Raises InputFault (`ABSENCE-DATES`, `-TEXTE`)."""
        content = b""
        if absence is not None:
            if absence.until <= absence.since:
                raise InputFault(say("la fin précède le début", "the end is before the beginning"), rule="ABSENCE-DATES")
            if not absence.text.strip() or len(absence.text) > MAX_TEXT or "\x00" in absence.text:
                raise InputFault(say(f"texte vide ou de plus de {MAX_TEXT} caractères",
                                     f"text empty or over {MAX_TEXT} characters"), rule="ABSENCE-TEXTE")
            content = absence_script(absence)
            self.check(content)

        def unit(tx: Tx, scripts: list[SieveScript]) -> None:
            if absence is None:
                self._stores.filters.delete(tx, author.mailbox.id, ABSENCE)
            else:
                self._stores.filters.put(tx, author.mailbox.id, SieveScript(ABSENCE, content, True, self._clock.now()))

        await self._change(author, "absence" if absence is not None else "absence_off", "", unit)

    async def _change(self, author: Author, action: str, name: str, unit: Callable[[Tx, list[SieveScript]], None], *,
                      digest: str = "") -> None:
        event = JournalEvent(JournalKind.FILTER_CHANGED, self._clock.now(), "", author.mailbox.address,
                             {"action": action, "name": name, "by": author.who, "via": author.via, "sha256": digest})

        def change(tx: Tx) -> None:
            found = self._stores.filters.scripts(tx, author.mailbox.id)
            unit(tx, [one for one in found if not one.name.startswith(MANAGED)])
            self._stores.journal.append(tx, [event])

        await self._stores.database.write(change)
        if self._changed is not None:
            await self._changed(author.mailbox.id)


def _named(scripts: list[SieveScript], name: str) -> SieveScript:
    found = next((one for one in scripts if one.name == name), None)
    if found is None:
        raise DeskFault(DeskRule.MISSING, "ce script n'existe pas", "there is no such script")
    return found
