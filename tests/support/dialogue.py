"""Runs IMAP transcripts against a real endpoint and real services, in process, over a transport made of memory.

A transcript may begin with `# with: name=value …`, fields of ImapSettings. It is a text file of these lines (`#` begins a comment, empty lines are skipped):

    A:            the next lines concern session A (at the start); `B:` another connection, opened at first use
    C: text       the client sends the text and CRLF
    R: text       the client sends octets written with Python escapes (`\\r\\n`, `\\x00`), no CRLF added
    S: regex      the next line of the server matches wholly (octets above 127 read as Latin-1)
    S* regex      skip lines of the server until one matches
    S+ octets     the server sends exactly these octets next (Python escapes), within or after a line
    @ directive   one of DIRECTIVES below

`<<name>>` is replaced by a group `(?P<name>…)` captured before. Every run must leave nothing unread but what a transcript
ends before: an unexpected line is a failure at the next `S:`, at `@ silent` and at the end.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.imap_stage import CERTIFICATE, Stage

from mssante.endpoints.imap import ImapEndpoint
from mssante.endpoints.imap_connection import ImapConnection
from mssante.services.imap.settings import ImapSettings

WAIT_SECONDS = 10.0


class FakeTls:
    """What a connection asks of its TLS state."""

    session_reused = False

    def __init__(self, certificate: bytes | None) -> None:
        self._certificate = certificate

    def getpeercert(self, binary_form: bool) -> bytes | None:
        """Give the client's certificate."""
        return self._certificate


class MemoryTransport(asyncio.Transport):
    """What the connection writes goes to a buffer; what the script sends waits while reading is paused."""

    def __init__(self, *, tls: bool, peer: tuple[str, int], certificate: bytes | None = None) -> None:
        super().__init__({"peername": peer, "ssl_object": FakeTls(certificate) if tls else None})
        self.received = bytearray()
        self.closing = False
        self.paused = False
        self.news = asyncio.Event()
        self.protocol: Any = None
        self._waiting: list[bytes] = []
        self.inflater: Any = None

    def deliver(self, data: bytes) -> None:
        """Hand octets of the client to the connection, as soon as it reads."""
        self._waiting.append(data)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and not self.paused and not self.closing:
            self.protocol.data_received(self._waiting.pop(0))

    def write(self, data: bytes) -> None:
        self.received += data if self.inflater is None else self.inflater.decompress(data)
        self.news.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self._hand_over)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.news.set()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class Client:
    """One connection of a script."""

    def __init__(self, endpoint: ImapEndpoint, *, tls: bool, one_by_one: bool, port: int = 40000,
                 certificate: bytes | None = None) -> None:
        self.connection: ImapConnection = endpoint()
        self.transport = MemoryTransport(tls=tls, peer=("192.0.2.1", port), certificate=certificate)
        self.transport.protocol = self.connection
        self._one_by_one = one_by_one
        self._deflater: Any = None
        self.connection.connection_made(self.transport)

    def compress(self, how: str) -> None:
        """Deflate both directions from now on (`on`), only what comes (`listen`), or no more."""
        self._deflater = zlib.compressobj(9, zlib.DEFLATED, -15) if how == "on" else None
        self.transport.inflater = zlib.decompressobj(-15) if how != "off" else None

    def send(self, data: bytes) -> None:
        """Send octets, whole or one at a time, deflated after `compress`."""
        if self._deflater is not None:
            data = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        if self._one_by_one:
            for place in range(len(data)):
                self.transport.deliver(data[place:place + 1])
        else:
            self.transport.deliver(data)

    async def _until(self, ready: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not ready():
                if self.transport.closing:
                    raise AssertionError(f"the server closed while {what} was expected")
                self.transport.news.clear()
                await self.transport.news.wait()

    async def line(self) -> str:
        """Give the next line of the server, without CRLF."""
        buffer = self.transport.received
        if b"\r\n" not in buffer:
            await self._until(lambda: b"\r\n" in buffer, "a line")
        end = buffer.index(b"\r\n")
        text = bytes(buffer[:end]).decode("latin-1")
        del buffer[:end + 2]
        return text

    async def octets(self, count: int) -> bytes:
        """Give the next `count` octets of the server."""
        buffer = self.transport.received
        await self._until(lambda: len(buffer) >= count, f"{count} octets")
        data = bytes(buffer[:count])
        del buffer[:count]
        return data

    async def ask(self, command: str) -> list[str]:
        """Send a tagged command; give its lines, the tagged one last (tests that are no transcript)."""
        tag = command.partition(" ")[0]
        self.send(command.encode("utf-8") + b"\r\n")
        lines = [await self.line()]
        while not lines[-1].startswith(tag + " "):
            lines.append(await self.line())
        return lines

    async def closed(self) -> None:
        """Wait until the server has closed."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.transport.closing:
                self.transport.news.clear()
                await self.transport.news.wait()


class Dialogue:
    """One transcript being played."""

    def __init__(self, stage: Stage, text: str, *, one_by_one: bool) -> None:
        self._stage = stage
        self._lines = text.splitlines()
        self._one_by_one = one_by_one
        self._clients: dict[str, Client] = {}
        self._current = "A"
        self._plain = False
        self._certificate: bytes | None = None
        self._values: dict[str, str] = {}

    @property
    def _client(self) -> Client:
        if self._current not in self._clients:
            self._clients[self._current] = Client(
                self._stage.endpoint, tls=not self._plain, one_by_one=self._one_by_one,
                port=40000 + len(self._clients), certificate=self._certificate)
        return self._clients[self._current]

    async def play(self) -> None:
        """Play all lines; raises AssertionError naming the line that failed."""
        for number, line in enumerate(self._lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                await self._step(line)
            except (AssertionError, TimeoutError) as fault:
                rest = {name: bytes(client.transport.received[:400]) for name, client in self._clients.items()}
                raise AssertionError(f"line {number}: {line}\n{type(fault).__name__}: {fault}\nunread: {rest}") from fault
        for name, client in self._clients.items():
            unread = bytes(client.transport.received)
            assert not unread, f"session {name} was told more than the transcript says: {unread[:400]!r}"

    async def _step(self, line: str) -> None:
        if re.fullmatch(r"[A-Z]:", line):
            self._current = line[0]
            _ = self._client
            return
        kind, _, rest = line.partition(" ")
        text = re.sub(r"<<(\w+)>>", lambda found: self._values[found[1]], rest)
        match kind:
            case "C:":
                self._client.send(text.encode("utf-8") + b"\r\n")
            case "R:":
                self._client.send(_unescape(text))
            case "S:":
                self._match(text, await self._client.line())
            case "S*":
                while not self._matches(text, await self._client.line()):
                    pass
            case "S+":
                wanted = _unescape(text)
                found = await self._client.octets(len(wanted))
                assert found == wanted, f"got {found!r}"
            case "@":
                await self._direct(text)
            case _:
                raise AssertionError("not a line of a transcript")

    def _matches(self, pattern: str, line: str) -> bool:
        found = re.fullmatch(pattern, line)
        if found is not None:
            self._values.update({name: value for name, value in found.groupdict().items() if value is not None})
        return found is not None

    def _match(self, pattern: str, line: str) -> None:
        assert self._matches(pattern, line), f"got {line!r}"

    async def _direct(self, text: str) -> None:
        """Directives: plain, open NAME, close, closed, silent, deliver FOLDER NAME [FLAGS], mailbox ADDRESS,
        account LOGIN ADDRESS…, quota ADDRESS OCTETS MESSAGES, later SECONDS, seen FOLDER private|shared, fill N (octets that mean nothing), certificate (the next sessions have
        the one of ADDRESS), tokens (the next sessions may bring tokens), scram LOGIN (gives it the verifier of RFC 7677 §3),
        deflate on|listen|off."""
        word, *arguments = text.split()
        match word:
            case "plain":
                self._plain = True
            case "mailbox":
                await self._stage.add_mailbox(arguments[0])
            case "account":
                await self._stage.add_account(arguments[0], arguments[1:])
            case "later":
                self._stage.services.clock.instant += timedelta(seconds=int(arguments[0]))  # type: ignore[attr-defined]
            case "quota":
                await self._stage.set_quota(arguments[0], int(arguments[1]), int(arguments[2]))
            case "seen":
                await self._stage.switch_seen(arguments[0], private=arguments[1] == "private")
            case "certificate":
                self._certificate = CERTIFICATE
            case "tokens":
                offer = self._stage.endpoint.offer
                self._stage.endpoint.offer = replace(offer, common=replace(offer.common, tokens=True))
            case "scram":
                await self._stage.set_scram(arguments[0])
            case "deflate":
                self._client.compress(arguments[0])
            case "purge":
                await self._stage.purge(arguments[0])
            case "fill":
                self._client.send(b"x" * int(arguments[0]))
            case "closed":
                await self._client.closed()
            case "close":
                self._client.transport.close()
                await asyncio.sleep(0)
            case "deliver":
                await self._stage.deliver(arguments[0], arguments[1], " ".join(arguments[2:]))
            case "silent":
                for _ in range(5):
                    await asyncio.sleep(0)
                assert not self._client.transport.received, f"got {bytes(self._client.transport.received)!r}"
            case _:
                raise AssertionError("unknown directive")


def settings_of(path: Path) -> ImapSettings | None:
    """Give the settings that a transcript asks for by its first line, `# with: name=value …` (numbers, True, False)."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith("# with: "):
        return None
    asked = dict(pair.split("=") for pair in first[len("# with: "):].split())
    values = {name: value == "True" if value in ("True", "False") else int(value) for name, value in asked.items()}
    return replace(ImapSettings(hostname="imap.example", inline_bytes=131_072), **values)  # type: ignore[arg-type]


def _unescape(text: str) -> bytes:
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


async def play(stage: Stage, path: Path, *, one_by_one: bool) -> None:
    """Play a transcript file."""
    await Dialogue(stage, path.read_text(encoding="utf-8"), one_by_one=one_by_one).play()
