"""Sockets and TLS contexts: doors that open, count their sessions, sweep the idle ones and drain at stop.

TLS: 1.2 with ECDHE and AEAD, or 1.3; no renegotiation, no compression (F2.3, F2.6). Between operators the client's
certificate is asked for; OpenSSL checks its chain up to our anchors, and `trust.peer` checks everything again, with words:
- dates are left to `trust.peer` (X509_V_FLAG_NO_CHECK_TIME), so that an expired peer gets a reply that says so;
- the issuing authority is an anchor by itself (partial chain): one RSA-4096 verification less for each session.
- a handshake that fails after STARTTLS is answered with its TLS alert: see `AlertingObject`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mssante.config.model import split_hostport
from mssante.observability.metrics import SESSIONS

NO_CHECK_TIME = 0x200000  # OpenSSL X509_V_FLAG_NO_CHECK_TIME
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
SWEEP_SECONDS = 1.0
BACKLOG = 1024


class AlertingObject(ssl.SSLObject):
    """The TLS state of one session, which keeps the alert of a handshake that failed.

    OpenSSL puts the alert in the outgoing buffer, and the event loop aborts the connection without sending it: a peer of
    another authority would see a connection cut without a word. The fault that rises carries it (see `alert_of`), so that
    the session can still send it.
    """

    outgoing: ssl.MemoryBIO

    def do_handshake(self) -> None:
        """Go on with the handshake; raises ssl.SSLError, with its alert when it is a true failure."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as fault:
            fault.alert = self.outgoing.read()  # type: ignore[attr-defined]
            raise


class AlertingContext(ssl.SSLContext):
    """A context whose sessions are `AlertingObject`s."""

    sslobject_class = AlertingObject

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Give a session that knows its outgoing buffer."""
        made = super().wrap_bio(incoming, outgoing, *arguments, **options)
        if isinstance(made, AlertingObject):
            made.outgoing = outgoing
        return made


def alert_of(fault: BaseException) -> bytes:
    """Give the octets that tell the peer why its handshake failed (RFC 8446 §6.2), or nothing."""
    return bytes(getattr(fault, "alert", b""))


def server_context(certificate: Path, key: Path, client_anchors: Path | None, *, people: bool = False) -> ssl.SSLContext:
    """Give the TLS context of a door. client_anchors: ask the peer for a certificate that chains to these.

    people: the peer is a user's client and not an operator: OpenSSL checks the dates too, nobody else does. Raises OSError or
    ssl.SSLError when a file does not do.
    """
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1
    context.load_cert_chain(certificate, key)
    if client_anchors is not None:
        context.load_verify_locations(cafile=str(client_anchors))
        context.verify_mode = ssl.CERT_OPTIONAL  # a peer without certificate gets a reply that names the rule
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | (0 if people else NO_CHECK_TIME)
    return context


def end_point_of(certificate: Path) -> bytes:
    """Give the `tls-server-end-point` data of a door's certificate (RFC 5929 §4.1), empty when its signature names no hash.

    Raises OSError or ValueError when the file does not hold a certificate.
    """
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    named = leaf.signature_hash_algorithm
    if named is None:
        return b""
    weak = isinstance(named, hashes.MD5 | hashes.SHA1)
    return leaf.fingerprint(hashes.SHA256() if weak else named)


class Expiring(Protocol):
    """A session with a deadline (monotonic seconds)."""

    deadline: float

    def expire(self) -> None:
        """Close for lack of progress."""
        ...

    def drain(self) -> None:
        """Close when nothing is under way."""
        ...


class Door:
    """One listening address: its sessions, its limits. Sessions register themselves."""

    def __init__(self, name: str, *, total: int, per_address: int) -> None:
        """name: label of the door in metrics; total and per_address: sessions at most."""
        self.name = name
        self._total = total
        self._per_address = per_address
        self._sessions: set[Any] = set()
        self._addresses: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    def opened(self, session: Expiring, address: str) -> bool:
        """Register a session; False when the door is full, in all or for that address."""
        if len(self._sessions) >= self._total or self._addresses[address] >= self._per_address:
            return False
        self._sessions.add(session)
        self._addresses[address] += 1
        return True

    def closed(self, session: Expiring, address: str) -> None:
        """Forget a session."""
        self._sessions.discard(session)
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    @property
    def open_sessions(self) -> int:
        """Sessions open now."""
        return len(self._sessions)

    async def listen(self, address: str, factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None) -> None:
        """Open the door at `host:port`; `tls` for TLS from the first octet. Raises OSError."""
        self._server = await listen_on(address, factory, tls)

    def sweep(self) -> None:
        """Close sessions past their deadline; tell the gauge (here and not at each session: it costs 20 µs)."""
        now = time.monotonic()
        SESSIONS.labels(self.name).set(len(self._sessions))
        for session in [s for s in self._sessions if s.deadline < now]:
            session.expire()

    async def close(self, seconds: float) -> None:
        """Stop listening, let sessions under way end within `seconds`."""
        if self._server is not None:
            self._server.close()
        limit = time.monotonic() + seconds
        while self._sessions and time.monotonic() < limit:
            for session in list(self._sessions):
                session.drain()
            await asyncio.sleep(0.05)


async def listen_on(address: str, factory: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None) -> asyncio.Server:
    """Listen at `host:port`; `tls` for TLS from the first octet. Raises OSError."""
    host, port = split_hostport(address)
    options: dict[str, Any] = {"ssl_handshake_timeout": 10.0} if tls is not None else {}
    return await asyncio.get_running_loop().create_server(factory, host, port, ssl=tls, backlog=BACKLOG, **options)


async def sweep_forever(doors: list[Door]) -> None:
    """Sweep all doors once a second: cheaper than one timer for each command."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for door in doors:
            door.sweep()
