"""The attacker's SMTP connection: a plain socket, exact octets, no courtesy.

Replies are read with limits (lines of 4,096 octets, 100 lines) and a deadline: the target may be hostile too. Never retries.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType

from mssante.attack.values import Identity, Target, one_line

MAX_LINE = 4096
MAX_LINES = 100
EHLO_NAME = "attaque.mssante.test"


class WireEnd(Exception):
    """The connection ended, or nothing came in time; the text says which."""


@dataclass(frozen=True, slots=True)
class Reply:
    """code 0: the connection ended instead of a reply."""

    code: int
    text: str

    @property
    def yes(self) -> bool:
        """True for 2xx and 3xx."""
        return 200 <= self.code < 400

    def __str__(self) -> str:
        return f"{self.code} {self.text}" if self.code else self.text


def client_context(identity: Identity | None) -> ssl.SSLContext:
    """Give a context that believes any server and shows `identity`. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the attacker does not care who answers
    context.set_ciphers("ALL:@SECLEVEL=0")  # SHA-1 and small keys must leave our side, to be refused on the other
    if identity is not None:
        context.load_cert_chain(identity.chain, identity.key)
    return context


class Wire:
    """One connection, a context manager."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Wire:
        try:
            self._socket = socket.create_connection((self._target.host, self._target.port), self._target.seconds)
        except OSError as exc:
            raise WireEnd(f"connection: {exc.strerror or exc}") from exc
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(self, octets: bytes) -> None:
        """Send octets as they are. Raises WireEnd."""
        try:
            self._open().sendall(octets)
        except OSError as exc:
            raise WireEnd(f"write: {_why(exc)}") from exc

    def ask(self, command: str) -> Reply:
        """Send one command line and read its reply; a connection that ends is a reply with code 0."""
        try:
            self.send(command.encode() + b"\r\n")
            return self.reply()
        except WireEnd as end:
            return Reply(0, str(end))

    def reply(self, seconds: float | None = None) -> Reply:
        """Read one reply (RFC 5321 §4.2). Raises WireEnd."""
        deadline = time.monotonic() + (self._target.seconds if seconds is None else seconds)
        texts = []
        for _ in range(MAX_LINES):
            line = self._line(deadline)
            if len(line) < 3 or not line[:3].isdigit():
                raise WireEnd(f"not a reply: {one_line(line)}")
            texts.append(line[4:].decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return Reply(int(line[:3]), one_line(" / ".join(texts)))
        raise WireEnd("a reply without end")

    def replies(self, seconds: float) -> list[Reply]:
        """Give every reply that comes until nothing comes for `seconds`, or the end."""
        found: list[Reply] = []
        while len(found) < MAX_LINES:
            try:
                found.append(self.reply(seconds))
            except WireEnd:
                break
        return found

    def greet(self) -> Reply:
        """Take the banner and say EHLO; give the reply. Raises WireEnd."""
        banner = self.reply()
        return self.ask(f"EHLO {EHLO_NAME}") if banner.yes else banner

    def start_tls(self, context: ssl.SSLContext) -> str:
        """STARTTLS and the handshake; give version and cipher. Raises WireEnd, also when the server refuses."""
        answer = self.ask("STARTTLS")
        if answer.code != 220:
            raise WireEnd(f"STARTTLS: {answer}")
        return self.handshake(context)

    def handshake(self, context: ssl.SSLContext) -> str:
        """Do the handshake on what was said before. Raises WireEnd."""
        try:
            secured = context.wrap_socket(self._open(), server_hostname=None)
        except OSError as exc:
            raise WireEnd(f"TLS: {_why(exc)}") from exc
        self._socket, self._buffer = secured, b""
        return f"{secured.version()} {(secured.cipher() or ('?',))[0]}"

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise WireEnd("not connected")
        return self._socket

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or len(self._buffer) > MAX_LINE:
                raise WireEnd("no reply in time" if left <= 0 else "a line without end")
            try:
                self._open().settimeout(left)
                piece = self._open().recv(4096)
            except TimeoutError as exc:
                raise WireEnd("no reply in time") from exc
            except OSError as exc:
                raise WireEnd(f"read: {_why(exc)}") from exc
            if not piece:
                raise WireEnd("connection closed")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")


def _why(exc: OSError) -> str:
    return str(getattr(exc, "reason", None) or exc.strerror or exc)
