"""The stage of IMAP tests: real SQLite stores in a folder, services, an endpoint, one mailbox and its login.

Messages of the stage are synthetic: `MESSAGES` by name. Nothing here listens on the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from support.scram_client import RFC_ITERATIONS, RFC_PASSWORD, RFC_SALT, RFC_SERVER_NONCE

from mssante.clock import SystemClock
from mssante.endpoints.imap import ImapEndpoint
from mssante.endpoints.imap_login import LoginOffer
from mssante.model.mailbox import Folder, Mailbox, MailboxType
from mssante.model.message import Flags, NewMessage
from mssante.protocol.mime.imapview import facts
from mssante.protocol.sasl.base import TokenClaim, TokenRefusal, Verifier
from mssante.protocol.sasl.mechanisms import ALL, Circumstances
from mssante.protocol.sasl.scram import derive, read_verifier, write_verifier
from mssante.services.doorbell import Doorbell
from mssante.services.imap.session import ImapServices
from mssante.services.imap.settings import ImapSettings
from mssante.services.indexing import Indexer
from mssante.services.mailroom import Mailroom
from mssante.services.sasl import Caller
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Account, Filing, NewMailbox, Stores, Tx
from mssante.storage.open import StorageOptions, open_stores, open_text_index

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

_HTML = (b"Date: Mon, 02 Mar 2026 09:00:00 +0100\r\nFrom: labo@labo.mssante.fr\r\nSubject: Lettre\r\nMIME-Version: 1.0\r\n"
         b"Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
         b"<html><head><title>Titre</title><style>p { color: red }</style></head><body><!-- rien --><p>Bonjour <b>doc</b>teur,</p>\r\n"
         b"<p>voici le compte rendu&nbsp;: r=E9sultat &lt; 5.</p><script>alert(1)</script></body></html>\r\n")

_SEALED = (b"Date: Mon, 02 Mar 2026 09:00:00 +0100\r\nFrom: labo@labo.mssante.fr\r\nSubject: Secret\r\nMIME-Version: 1.0\r\n"
           b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n"
           b"Content-Transfer-Encoding: base64\r\n\r\nMIAGCSqGSIb3DQEHA6CA\r\n")

MESSAGES: dict[str, bytes] = {
    "hello": simple("Bonjour", "Alpha <alpha@un.mssante.fr>", "Un premier message."),
    "second": simple("Compte rendu", "Beta <beta@deux.mssante.fr>", "Deuxième message, été à la mer.", day=2),
    "third": simple("Rendez-vous", "Gamma <gamma@trois.mssante.fr>", "Troisième et dernier.", day=3),
    "mixed": _MIXED,
    "html": _HTML,
    "sealed": _SEALED,
    "large": simple("Volumineux", "Delta <delta@quatre.mssante.fr>", "0123456789" * 30_000, day=4),
}


CERTIFICATE = b"a client certificate in DER"  # mapped to ADDRESS by the stage's endpoint
END_POINT = bytes(range(32))  # channel binding data of the stage's server certificate
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


class PasswordTable:
    """Login desk of tests: one password, and one token, for every account of the store; no delay."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def _read(self, login: str) -> Account | None:
        return await self._stores.database.read(lambda tx: self._stores.accounts.account_by_login(tx, login))

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Give the account when the password is right."""
        found = await self._read(login)
        return found if password == PASSWORD else None

    async def verifier(self, login: str, caller: Caller) -> Verifier:
        """Give what is stored, or what fits no password."""
        found = await self._read(login)
        return (read_verifier(found.scram) if found else None) or Verifier(4096, b"unknown", bytes(32), bytes(32))

    async def proved(self, login: str, caller: Caller, *, verifier: str = "") -> Account | None:
        """Give the account."""
        return await self._read(login)

    async def disproved(self, login: str, caller: Caller) -> None:
        """Nothing is counted here."""

    async def token(self, claim: TokenClaim, caller: Caller) -> Account | TokenRefusal:
        """Give the account when the token is right."""
        found = await self._read(claim.authzid or ADDRESS)
        refusal = TokenRefusal(scope="imap", configuration="https://connexion.example/.well-known/openid-configuration")
        return found if found is not None and claim.token == TOKEN else refusal


def offer() -> LoginOffer:
    """Give how one logs in on the stage: all but tokens, with the nonce of RFC 7677 §3."""
    return LoginOffer(Circumstances(ALL, END_POINT, nonce=lambda: RFC_SERVER_NONCE),
                      lambda der, _peer: ADDRESS if der == CERTIFICATE else "")


class FixedClock:
    """A clock that stands still, unless it is told otherwise."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        """Give the instant of the stage."""
        return self.instant

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

    async def add_mailbox(self, address: str) -> Mailbox:
        """Create another mailbox, with a login of the same name that has `PASSWORD`."""
        def unit(tx: Tx) -> Mailbox:
            (mailbox,) = self.stores.accounts.create_mailboxes(tx, [NewMailbox(address, MailboxType.PER, NOW)])
            self.stores.accounts.create_accounts(tx, [(address, "unused", (mailbox.id,))])
            return mailbox

        return await self.stores.database.write(unit)

    async def add_account(self, login: str, addresses: Sequence[str]) -> Account:
        """Create a login that opens these mailboxes; a first one that is not there is created."""
        def unit(tx: Tx) -> Account:
            known = {box.address: box.id for box in self.stores.accounts.mailboxes_by_address(tx, addresses)}
            new = [NewMailbox(address, MailboxType.PER, NOW) for address in addresses if address not in known]
            known.update({box.address: box.id for box in self.stores.accounts.create_mailboxes(tx, new)})
            ids = tuple(known[address] for address in addresses)
            return self.stores.accounts.create_accounts(tx, [(login, "unused", ids)])[0]

        return await self.stores.database.write(unit)

    async def set_scram(self, login: str) -> None:
        """Give a login the verifier of the password of RFC 7677 §3."""
        verifier = derive(RFC_PASSWORD, RFC_SALT, RFC_ITERATIONS)
        assert verifier is not None
        await self.stores.database.write(lambda tx: self.stores.accounts.update_account(
            tx, login, secret_hash="unused", scram=write_verifier(verifier)))

    async def set_quota(self, address: str, octets: int, messages: int) -> None:
        """Set the quotas of a mailbox, as the command line does; the server has forgotten what it knew."""
        await self.stores.database.write(
            lambda tx: self.stores.accounts.set_quota(tx, address, octets=octets, messages=messages))
        self.services.registry.forget_mailboxes()

    async def switch_seen(self, folder: str, *, private: bool) -> None:
        """Make `\\Seen` of a folder private or shared, as the command line does from another process."""
        target = await self.folder(folder)
        modseq = await self.stores.database.write(lambda tx: self.stores.rights.set_seen_private(tx, target.id, private))
        self.services.doorbell.ring(target.id, modseq)  # as services/imap/outside.py does
        await asyncio.sleep(0)

    def indexer(self) -> Indexer:
        """Give what puts messages into the full-text index, which is empty at first."""
        assert self.services.texts is not None
        return Indexer(self.stores, self.services.texts, SystemClock())

    async def purge(self, folder: str) -> int:
        """Delete all tombstones of a folder: give how many."""
        target = await self.folder(folder)
        return await self.stores.database.write(
            lambda tx: self.stores.messages.purge_tombstones(tx, target.id, target.highest_modseq))

    async def close(self) -> None:
        """End everything."""
        await self.endpoint.drain()
        if self.services.texts is not None:
            self.services.texts.close()
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
        executor=executor, settings=settings or ImapSettings(hostname="imap.example", inline_bytes=131_072),
        texts=open_text_index(folder / "search"))
    return Stage(stores, services, ImapEndpoint(services, **{"offer": offer(), **endpoint}), executor, mailbox)  # type: ignore[arg-type]
