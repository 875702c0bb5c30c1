"""Runs IMAP transcripts against a real endpoint and real services, in process, over a transport made of memory.

A transcript is a text file of these lines (`#` begins a comment, empty lines are skipped):

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.imap_stage import Stage

from mssante.endpoints.imap import ImapEndpoint
from mssante.endpoints.imap_connection import ImapConnection

WAIT_SECONDS = 10.0


class MemoryTransport(asyncio.Transport):
    """What the connection writes goes to a buffer; what the script sends waits while reading is paused."""

    def __init__(self, *, tls: bool, peer: tuple[str, int]) -> None:
        super().__init__({"peername": peer, "ssl_object": object() if tls else None})
        self.received = bytearray()
        self.closing = False
        self.paused = False
        self.news = asyncio.Event()
        self.protocol: Any = None
        self._waiting: list[bytes] = []

    def deliver(self, data: bytes) -> None:
        """Hand octets of the client to the connection, as soon as it reads."""
        self._waiting.append(data)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and not self.paused and not self.closing:
            self.protocol.data_received(self._waiting.pop(0))

    def write(self, data: bytes) -> None:
        self.received += data
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

    def __init__(self, endpoint: ImapEndpoint, *, tls: bool, one_by_one: bool, port: int = 40000) -> None:
        self.connection: ImapConnection = endpoint()
        self.transport = MemoryTransport(tls=tls, peer=("192.0.2.1", port))
        self.transport.protocol = self.connection
        self._one_by_one = one_by_one
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """Send octets, whole or one at a time."""
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
        self._values: dict[str, str] = {}

    @property
    def _client(self) -> Client:
        if self._current not in self._clients:
            self._clients[self._current] = Client(
                self._stage.endpoint, tls=not self._plain, one_by_one=self._one_by_one,
                port=40000 + len(self._clients))
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
        """Directives: plain, open NAME, close, closed, silent, deliver FOLDER NAME [FLAGS], sleep-free waits."""
        word, *arguments = text.split()
        match word:
            case "plain":
                self._plain = True
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


def _unescape(text: str) -> bytes:
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


async def play(stage: Stage, path: Path, *, one_by_one: bool) -> None:
    """Play a transcript file."""
    await Dialogue(stage, path.read_text(encoding="utf-8"), one_by_one=one_by_one).play()
