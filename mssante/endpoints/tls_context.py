"""TLS contexts of our doors: what they offer, and sessions that tell their alerts and send their tickets at the right moment.

TLS: 1.2 with ECDHE and AEAD, or 1.3; no renegotiation, no compression (F2.3, F2.6); keys and signatures of 112 bits at least
(OpenSSL's security level 2: no SHA-1, no RSA under 2,048 bits). Between operators the client's certificate is asked for;
OpenSSL checks its chain up to our anchors, and `trust.peer` checks everything again, with words:
- dates are left to `trust.peer` (X509_V_FLAG_NO_CHECK_TIME), so that an expired peer gets a reply that says so;
- the issuing authority is an anchor by itself (partial chain): one RSA-4096 verification less for each session.

Sessions
- A handshake that fails is answered with its TLS alert: see `AlertingObject` and `alert_of`.
- Tickets of TLS 1.3 wait for our first answer (RFC 8446 §4.6.1 sets no time): after STARTTLS the client speaks first, and a
  client that reads in one thread while it writes in another (imaplib2, so OfflineIMAP) may lose its first command when a ticket
  arrives just then; OpenSSL's state is not made for two threads. One segment less for everybody else.
- A resumed session shows the certificate of the first one (`getpeercert`), and whoever admits peers judges it again.

Called by `endpoints.tls_material`, `smtp_verbs`, `imap_login`, tests and tools.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509

from mssante.endpoints.tls_clients import ask_anybody
from mssante.observability.metrics import TLS_SESSIONS
from mssante.protocol.sasl.mechanisms import Circumstances
from mssante.services import tlskeys

log = structlog.get_logger("tls")
NO_CHECK_TIME = 0x200000  # OpenSSL X509_V_FLAG_NO_CHECK_TIME
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"


class AlertingObject(ssl.SSLObject):
    """The TLS state of one session, which keeps the alert of a handshake that failed, and the tickets of one that did not.

    OpenSSL puts the alert in the outgoing buffer, and the event loop aborts the connection without sending it: a peer of
    another authority would see a connection cut without a word. The fault that rises carries it (see `alert_of`), so that
    the session can still send it.
    """

    outgoing: ssl.MemoryBIO
    tickets = b""  # records made by the end of the handshake; they go out before anything that is made later

    def do_handshake(self) -> None:
        """Go on with the handshake; raises ssl.SSLError, with its alert when it is a true failure."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as fault:
            fault.alert = self.outgoing.read()  # type: ignore[attr-defined]
            raise
        if self.server_side and self.version() == "TLSv1.3":  # in 1.2 the last records are our Finished
            self.tickets = self.outgoing.read()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Encrypt; what waited goes out before it."""
        if self.tickets:
            self._let_out()
        return super().write(data)

    def read(self, *arguments: Any) -> Any:
        """Decrypt. A record that reading makes (an alert, an answer to KeyUpdate) stays behind what waited."""
        if not self.tickets:
            return super().read(*arguments)
        try:
            return super().read(*arguments)
        finally:
            if self.outgoing.pending:
                self._let_out()

    def unwrap(self) -> None:
        """Say close_notify."""
        if self.tickets:
            self._let_out()
        super().unwrap()

    def _let_out(self) -> None:
        later = self.outgoing.read()
        self.outgoing.write(self.tickets + later)
        self.tickets = b""


class AlertingContext(ssl.SSLContext):
    """A context whose sessions are `AlertingObject`s. end_point: `tls-server-end-point` data of the certificate that it serves,
    empty when that depends on the client, None when it is not known here."""

    end_point: bytes | None = None
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


def bound(common: Circumstances, session: Any) -> Circumstances:
    """Give what a session is offered when the certificate that it was shown is known (RFC 5929 §4.1): it may have been replaced
    since the configuration was read, or chosen by server name."""
    end_point = getattr(getattr(session, "context", None), "end_point", None)
    return common if end_point is None or end_point == common.end_point else replace(common, end_point=end_point)


def count_session(session: Any, side: str) -> None:
    """Count a handshake that was done. side: `in` or `out`."""
    TLS_SESSIONS.labels(side, "resumed" if session.session_reused else "full").inc()


def door_context(client_anchors: str | None, *, people: bool) -> AlertingContext:
    """Give the context of a door without its pair; see `server_context`. client_anchors: PEM text; people: whatever certificate
    comes, the handshake goes on (`tls_clients`), and who reads it judges it. Raises ssl.SSLError."""
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1
    if client_anchors is not None:
        if "BEGIN" not in client_anchors:
            raise ssl.SSLError("no certificate among the anchors")
        context.load_verify_locations(cadata=client_anchors)
        context.verify_mode = ssl.CERT_OPTIONAL  # a peer without certificate gets a reply that names the rule
        if people and not ask_anybody(context, client_anchors):
            log.warning("client_certificates_checked_by_openssl")  # strangers' certificates end their handshake here
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | (0 if people else NO_CHECK_TIME)
    return context


def server_context(certificate: Path, key: Path, client_anchors: Path | None, *, people: bool = False) -> ssl.SSLContext:
    """Give the TLS context of a door that serves one pair for good. client_anchors: ask the peer for a certificate that chains
    to these; people: the peer is a user's client and not an operator, see `door_context`.

    Raises OSError or ssl.SSLError when a file does not do.
    """
    context = door_context(client_anchors.read_text("ascii") if client_anchors is not None else None, people=people)
    context.load_cert_chain(certificate, key)
    return context


def end_point_of(certificate: Path) -> bytes:
    """Give the `tls-server-end-point` data of a door's certificate file (RFC 5929 §4.1).

    Raises OSError or ValueError when the file does not hold a certificate.
    """
    return tlskeys.end_point_of(x509.load_pem_x509_certificate(certificate.read_bytes()))


def spare_descriptor(wire: asyncio.BaseTransport) -> int:
    """Give a second descriptor of a session's socket, or -1: the loop closes its own before an alert is sent."""
    try:
        return os.dup(wire.get_extra_info("socket").fileno())
    except (OSError, AttributeError):
        return -1


def send_alert(descriptor: int, fault: BaseException) -> None:
    """Tell the peer why its handshake failed: one small write, which a peer that left or does not read may lose."""
    alert = alert_of(fault)
    if alert and descriptor >= 0:
        try:
            os.write(descriptor, alert)
        except OSError:
            pass


def handshake_reason(fault: BaseException) -> str:
    """Give one line about a failed handshake: OpenSSL's verdict on the certificate, or its reason word."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"certificate refused: {fault.verify_message}"
    return str(getattr(fault, "reason", None) or type(fault).__name__)
