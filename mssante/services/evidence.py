"""Facts that belong to no message: refusals, logins, trust changes. Written to the journal behind the reply.

- Gathered for `GATHER_SECONDS` into one write: a burst of logins or refusals costs one turn of the writer, not one each.
- Bounded: above `MAX_PENDING` events not yet on disk, further ones are counted and told in one log line, so that a peer
  that is refused a thousand times a second costs no memory.
- Refused logins that pour in are counted by network, one event in ten seconds each (`refusedlogins`).
- Citizen addresses are pseudonymised here, before anything is written.
- Each refusal is also one log line and one count, with the rule, never with content.
- The certificates of refused sessions and senders are kept once each, the 20 seen last (`peer_certificates`, no domain), for
  replays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

import structlog

from mssante.clock import Clock
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.reply import Refuse
from mssante.observability.metrics import HANDSHAKE_FAILURES, LOGINS, REFUSALS
from mssante.services.privacy import Pseudonyms
from mssante.services.refusedlogins import GATHER_SECONDS as REFUSED_SECONDS
from mssante.services.refusedlogins import RefusedLogins
from mssante.services.sasl import Caller
from mssante.services.smtp_session import SmtpSessionState
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.peercerts import INBOUND, KEPT, PeerCertificate
from mssante.trust.explain import clean, read_facts, usage_text
from mssante.trust.names import MAX_DN

log = structlog.get_logger("evidence")
MAX_PENDING = 2000
GATHER_SECONDS = 0.05
_KINDS = {
    "session": JournalKind.SESSION_REFUSED,
    "mail": JournalKind.SENDER_REFUSED,
    "rcpt": JournalKind.RECIPIENT_REFUSED,
    "data": JournalKind.DATA_REFUSED,
}


def _certificate(state: SmtpSessionState) -> dict[str, str]:
    """Give what the journal keeps of the certificate shown; a refused one is proven by nothing, and told as it says it is."""
    if state.identity is not None:
        return {"certificate": state.identity.fingerprint, "not_after": state.identity.not_after.isoformat()}
    facts = read_facts(state.leaf_der)
    if facts is None:
        return {"certificate": sha256(state.leaf_der).hexdigest()} if state.leaf_der else {}
    return {"certificate": facts.fingerprint, "dn": clean(facts.subject.text, MAX_DN), "issuer": facts.issuer,
            "serial": f"{facts.serial:x}", "not_before": facts.not_before.isoformat(), "not_after": facts.not_after.isoformat(),
            "key": facts.key, "usages": usage_text(facts)}


class Evidence:
    """Writes events that no transaction carries."""

    def __init__(self, stores: Stores, clock: Clock, pseudonyms: Pseudonyms) -> None:
        self._stores = stores
        self._clock = clock
        self._pseudonyms = pseudonyms
        self._gathered: list[JournalEvent] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._refused = RefusedLogins()
        self._refused_timer: asyncio.TimerHandle | None = None
        self._pending = 0  # events gathered or being written
        self._dropped = 0
        self._shown: dict[str, PeerCertificate] = {}  # of refused sessions, to be written with the next events
        self._kept: set[str] = set()

    def address(self, address: str) -> str:
        """Give an address as the journal may hold it."""
        return self._pseudonyms.public_address(address)

    def text(self, text: str, addresses: Sequence[str]) -> str:
        """Give a remote server's words, which may quote one of `addresses`, as the journal may hold them."""
        for address in addresses:
            text = self._pseudonyms.public_text(text, address)
        return text

    def event(self, kind: JournalKind, subject: str, payload: dict[str, str | int | float | bool | None],
              trace_id: str = "") -> JournalEvent:
        """Build an event at the present instant."""
        return JournalEvent(kind, self._clock.now(), trace_id, subject, payload)

    def write(self, event: JournalEvent) -> None:
        """Append behind the caller's back; dropped (and counted) when too many wait."""
        if self._pending >= MAX_PENDING:
            self._dropped += 1
            return
        self._pending += 1
        self._gathered.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._write_gathered)

    def _write_gathered(self) -> None:
        """Hand what was gathered to the writer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._gathered = self._gathered, []
        if events:
            task = asyncio.ensure_future(self._append(events))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _append(self, events: list[JournalEvent]) -> None:
        try:
            await self._stores.database.write_many(self._append_all, events)
            await self._keep_shown()
        except Exception:  # the border: whoever caused the events has his answer already
            self._dropped += len(events)
        self._pending -= len(events)
        if self._dropped and not self._pending:
            log.warning("events_not_journalled", count=self._dropped)
            self._dropped = 0

    def _remember(self, state: SmtpSessionState, rule: str, not_after: str) -> None:
        """Keep the certificate of a refused session, once each: a peer that comes a thousand times costs one row."""
        name = sha256(state.leaf_der).hexdigest() if state.leaf_der else ""
        if not name or name in self._kept or len(self._shown) >= KEPT:
            return
        if len(self._kept) >= MAX_PENDING:
            self._kept.clear()
        self._kept.add(name)
        now = self._clock.now()
        end = datetime.fromisoformat(not_after)
        self._shown[name] = PeerCertificate("", name, INBOUND, state.leaf_der, end, now, now, 1, rule)

    async def _keep_shown(self) -> None:
        taken, self._shown = list(self._shown.values()), {}
        if taken:
            await self._stores.database.write(lambda tx: self._stores.peer_certificates.record(tx, taken))

    async def flush(self) -> None:
        """Wait for what was handed in (stop of the service, tests)."""
        self._tell_refused()
        self._write_gathered()
        while self._writing:
            await asyncio.wait(set(self._writing))
            self._write_gathered()

    def _append_all(self, tx: Tx, batches: Sequence[Sequence[JournalEvent]]) -> list[None]:
        self._stores.journal.append(tx, [event for batch in batches for event in batch])
        return [None] * len(batches)

    def refusal(self, state: SmtpSessionState, stage: str, refusal: Refuse, *, list_at: str = "") -> None:
        """Journal, count and log one SMTP refusal with the rule and the values seen: `mssante explain` replays it from them.

        list_at: generation instant of the white list in force, empty when there is none.
        """
        REFUSALS.labels(stage, refusal.rule or "autre").inc()
        transaction = state.transaction
        payload: dict[str, str | int | float | bool | None] = {
            "rule": refusal.rule, "code": refusal.reply.code, "peer": state.peer,
            "dn": state.identity.subject.text if state.identity else "",
            "detail": self.address(refusal.detail) if "@" in refusal.detail else refusal.detail,
            "list_at": list_at, **(shown := _certificate(state)),
        }
        if "not_after" in shown and stage in ("session", "mail"):
            self._remember(state, refusal.rule, shown["not_after"])
        log.info("refused", stage=stage, rule=refusal.rule, peer=state.peer)
        subject = self.address(str(transaction.sender)) if transaction and transaction.sender else state.peer
        trace_id = transaction.trace_id if transaction else ""
        self.write(self.event(_KINDS[stage], subject, payload, trace_id))

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Journal a TLS handshake that failed."""
        HANDSHAKE_FAILURES.inc()
        log.info("handshake_failed", peer=peer, reason=reason)
        payload: dict[str, str | int | float | bool | None] = {"rule": "TLS-POIGNEE", "reason": reason, "peer": peer}
        self.write(self.event(JournalKind.SESSION_REFUSED, peer, payload))

    def login(self, login: str, peer: str, protocol: str, *, accepted: bool) -> None:
        """Journal a login or its refusal."""
        LOGINS.labels(protocol, "accepted" if accepted else "refused").inc()
        if not accepted and not self._refused.single(login, Caller(peer, protocol), self._clock.monotonic()):
            if self._refused_timer is None:
                self._refused_timer = asyncio.get_running_loop().call_later(REFUSED_SECONDS, self._tell_refused)
            return
        kind = JournalKind.LOGIN if accepted else JournalKind.LOGIN_REFUSED
        self.write(self.event(kind, self.address(login), {"peer": peer, "protocol": protocol}))

    def _tell_refused(self) -> None:
        """Journal the refused logins that were counted."""
        if self._refused_timer is not None:
            self._refused_timer.cancel()
            self._refused_timer = None
        for network, payload in self._refused.take():
            self.write(self.event(JournalKind.LOGIN_REFUSED, network, payload))
