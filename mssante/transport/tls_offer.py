"""Our side of TLS towards other operators: which pair we show to whom, and the sessions that may be resumed.

- One context shows the pair that we serve; another, during a rollover, the next pair, to the domains that try it first.
- A TLS session is kept per endpoint, domain and context (RFC 8446 §4.6.1, RFC 5077), the last one, and offered at the next
  handshake there: two signatures and a certificate exchange less. It never lets anybody in: whoever resumes shows the leaf of
  the first handshake, and `verify_peer` judges it again, with today's list, dates and CRLs.
- A replaced pair is a new context, for which nothing is resumable.
- A session that a peer does not take costs nothing; one that its handshake fails on is forgotten, and tried once without.

Never: checks names or chains (`verify_peer` does, after the handshake and before any command), keeps anything on disk.
Called by `transport.operators`; the contexts are put by `tls_setup`.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

MAX_SESSIONS = 2000  # about 3 KB each
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL:@SECLEVEL=2"  # spec F2.6, TLS 1.2 part; TLS 1.3 suites are all AEAD


def outbound_tls(certificate: Path, key: Path, *, password: str | None = None) -> ssl.SSLContext:
    """Give a client context with our certificate chain and key (PEM files), TLS 1.2 or 1.3, ECDHE with AEAD only.

    Chain and name are not checked by OpenSSL but by `verify_peer` after the handshake and before any command: the
    trust space has its own rules (spec §2.2). Raises OSError or ssl.SSLError when the files cannot be used.
    """
    context = outbound_context()
    context.load_cert_chain(certificate, key, password)
    return context


def outbound_context() -> ssl.SSLContext:
    """Give the context of `outbound_tls` without its pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Offer(ssl.SSLContext):
    """One handshake to come: hands it to the context in force, with a session to resume when there is one."""

    beneath: ssl.SSLContext
    session: ssl.SSLSession | None

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool = False,
                 server_hostname: str | bytes | None = None, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
        """Give the TLS state of the handshake."""
        return self.beneath.wrap_bio(incoming, outgoing, server_side, server_hostname, session or self.session)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What one handshake is done with; give it back to `OutboundTls.done`. resuming: a former session is offered."""

    offer: Offer
    context: ssl.SSLContext
    key: tuple[str, str, int]
    resuming: bool


class OutboundTls:
    """Contexts in force and sessions kept. One per process; used in the event loop's thread only."""

    def __init__(self, context: ssl.SSLContext, *, resumes: bool = True) -> None:
        """context: shows the pair that we serve; resumes: False keeps no session."""
        self._context = context
        self._trial: ssl.SSLContext | None = None
        self._trial_domains: frozenset[str] = frozenset()
        self._resumes = resumes
        self._sessions: OrderedDict[tuple[str, str, int], ssl.SSLSession] = OrderedDict()
        self._spare: list[Offer] = []  # making one costs 50 µs and 20 KB: they are used again

    def put(self, context: ssl.SSLContext, trial: ssl.SSLContext | None = None, domains: frozenset[str] = frozenset()) -> None:
        """Put contexts in force for the handshakes to come. trial: what `domains` are shown instead."""
        if (context, trial) != (self._context, self._trial):
            self._sessions.clear()
        self._context, self._trial, self._trial_domains = context, trial, domains

    def context(self, domain: str) -> ssl.SSLContext:
        """Give the context in force for a domain."""
        return self._trial if self._trial is not None and domain in self._trial_domains else self._context

    def begin(self, endpoint: str, domain: str, *, resume: bool = True) -> Handshake:
        """Give what a handshake with `endpoint` for `domain` is done with."""
        context = self.context(domain)
        key = (endpoint, domain, id(context))
        offer = self._spare.pop() if self._spare else Offer(ssl.PROTOCOL_TLS_CLIENT)
        offer.beneath, offer.session = context, self._sessions.get(key) if resume else None
        return Handshake(offer, context, key, offer.session is not None)

    def keep(self, handshake: Handshake, tls: ssl.SSLObject | None) -> None:
        """Keep the session of a peer that was verified, once it has said something inside TLS (tickets of TLS 1.3 come late)."""
        if tls is None or not self._resumes or handshake.context not in (self._context, self._trial):
            return
        session = tls.session
        if session is None or (tls.version() == "TLSv1.3" and not session.has_ticket):
            return
        self._sessions[handshake.key] = session
        self._sessions.move_to_end(handshake.key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def forget(self, handshake: Handshake) -> None:
        """A handshake or a verification failed: what was kept for it is not offered again."""
        self._sessions.pop(handshake.key, None)

    def done(self, handshake: Handshake) -> None:
        """The handshake ended, well or not."""
        handshake.offer.session = None
        if len(self._spare) < 50:
            self._spare.append(handshake.offer)
