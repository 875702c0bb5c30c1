"""A scripted SMTP receiver on loopback with TLS: well-behaved by default, hostile where a test asks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

EXTENSIONS = ("PIPELINING", "SIZE 31457280", "8BITMIME", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@dataclass(frozen=True)
class Identity:
    """A throw-away certificate in files. der: the certificate as the peer sees it."""

    certificate: Path
    key: Path
    der: bytes


def make_identity(folder: Path, name: str) -> Identity:
    """Give a self-signed certificate for `name`; its trust is decided by the test's own verify function."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1)).add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256()))
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return Identity(paths[0], paths[1], certificate.public_bytes(serialization.Encoding.DER))


class Receiver:
    """Answers by a table: `on[verb]` is a reply, or a function of the line that gives one (None: cut the connection).

    starttls: ok, strip, refuse, inject, clear (text instead of TLS), silent. What was seen is in `clear`, `sealed`
    (command lines), `contents`, `leaves` (client certificates), `sessions`.
    """

    def __init__(self, identity: Identity, client: Identity | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(identity.certificate, identity.key)
        if client is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client.certificate)
        self.starttls = "ok"
        self.greeting = "220 mx.beta.test ESMTP"
        self.extensions: tuple[str, ...] = EXTENSIONS
        self.on: dict[str, str | Callable[[str], str | Awaitable[str | None] | None] | None] = {
            "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "DATA": "354 go", ".": "250 2.0.0 taken",
            "RSET": "250 2.0.0 ok", "QUIT": "221 2.0.0 bye"}
        self.clear: list[str] = []
        self.sealed: list[str] = []
        self.contents: list[bytes] = []
        self.leaves: list[bytes | None] = []
        self.sessions = 0
        self.stall = False  # answer 354 then read no more
        self._last_reply = ""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=4_000_000)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.sessions += 1
        try:
            await self._session(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.greeting:
            await reader.read()
            return
        writer.write(self.greeting.encode() + b"\r\n")
        while True:
            line = (await reader.readuntil(b"\r\n"))[:-2].decode("latin-1")
            self.clear.append(line)
            if line.startswith("EHLO"):
                offered = () if self.starttls == "strip" else ("STARTTLS",)
                writer.write(_multi("mx.beta.test", *EXTENSIONS, *offered))
            elif line == "STARTTLS":
                if not await self._start_tls(reader, writer):
                    return
                await self._sealed(reader, writer)
                return
            else:
                writer.write(b"530 5.7.0 must issue STARTTLS first\r\n")

    async def _start_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        answers = {"refuse": b"454 4.7.0 TLS not available\r\n", "inject": b"220 go\r\n250 mx.beta.test\r\n",
                   "clear": b"220 go\r\n", "silent": b"220 go\r\n"}
        if self.starttls != "ok":
            writer.write(answers[self.starttls])
            if self.starttls == "clear":
                await reader.read(1)  # the client's hello has begun: now text in clear
                writer.write(b"250-mx.beta.test\r\n250 PIPELINING\r\n" * 20)
            self.clear.append((await reader.read()).decode("latin-1"))
            return False
        writer.write(b"220 2.0.0 go\r\n")
        await writer.start_tls(self.context)
        self.leaves.append(writer.get_extra_info("ssl_object").getpeercert(True))
        return True

    async def _sealed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line = (await reader.readuntil(b"\r\n"))[:-2].decode()
            self.sealed.append(line)
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                writer.write(_multi("mx.beta.test", *self.extensions))
                continue
            if not await self._answer(verb, line, writer):
                return
            if verb == "DATA" and self._last_reply.startswith("354"):
                if self.stall:
                    await asyncio.Event().wait()
                content = await _content(reader)
                self.contents.append(content)
                if not await self._answer(".", ".", writer):
                    return
            if verb == "QUIT":
                await writer.drain()
                return

    async def _answer(self, verb: str, line: str, writer: asyncio.StreamWriter) -> bool:
        reply = self.on[verb]
        if callable(reply):
            found = reply(line)
            reply = found if isinstance(found, str) or found is None else await found
        self._last_reply = reply or ""
        if reply is None:
            return False
        writer.write(reply.encode() + b"\r\n")
        return True


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)


def _multi(*lines: str) -> bytes:
    last = len(lines) - 1
    return "".join(f"250{' ' if index == last else '-'}{line}\r\n" for index, line in enumerate(lines)).encode()
