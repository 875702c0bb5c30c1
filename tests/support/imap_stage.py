"""The stage of IMAP tests: real SQLite stores in a folder, services, an endpoint, one mailbox and its login.

Messages of the stage are synthetic: `MESSAGES` by name. Nothing here listens on the network.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mssante.endpoints.imap import ImapEndpoint
from mssante.model.mailbox import Folder, Mailbox, MailboxType
from mssante.model.message import Flags, NewMessage
from mssante.protocol.mime.imapview import facts
from mssante.services.doorbell import Doorbell
from mssante.services.imap.session import ImapServices
from mssante.services.imap.settings import ImapSettings
from mssante.services.mailroom import Mailroom
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Account, Filing, NewMailbox, Stores, Tx
from mssante.storage.open import StorageOptions, open_stores

ADDRESS = "praticien@hopital.mssante.fr"
PASSWORD = "correct horse"
NOW = datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC)
PREFIX = b"Received: from mta.example (mta.example [192.0.2.7])\r\n\tby imap.example; Sun, 01 Mar 2026 12:30:45 +0000\r\n"


def simple(subject: str, sender: str, text: str, *, day: int = 1) -> bytes:
    """Give a plain message."""
    return (f"Date: Sun, {day:02d} Mar 2026 10:00:00 +0100\r\nFrom: {sender}\r\nTo: Praticien <{ADDRESS}>\r\n"
            f"Subject: {subject}\r\nMessage-ID: <{day}.{len(text)}@example>\r\nMIME-Version: 1.0\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n").encode()


_MIXED = (b"Date: Mon, 02 Mar 2026 09:00:00 +0100\r\nFrom: =?utf-8?q?Laboratoire_d=27analyses?= <labo@labo.mssante.fr>\r\n"
          b"To: " + ADDRESS.encode() + b"\r\nCc: secretariat@hopital.mssante.fr\r\nSubject: =?utf-8?q?R=C3=A9sultats?=\r\n"
          b"Message-ID: <mixed@example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=limit\r\n\r\n"
          b"preamble\r\n--limit\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
          b"Content-Transfer-Encoding: quoted-printable\r\n\r\nBonjour, r=E9sultat joint.\r\n"
          b"--limit\r\nContent-Type: application/octet-stream; name=data.bin\r\nContent-Transfer-Encoding: base64\r\n"
          b"Content-Disposition: attachment; filename=data.bin\r\n\r\nAAECAwQ=\r\n"
          b"--limit\r\nContent-Type: message/rfc822\r\n\r\nFrom: inner@example\r\nSubject: dedans\r\n\r\ninner text\r\n"
          b"--limit--\r\n")

MESSAGES: dict[str, bytes] = {
    "hello": simple("Bonjour", "Alpha <alpha@un.mssante.fr>", "Un premier message."),
    "second": simple("Compte rendu", "Beta <beta@deux.mssante.fr>", "Deuxième message, été à la mer.", day=2),
    "third": simple("Rendez-vous", "Gamma <gamma@trois.mssante.fr>", "Troisième et dernier.", day=3),
    "mixed": _MIXED,
    "large": simple("Volumineux", "Delta <delta@quatre.mssante.fr>", "0123456789" * 30_000, day=4),
}


class PasswordTable:
    """Authenticator of tests: one password for every account of the store."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Give the account when the password is right."""
        found = await self._stores.database.read(lambda tx: self._stores.accounts.account_by_login(tx, login))
        return found if password == PASSWORD else None


class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Give the instant of the stage."""
        return NOW

    def monotonic(self) -> float:
        """Give zero."""
        return 0.0


@dataclass(slots=True)
class Stage:
    """Everything that an IMAP test acts on."""

    stores: Stores
    services: ImapServices
    endpoint: ImapEndpoint
    executor: ThreadPoolExecutor
    mailbox: Mailbox

    async def folder(self, name: str) -> Folder:
        """Give a folder of the mailbox."""
        found = await self.stores.database.read(lambda tx: self.stores.folders.of_mailbox(tx, self.mailbox.id))
        return next(folder for folder in found if folder.name == name)

    async def deliver(self, folder: str, name: str, flags: str = "") -> int:
        """File a message of MESSAGES as an operator would (prefix, doorbell): give its UID."""
        return await self.deliver_octets(folder, MESSAGES[name], flags)

    async def deliver_octets(self, folder: str, body: bytes, flags: str = "", prefix: bytes = PREFIX) -> int:
        """Same, for octets."""
        sink = BodySink(self.stores.blobs, self.executor, self.services.settings.inline_bytes)
        sink.add((body,))
        staged, _ = await sink.seal()
        target = await self.folder(folder)
        message = NewMessage(staged, prefix, facts(body, prefix=prefix), "0" * 26, NOW)
        mask = sum(Flags[word.upper()] for word in flags.split())
        (done,) = await self.services.mailroom.accept((Acceptance(message, (Filing(target.id, mask),)),))
        return done.filed[0].uid

    async def close(self) -> None:
        """End everything."""
        await self.endpoint.drain()
        self.stores.close()
        self.executor.shutdown()


def open_test_stores(folder: Path) -> Stores:
    """Open real stores in a folder."""
    return open_stores(f"sqlite:///{folder / 'mail.db'}", folder / "blobs", StorageOptions(readers=2))


async def build(folder: Path, settings: ImapSettings | None = None, **endpoint: object) -> Stage:
    """Build a stage with one mailbox, `ADDRESS`, whose login has `PASSWORD`."""
    stores = open_test_stores(folder)
    doorbell = Doorbell()
    executor = ThreadPoolExecutor(2)

    def provision(tx: Tx) -> Mailbox:
        (mailbox,) = stores.accounts.create_mailboxes(tx, [NewMailbox(ADDRESS, MailboxType.PER, NOW)])
        stores.accounts.create_accounts(tx, [(ADDRESS, "unused", (mailbox.id,))])
        return mailbox

    mailbox = await stores.database.write(provision)
    services = ImapServices.build(
        stores, Mailroom(stores, doorbell), PasswordTable(stores), doorbell=doorbell, clock=FixedClock(),
        executor=executor, settings=settings or ImapSettings(hostname="imap.example", inline_bytes=131_072))
    return Stage(stores, services, ImapEndpoint(services, **endpoint), executor, mailbox)  # type: ignore[arg-type]
