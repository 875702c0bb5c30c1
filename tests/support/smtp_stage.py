"""The stage of SMTP tests: real stores, the real policies, a signed white list, doors on 127.0.0.1, and a client of octets.

Domains: `hopital.mssante.fr` is ours; `a` and `b` belong to two peers; `patient.mssante.fr` is the citizen domain (peer b).
`SmtpStage.open` opens a door, `Wire` speaks to it over a real socket with real TLS. Nothing sleeps; the clock is by hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from support.clock import FakeClock
from support.pki import build_igc, pem_files, signed_whitelist

from mssante.endpoints.listeners import Door
from mssante.endpoints.smtp_base import Intake, SmtpSettings, running_commands
from mssante.endpoints.smtp_verbs import HardenedSmtp
from mssante.endpoints.tls_context import server_context
from mssante.model.journal import JournalKind
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.message import StoredMessage
from mssante.services.accounts import Accounts, hash_secret
from mssante.services.addressbook import AddressBook
from mssante.services.doorbell import Doorbell
from mssante.services.evidence import Evidence
from mssante.services.mailroom import Mailroom
from mssante.services.privacy import Pseudonyms
from mssante.services.reception import AcceptContext, AcceptSettings, Reception
from mssante.services.reports import Reporter, ReportSettings
from mssante.services.submission import Submission, SubmissionSettings
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.storage.interfaces import JournalRow, NewMailbox, QueueItem, Stores, Tx
from mssante.storage.open import StorageOptions, open_stores
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy
from mssante.trust.signature import verify_list_signature
from mssante.trust.whitelist import Whitelist, parse_whitelist

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS = "hopital.mssante.fr"
CITIZEN = "patient.mssante.fr"
ALICE = f"alice@{OURS}"
BOB = f"bob@{OURS}"
PASSWORD = "juste assez long"
IGC = build_igc()
WAIT_SECONDS = 10.0
EXPIRY = timedelta(hours=48)


@lru_cache(maxsize=32)
def leaf(name: str) -> tuple[x509.Certificate, RSAPrivateKey]:
    """Give the certificate and key of a peer of the stage, by name: see `CERTIFICATES`."""
    return CERTIFICATES[name]()


CERTIFICATES = {
    "ours": lambda: IGC.leaf(f"mx.{OURS}", san=(f"mx.{OURS}", "localhost")),
    "a": lambda: IGC.leaf("mx.a.mssante.fr"),
    "b": lambda: IGC.leaf("mx.b.mssante.fr"),
    "unlisted": lambda: IGC.leaf("mx.c.mssante.fr"),
    "revoked": lambda: IGC.leaf("mx.r.mssante.fr", serial=0xDEAD),
    "expired": lambda: IGC.leaf("mx.x.mssante.fr", not_after=datetime(2026, 2, 1, tzinfo=UTC)),
    "early": lambda: IGC.leaf("mx.y.mssante.fr", not_before=datetime(2026, 4, 1, tzinfo=UTC)),
    "personnes": lambda: IGC.leaf("mx.p.mssante.fr", issuer="personnes"),
    "foreign": lambda: IGC.leaf("mx.a.mssante.fr", issuer="foreign", key=leaf("a")[1]),
}


@lru_cache(maxsize=1)
def whitelist() -> Whitelist:
    """Give the list in force: published, signed, verified and read as production does."""
    rows = [(OURS, leaf("ours")[0]), ("a.mssante.fr", leaf("a")[0]), ("b.mssante.fr", leaf("b")[0]),
            (CITIZEN, leaf("b")[0]), ("r.mssante.fr", leaf("revoked")[0]), ("x.mssante.fr", leaf("expired")[0]),
            ("y.mssante.fr", leaf("early")[0]), ("p.mssante.fr", leaf("personnes")[0])]
    raw = signed_whitelist(rows, NOW - timedelta(hours=1))
    return parse_whitelist(verify_list_signature(raw, IGC.signer_policy(), NOW).root, hashlib.sha256(raw).hexdigest())


def trust_snapshot() -> TrustSnapshot:
    """Give the trust of the stage."""
    return TrustSnapshot(IGC.anchors, IGC.crl_set([leaf("revoked")[0]]), PeerPolicy(), DnMode.CN_OU, timedelta(days=3),
                         whitelist())


def message(sender: str = "docteur@a.mssante.fr", *, text: str = "Bonjour.", extra: str = "") -> bytes:
    """Give a plain message with From `sender`, CRLF only, no dot at a line start."""
    return (f"{extra}Date: Sun, 01 Mar 2026 10:00:00 +0100\r\nFrom: {sender}\r\nTo: {ALICE}\r\nSubject: Essai\r\n"
            f"Message-ID: <essai@a.mssante.fr>\r\n\r\n{text}\r\n").encode()


class Wire:
    """A client that sends octets and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send octets as they are, in one write each."""
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.wait_for(self.writer.drain(), WAIT_SECONDS)

    async def reply(self) -> str:
        """Give the next whole reply, its lines joined by LF, without CRLF. Fails when it is not ASCII or not CRLF."""
        lines: list[str] = []
        while True:
            line = await asyncio.wait_for(self.reader.readline(), WAIT_SECONDS)
            assert line.endswith(b"\r\n"), f"closed or cut: {line!r} after {lines!r}"
            text = line[:-2].decode("ascii")
            lines.append(text)
            if text[3:4] != "-":
                return "\n".join(lines)

    async def ask(self, command: str) -> str:
        """Send a command, give its reply."""
        await self.send(command.encode() + b"\r\n")
        return await self.reply()

    async def asks(self, *commands: str) -> list[str]:
        """Ask one command after the other."""
        return [await self.ask(command) for command in commands]

    async def data(self, content: bytes) -> str:
        """Give the reply to DATA with this content, dot-stuffed here."""
        started = await self.ask("DATA")
        assert started.startswith("354 "), started
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        await self.send(stuffed + (b"" if content.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        return await self.reply()

    async def secure(self, certificate: str = "", helo: str = "mx.a.mssante.fr") -> str:
        """STARTTLS with a certificate of `CERTIFICATES` (or none), then EHLO; give the reply to EHLO."""
        assert (await self.ask("STARTTLS")).startswith("220 ")
        await self.upgrade(certificate)
        return await self.ask(f"EHLO {helo}")

    async def upgrade(self, certificate: str = "") -> None:
        """Shake hands."""
        await asyncio.wait_for(self.writer.start_tls(client_context(certificate), server_hostname="localhost"), WAIT_SECONDS)

    async def rest(self) -> bytes:
        """Give all that the server still says until it closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), WAIT_SECONDS)
        except (ConnectionError, ssl.SSLError):
            return b""

    async def closed(self) -> None:
        """Wait for the server to close without another word."""
        assert await self.rest() == b""

    async def leave(self) -> None:
        """Close our side."""
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), WAIT_SECONDS)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass


@lru_cache(maxsize=32)
def client_context(certificate: str = "") -> ssl.SSLContext:
    """Give a client context that shows a certificate of the stage (or none)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(*pem_files(Path(folder), certificate, *leaf(certificate)))
    return context


@lru_cache(maxsize=2)
def door_context(client_certificates: bool) -> ssl.SSLContext:
    """Give the TLS context of a door, as `app` makes it."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = pem_files(Path(folder), "ours", *leaf("ours"))
        anchors = Path(folder) / "anchors.pem"
        anchors.write_bytes(IGC.anchors_pem)
        return server_context(certificate, key, anchors if client_certificates else None)


@dataclass(slots=True)
class SmtpStage:
    """Everything that an SMTP test acts on."""

    stores: Stores
    executor: ThreadPoolExecutor
    clock: FakeClock
    trust: TrustState
    evidence: Evidence
    addresses: AddressBook
    doorbell: Doorbell
    mailroom: Mailroom
    reporter: Reporter
    accounts: Accounts
    context: AcceptContext
    reception: Reception
    submission: Submission
    mailboxes: dict[str, Mailbox]
    doors: list[Door] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    sessions: list[HardenedSmtp] = field(default_factory=list)

    # ------------------------------------------------------------ doors and clients

    async def open(self, policy: str = "smtp", *, total: int = 100, per_address: int = 100, **changes: Any) -> int:
        """Open a door (`smtp`, `submission`, `submissions`); `changes`: fields of SmtpSettings. Gives its port."""
        operator, implicit = policy == "smtp", policy == "submissions"
        tls = door_context(operator)
        settings = SmtpSettings(f"mx.{OURS}", tls, implicit_tls=implicit, offers_auth=not operator,
                                **{"message_bytes": 1 << 20, **changes})
        door = Door(policy, total=total, per_address=per_address)
        model = HardenedSmtp(self.reception if operator else self.submission, settings, door, asyncio.get_running_loop())

        def factory() -> Intake:
            self.sessions.append(model.spawn())
            return self.sessions[-1].intake()

        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=tls if implicit else None)
        self.doors.append(door)
        self.servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def connect(self, port: int, *, tls: bool = False) -> Wire:
        """Connect, TLS from the first octet when asked; the greeting is not read."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context() if tls else None)
        wire = Wire(reader, writer)
        self.wires.append(wire)
        return wire

    async def session(self, port: int, certificate: str = "a") -> Wire:
        """Give a greeted session inside TLS, ready for MAIL."""
        wire = await self.connect(port)
        assert (await wire.reply()).startswith("220 ")
        await wire.ask("EHLO mx.a.mssante.fr")
        assert (await wire.secure(certificate)).startswith("250"), "EHLO was refused inside TLS"
        return wire

    async def idle(self) -> None:
        """Wait until no session is left at any door."""
        async with asyncio.timeout(WAIT_SECONDS):
            while any(door.open_sessions for door in self.doors):
                await asyncio.sleep(0)

    # ------------------------------------------------------------ what is stored

    async def settled(self) -> None:
        """Wait for the commands under way, those whose connection is gone too."""
        while running_commands():
            await asyncio.wait(set(running_commands()), timeout=WAIT_SECONDS)

    async def inbox(self, address: str = ALICE) -> list[StoredMessage]:
        """Give the messages in the INBOX of a mailbox, in order."""
        folder = self.mailboxes[address].inbox_id

        def unit(tx: Tx) -> list[StoredMessage]:
            _, rows = self.stores.messages.snapshot(tx, folder)
            ids = [row.message_id for row in rows]
            found = {one.id: one for one in self.stores.messages.contents(tx, ids, with_body=True)}
            return [found[one] for one in ids]

        return await self.stores.database.read(unit)

    async def bodies(self, address: str = ALICE) -> list[bytes]:
        """Give the bodies in an INBOX as the peer sent them."""
        return [one.inline if one.inline is not None else self.stores.blobs.read(one.blob or "")
                for one in await self.inbox(address)]

    async def queue(self) -> list[QueueItem]:
        """Give the recipients in the queue."""
        return await self.stores.database.read(lambda tx: self.stores.queue.items(tx))

    async def journal(self, kind: JournalKind | None = None) -> list[JournalRow]:
        """Give the events, oldest first, all on disk."""
        await self.evidence.flush()
        rows = await self.stores.database.read(
            lambda tx: self.stores.journal.recent(tx, kind=kind.value if kind else None, limit=1000))
        return rows[::-1]

    async def set_state(self, address: str, state: MailboxState) -> None:
        """Change the state of a mailbox, seen at once."""
        await self.stores.database.write(lambda tx: self.stores.accounts.set_mailbox_state(tx, address, state))
        self.addresses.forget()

    async def close(self) -> None:
        """End everything."""
        for wire in self.wires:
            wire.writer.transport.abort()
        for server in self.servers:
            server.close()
        await self.idle()
        await self.evidence.flush()
        self.stores.close()
        self.executor.shutdown()


@lru_cache(maxsize=1)
def password_hash() -> str:
    """Give the stored form of `PASSWORD`, made once for all tests."""
    return hash_secret(PASSWORD)


_template: list[tuple[bytes, dict[str, Mailbox]]] = []


async def template() -> tuple[bytes, dict[str, Mailbox]]:
    """Give the octets of a database with two mailboxes, each with a login of its name and `PASSWORD`; made once."""
    if not _template:
        with tempfile.TemporaryDirectory() as name:
            stores = open_stores(f"sqlite:///{name}/mail.db", Path(name) / "blobs", StorageOptions(readers=1))

            def unit(tx: Tx) -> list[Mailbox]:
                made = stores.accounts.create_mailboxes(tx, [NewMailbox(one, MailboxType.PER, NOW) for one in (ALICE, BOB)])
                stores.accounts.create_accounts(tx, [(box.address, password_hash(), (box.id,)) for box in made])
                return made

            boxes = await stores.database.write(unit)
            stores.close()  # folds the log back into the file
            _template.append(((Path(name) / "mail.db").read_bytes(), {box.address: box for box in boxes}))
    return _template[0]


async def build(folder: Path, *, max_pages: int = 0, inline_limit: int = 64 * 1024, reserve: int = 0,
                check_ins: str = "reject", size_limits: dict[str, int] | None = None) -> SmtpStage:
    """Build the stage in a folder; no door is open yet."""
    octets, mailboxes = await template()
    (folder / "mail.db").write_bytes(octets)
    stores = open_stores(f"sqlite:///{folder / 'mail.db'}", folder / "blobs", StorageOptions(readers=1, max_pages=max_pages))
    executor, clock, doorbell = ThreadPoolExecutor(2), FakeClock(NOW), Doorbell()
    evidence = Evidence(stores, clock, Pseudonyms(b"k" * 32, CITIZEN))
    trust, addresses, mailroom = TrustState(trust_snapshot(), clock), AddressBook(stores, clock), Mailroom(stores, doorbell)
    reporter = Reporter(ReportSettings(f"mx.{OURS}", OURS, frozenset({OURS}), EXPIRY, evidence.address), stores.blobs)
    settings = AcceptSettings(f"mx.{OURS}", frozenset({OURS}), inline_limit, reserve, 50, CITIZEN)
    context = AcceptContext(settings, stores.blobs, executor, clock, trust, addresses, mailroom, evidence, reporter)
    accounts = Accounts(stores, executor, clock, evidence)
    submission = Submission(context, accounts, SubmissionSettings(check_ins, size_limits or {}, EXPIRY))
    return SmtpStage(stores, executor, clock, trust, evidence, addresses, doorbell, mailroom, reporter, accounts, context,
                     Reception(context), submission, dict(mailboxes))
