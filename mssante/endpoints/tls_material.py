"""What our doors serve: contexts built from pairs, swapped as a whole while the doors stay open, chosen by name when asked.

- A listener is given a `Front`: a context that builds nothing itself and hands each new session to the context in force. A
  swap is one assignment: a handshake has either the former context or the new one, sessions under way keep theirs.
- A new context has new ticket keys: what was resumable before is not any more (keys, anchors and client authorities never
  outlive their replacement by resumption). The owner renews contexts after `session_seconds`, which bounds the life of tickets.
- SNI: a name that `[[tls.sni]]` gives a pair for is served with it, any other name and no name with the door's own pair.
- Two kinds of door: with STARTTLS the session above sends the alert of a failed handshake; with TLS from the first octet
  nothing is above yet, so the TLS state itself lets the alert go out before it fails (`ImplicitObject`).

Never: reads the configuration, judges a certificate (`services.tlskeys` did). Called by `tls_setup`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mssante.endpoints.tls_context import AlertingContext, AlertingObject, door_context
from mssante.services.tlskeys import ReadPair


class ImplicitObject(AlertingObject):
    """The TLS state of a session that nothing knows of before its handshake is done.

    The first true failure leaves its alert where the loop sends it from, and looks like a wait; the second call raises it. A
    peer that does not hang up on the alert is cut by the time limit of handshakes.
    """

    failed: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake; raises ssl.SSLError."""
        if self.failed is not None:
            raise self.failed
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as fault:
            alert = getattr(fault, "alert", b"")
            if not alert:
                raise
            self.failed = fault
            self.outgoing.write(alert)
            raise ssl.SSLWantReadError from None


@dataclass(frozen=True, slots=True)
class DoorPlan:
    """All that one kind of door serves. pairs: side by side; names: pairs by server name, lower case; client_anchors: ask for a
    certificate of these (PEM text); people: the peer is a user's client and not an operator."""

    pairs: Sequence[ReadPair]
    names: Mapping[str, ReadPair] = field(default_factory=dict)
    client_anchors: str | None = None
    people: bool = True


def build(plan: DoorPlan) -> AlertingContext:
    """Give the context of a plan. Raises OperatorFault or ssl.SSLError when OpenSSL does not take something of it."""
    context = _context(plan, plan.pairs)
    contexts = {one.fingerprint: _context(plan, [one]) for one in plan.names.values()}
    chosen = {name.lower(): contexts[one.fingerprint] for name, one in plan.names.items()}
    if chosen:
        def by_name(session: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            found = chosen.get(name.lower().rstrip(".")) if name else None  # RFC 6066 §3: no trailing dot, any case
            if found is not None:
                session.context = found

        context.sni_callback = by_name
    return context


def _context(plan: DoorPlan, pairs: Sequence[ReadPair]) -> AlertingContext:
    context = door_context(plan.client_anchors, people=plan.people)
    for one in pairs:
        one.load_into(context)
    context.end_point = pairs[0].end_point if len(pairs) == 1 else b""
    return context


class Front(ssl.SSLContext):
    """What a listener holds for good. `implicit`: TLS from the first octet."""

    current: AlertingContext
    implicit: bool

    def __new__(cls, current: AlertingContext, *, implicit: bool = False) -> Front:
        """current: the context in force."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made.current = current
        made.implicit = implicit
        return made

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Give a new session to the context in force."""
        made = self.current.wrap_bio(incoming, outgoing, *arguments, **options)
        if self.implicit:
            made.__class__ = ImplicitObject
        return made


class DoorTls:
    """One kind of door: its context in force, behind the fronts that its listeners hold."""

    def __init__(self, context: AlertingContext) -> None:
        """context: what is served first, see `build`."""
        self.starttls = Front(context)
        self.implicit = Front(context, implicit=True)

    def put(self, context: AlertingContext) -> None:
        """Serve what was built from the next handshake on."""
        self.starttls.current = self.implicit.current = context
