"""Knocks at another operator's door and notes what happens, for `mssante check peer`: some fifteen short connections.

- Sees, never judges (`services.peercheck` does), never sends a message: no RCPT, no DATA, every transaction ends by RSET.
- Everything is bounded: time of each wait, of each connection, of the whole; octets of a connection (`MAX_OCTETS`), certificates
  of a chain. A server that floods, hangs or speaks nonsense costs that much and no more; what it did is a fault with its rule.
- TLS is driven by hand over memory buffers: alerts are read, clear octets after STARTTLS are seen, no exception leaves.
- Weak protocol versions are offered on purpose, to a peer that must refuse them, never with a message behind.

Never: retries, logs a text, writes a file but the passing key of a self-made certificate (in a private temporary folder).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mssante.protocol.smtp.replies import Reply, ReplyParser, SmtpFault
from mssante.services.peervalues import Door, Observed, Said, Talk, TlsSeen

MAX_OCTETS = 256 * 1024
MAX_CHAIN = 10
MAX_CERTIFICATE = 16 * 1024
MAX_TEXT = 1000
MAX_DOORS = 10
PIECE = 16 * 1024
AEAD = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Who knocks. certificate, key: our pair, PEM files; sender: an address of ours for MAIL; seconds of waits."""

    ehlo_name: str
    certificate: Path
    key: Path
    sender: str
    connect: float = 10.0
    wait: float = 15.0
    handshake: float = 10.0
    talk: float = 45.0
    whole: float = 240.0


def client_context(pair: tuple[Path, Path] | None, versions: tuple[str, str] = ("TLSv1_2", "TLSv1_3"), ciphers: str = AEAD,
                   ) -> ssl.SSLContext:
    """Give a context that shows `pair`, or nothing, and believes nothing by itself: what is shown is judged elsewhere.

    Raises OSError or ssl.SSLError when the files do not serve, ssl.SSLError when this OpenSSL lacks the ciphers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():  # old versions are offered to see them refused
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion[versions[0]]
        context.maximum_version = ssl.TLSVersion[versions[1]]
    if versions[1] != "TLSv1_3" or ciphers != AEAD:
        context.set_ciphers(ciphers)
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


_VARIANTS: dict[str, tuple[tuple[str, str], str]] = {
    "tls1.3": (("TLSv1_3", "TLSv1_3"), AEAD), "tls1.2": (("TLSv1_2", "TLSv1_2"), AEAD),
    "tls1.1": (("TLSv1_1", "TLSv1_1"), "ALL:@SECLEVEL=0"), "tls1.0": (("TLSv1", "TLSv1"), "ALL:@SECLEVEL=0"),
    "cbc": (("TLSv1_2", "TLSv1_2"), "ECDHE+AES:!AESGCM:!AESCCM:@SECLEVEL=0"),
    "rsa": (("TLSv1_2", "TLSv1_2"), "kRSA+AES:@SECLEVEL=0"),
}


class _Wire:
    """One connection, in clear then in TLS, with its budget of octets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: ProbeSettings) -> None:
        self._reader = reader
        self._writer = writer
        self._settings = settings
        self._parser = ReplyParser()
        self._octets = 0
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    async def _receive(self) -> bytes:
        """Give octets as they come from the socket. Raises SmtpFault at the end, or past the budget."""
        try:
            data = await self._reader.read(PIECE)
        except (OSError, ssl.SSLError) as exc:
            raise SmtpFault("connection lost", rule="SMTP-CLOSED", detail=type(exc).__name__) from exc
        self._octets += len(data)
        if self._octets > MAX_OCTETS:
            raise SmtpFault("the server sends without end", rule="SMTP-REPLY-LINE", detail=f"> {MAX_OCTETS} octets")
        if not data:
            raise SmtpFault("connection closed", rule="SMTP-CLOSED")
        return data

    async def _read(self) -> bytes:
        """Give octets of the dialogue. Raises SmtpFault."""
        if self._tls is None:
            return await self._receive()
        while True:
            try:
                data = self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._receive())
                continue
            except ssl.SSLError as exc:
                raise SmtpFault("TLS alert", rule="SMTP-TLS-HANDSHAKE", detail=_reason(exc)) from exc
            if not data:
                raise SmtpFault("connection closed", rule="SMTP-CLOSED")
            return data

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._writer.write(data)
            await self._drain()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as exc:
            raise SmtpFault("connection lost", rule="SMTP-CLOSED", detail=type(exc).__name__) from exc

    async def write(self, octets: bytes) -> None:
        """Send as it is. Raises SmtpFault."""
        if self._tls is None:
            self._writer.write(octets)
            await self._drain()
            return
        try:
            self._tls.write(octets)
        except ssl.SSLError as exc:
            raise SmtpFault("TLS alert", rule="SMTP-TLS-HANDSHAKE", detail=_reason(exc)) from exc
        await self._flush()

    async def reply(self) -> Reply:
        """Give the next reply. Raises SmtpFault."""
        while (found := self._parser.next_reply()) is None:
            self._parser.feed(await self._read())
        return found

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> TlsSeen:
        """Do the handshake; gives what was seen, a failure too. Raises SmtpFault when clear octets wait, or the line is lost."""
        if self._parser.pending:
            raise SmtpFault("data in clear after the reply to STARTTLS", rule="SMTP-STARTTLS-INJECTION")
        began = time.monotonic()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name or None)
        try:
            async with asyncio.timeout(self._settings.handshake):
                await self._shake(tls)
        except TimeoutError:
            return TlsSeen(seconds=time.monotonic() - began, reason="timeout")
        except ssl.SSLError as exc:
            with contextlib.suppress(SmtpFault):
                await self._flush()
            return TlsSeen(seconds=time.monotonic() - began, reason=_reason(exc))
        except SmtpFault as fault:
            return TlsSeen(seconds=time.monotonic() - began, reason=fault.detail or fault.public)
        self._tls, self._parser = tls, ReplyParser()
        cipher = tls.cipher()
        return TlsSeen(tls.version() or "?", cipher[0] if cipher else "", _chain(tls), time.monotonic() - began)

    async def _shake(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._receive())
                continue
            await self._flush()
            return

    def close(self) -> None:
        """Cut, without manners."""
        self._writer.transport.abort()


def _reason(exc: BaseException) -> str:
    """Give a technical reason in a few words."""
    return str(getattr(exc, "reason", None) or getattr(exc, "strerror", None) or type(exc).__name__)[:200]


def _chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Give the certificates that the server sent, leaf first; the leaf alone where this Python cannot tell more."""
    leaf = tls.getpeercert(binary_form=True) or b""
    inner: Any = getattr(tls, "_sslobj", None)  # public in Python 3.13 only
    give = getattr(inner, "get_unverified_chain", None)
    found: list[bytes] = []
    for one in (give() or ())[:MAX_CHAIN] if give is not None else ():
        found.append(one if isinstance(one, bytes) else bytes(one.public_bytes(2)))  # 2: DER (_ssl.ENCODING_DER)
    return tuple(one for one in found or [leaf] if one and len(one) <= MAX_CERTIFICATE)


@dataclass(slots=True)
class _Notes:
    """A talk being written."""

    connect_seconds: float = 0.0
    clear: list[Said] = field(default_factory=list)
    inside: list[Said] = field(default_factory=list)
    tls: TlsSeen | None = None

    def talk(self, fault: str = "", detail: str = "") -> Talk:
        """Give it as a value."""
        return Talk(self.connect_seconds, tuple(self.clear), self.tls, tuple(self.inside), fault, detail)


class _Hand:
    """What a script of a talk may do: ask, switch to TLS."""

    def __init__(self, wire: _Wire, notes: _Notes, settings: ProbeSettings) -> None:
        self.wire = wire
        self.notes = notes
        self.settings = settings

    async def ask(self, command: str, *, name: str = "") -> Said:
        """Send a command (nothing for the greeting) and note its reply. Raises SmtpFault after noting that none came."""
        said = self.notes.inside if self.notes.tls is not None and self.notes.tls.done else self.notes.clear
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.settings.wait):
                if command:
                    await self.wire.write(command.encode("ascii") + b"\r\n")
                reply = await self.wire.reply()
        except TimeoutError:
            said.append(Said(name or command, 0, "", time.monotonic() - began, "SMTP-TIMEOUT"))
            raise SmtpFault("no answer in time", rule="SMTP-TIMEOUT") from None
        except SmtpFault as fault:
            said.append(Said(name or command, 0, (fault.detail or fault.public)[:MAX_TEXT], time.monotonic() - began, fault.rule))
            raise
        said.append(Said(name or command, reply.code, reply.text[:MAX_TEXT], time.monotonic() - began,
                         lines=tuple(line[:MAX_TEXT] for line in reply.lines[:100])))
        return said[-1]

    async def open(self) -> Said:
        """Greeting and EHLO."""
        await self.ask("", name="greeting")
        return await self.ask(f"EHLO {self.settings.ehlo_name}")

    async def secure(self, context: ssl.SSLContext, server_name: str) -> bool:
        """STARTTLS and the handshake; False when either was refused. Raises SmtpFault."""
        if (await self.ask("STARTTLS")).code != 220:
            return False
        self.notes.tls = await self.wire.start_tls(context, server_name)
        return self.notes.tls.done


Script = Callable[[_Hand], Awaitable[None]]


class PeerProbe:
    """One probe of one door."""

    def __init__(self, settings: ProbeSettings, door: Door) -> None:
        self._settings = settings
        self._door = door
        self._name = door.host if not _is_literal(door.host) else ""

    async def run(self) -> Observed:
        """Hold every talk, one after another. Raises nothing but cancellation; what could not be done is missing."""
        began = time.monotonic()
        talks: dict[str, Talk] = {}
        ended = ""
        try:
            async with asyncio.timeout(self._settings.whole):
                async for name, talk in self._talks():
                    talks[name] = talk
        except TimeoutError:
            ended = "SMTP-TIMEOUT"
        return Observed("", "", (self._door,), door=self._door, talks=MappingProxyType(talks), seconds=time.monotonic() - began,
                        ended=ended)

    async def run_ours(self) -> Observed:
        """Hold the one talk with our certificate (`ours`). Raises OSError, ssl.SSLError when our own files do not serve."""
        self._context()
        talk = await self._talk(self._ours)
        return Observed("", "", (self._door,), door=self._door, talks=MappingProxyType({"ours": talk}))

    async def _talks(self) -> AsyncIterator[tuple[str, Talk]]:
        plain = await self._talk(self._plain)
        yield "plain", plain
        hello = plain.find("EHLO")
        if hello is None or hello.code != 250:
            return  # nothing more can be learnt of a door that does not speak
        yield "ours", await self._talk(self._ours)
        yield "injection", await self._talk(self._injection)
        yield "without", await self._talk(lambda hand: self._stranger(hand, None))
        with tempfile.TemporaryDirectory(prefix="mssante-probe-") as folder:
            pair = _passing_pair(Path(folder), self._settings.ehlo_name)
            yield "foreign", await self._talk(lambda hand: self._stranger(hand, pair))
        for name in _VARIANTS:
            try:
                context = client_context((self._settings.certificate, self._settings.key), *_VARIANTS[name])
            except (ssl.SSLError, ValueError):
                continue  # this OpenSSL cannot offer it: not done
            yield name, await self._talk(lambda hand, context=context: self._variant(hand, context))  # type: ignore[misc]

    async def _talk(self, script: Script) -> Talk:
        """Connect and run a script, all within the time of one talk."""
        notes = _Notes()
        wire: _Wire | None = None
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.talk):
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(self._door.address, self._door.port, limit=PIECE), self._settings.connect)
                notes.connect_seconds = time.monotonic() - began
                wire = _Wire(reader, writer, self._settings)
                await script(_Hand(wire, notes, self._settings))
        except SmtpFault as fault:
            return notes.talk(fault.rule, (fault.detail or fault.public)[:MAX_TEXT])
        except TimeoutError:
            return notes.talk("SMTP-TIMEOUT" if wire is not None else "SMTP-CONNECT", "")
        except (OSError, ValueError) as exc:
            return notes.talk("SMTP-CONNECT" if wire is None else "SMTP-CLOSED", _reason(exc))
        finally:
            if wire is not None:
                wire.close()
        return notes.talk()

    # ------------------------------------------------------------ scripts

    def _context(self) -> ssl.SSLContext:
        return client_context((self._settings.certificate, self._settings.key))

    async def _plain(self, hand: _Hand) -> None:
        """In clear: a mail command must be refused (RFC 3207 §4)."""
        await hand.open()
        await hand.ask("MAIL FROM:<>")
        await hand.ask("QUIT")

    async def _ours(self, hand: _Hand) -> None:
        """With our certificate: as a delivery goes, up to MAIL."""
        await hand.open()
        if not await hand.secure(self._context(), self._name):
            return
        await hand.ask(f"EHLO {self._settings.ehlo_name}")
        for sender in ("", self._settings.sender):
            if (await hand.ask(f"MAIL FROM:<{sender}>")).code == 250:
                await hand.ask("RSET")
        await hand.ask("QUIT")

    async def _injection(self, hand: _Hand) -> None:
        """A command behind STARTTLS in the same write must be thrown away (RFC 3207 §4.2)."""
        await hand.open()
        if (await hand.ask("STARTTLS\r\nNOOP", name="STARTTLS+NOOP")).code != 220:
            return
        hand.notes.tls = await hand.wire.start_tls(self._context(), self._name)
        if hand.notes.tls.done:
            await hand.ask(f"EHLO {self._settings.ehlo_name}\r\nQUIT", name="EHLO+QUIT")
            await hand.ask("", name="second")
            with contextlib.suppress(SmtpFault):
                await hand.ask("", name="third")

    async def _stranger(self, hand: _Hand, pair: tuple[Path, Path] | None) -> None:
        """Without certificate, or with one of nobody's authority: mail must be refused."""
        await hand.open()
        if not await hand.secure(client_context(pair), self._name):
            return
        await hand.ask(f"EHLO {self._settings.ehlo_name}")
        if (await hand.ask("MAIL FROM:<>")).code == 250:
            await hand.ask("RSET")
        await hand.ask("QUIT")

    async def _variant(self, hand: _Hand, context: ssl.SSLContext) -> None:
        """One offer of versions and ciphers; inside TLS one EHLO, for TLS 1.3 tells a refusal late."""
        await hand.open()
        if await hand.secure(context, self._name):
            await hand.ask(f"EHLO {self._settings.ehlo_name}")


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _passing_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate of nobody's authority under our own name, and its key; give both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256()))
    certificate_path, key_path = folder / "passing.pem", folder / "passing.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return certificate_path, key_path


async def find_open(doors: list[Door], seconds: float) -> list[Door]:
    """Try each address (at most MAX_DOORS) for a connection, all at once; give them with what happened, in order."""
    async def one(door: Door) -> Door:
        began = time.monotonic()
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(door.address, door.port), seconds)
        except (OSError, TimeoutError) as exc:
            return Door(door.host, door.address, door.port, time.monotonic() - began,
                        "SMTP-TIMEOUT" if isinstance(exc, TimeoutError) else f"SMTP-CONNECT {_reason(exc)}")
        writer.transport.abort()
        return Door(door.host, door.address, door.port, time.monotonic() - began)

    return list(await asyncio.gather(*(one(door) for door in doors[:MAX_DOORS])))
