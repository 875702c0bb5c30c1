"""Delivery to other operators: resolves, connects, checks the peer, keeps sessions, limits concurrency per destination.

Guarantees
- A batch always gets one outcome per recipient; a failure of the session, of the DNS or of ours is Deferred.
- Only TLS 1.2 and 1.3 with ECDHE and AEAD, our certificate shown, the peer accepted by `verify_peer` for the domain of
  destination (spec §2.2 outbound): no clear text, no delivery to a stranger; a wrong certificate defers (and the queue
  bounces in the end).
- Addresses found by DNS that are loopback, private, or not global are refused unless `allow_private`.
- A session that dies after our final dot defers with `SMTP-OUTCOME-UNKNOWN`: a duplicate may follow, a loss may not
  (RFC 1047).

Never: retries later (the queue does), reads the white list, logs an address. Implements `services.ports.Mailer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from mssante.errors import MssFault
from mssante.model.outcome import Deferred, Outcome, Refused
from mssante.protocol.smtp.client import Transaction
from mssante.protocol.smtp.outcomes import fault_outcome, recipient_outcomes, unsendable
from mssante.protocol.smtp.replies import SmtpFault
from mssante.services.ports import RelayBatch, RelayResult, Resolver
from mssante.transport.smtp_connection import Endpoint, SessionResult, SmtpSession, SmtpTimeouts, open_session
from mssante.transport.tls_offer import Handshake, OutboundTls
from mssante.transport.tls_offer import outbound_tls as outbound_tls

_logger = logging.getLogger(__name__)

MAX_ENDPOINTS = 10  # addresses tried in one attempt, over all hosts
RECIPIENTS_PER_TRANSACTION = 100  # RFC 5321 §4.5.3.1.8: what every server must take

VerifyPeer = Callable[[bytes, str], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """ehlo_name: the MTA's name (CN of its certificate, spec F2.11); routes: domain to endpoint, before DNS (F2.10)."""

    ehlo_name: str
    routes: Mapping[str, Endpoint] = field(default_factory=dict)
    allow_private: bool = False
    timeouts: SmtpTimeouts = field(default_factory=SmtpTimeouts)
    first_concurrency: int = 2
    max_concurrency: int = 20
    idle_seconds: float = 10.0
    messages_per_session: int = 100


def is_public(address: str) -> bool:
    """Tell whether mail may go to an address found by DNS: global unicast, also once unwrapped from IPv6 (RFC 6890)."""
    try:
        value = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(value, ipaddress.IPv6Address):
        inner = value.ipv4_mapped or value.sixtofour or (value.teredo[1] if value.teredo else None)
        if inner is not None:
            value = inner
    return value.is_global and not value.is_multicast


class _Lane:
    """One destination: how many at once, who waits, which sessions rest."""

    def __init__(self, first: int, most: int) -> None:
        self.limit = float(min(first, most))
        self._most = most
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.idle: deque[tuple[SmtpSession, asyncio.TimerHandle]] = deque()

    async def enter(self) -> None:
        """Wait for a place."""
        if self._active < int(self.limit) and not self._waiting:
            self._active += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(place)
            raise

    def leave(self) -> None:
        """Give a place back, and as many as the limit allows to those who wait."""
        self._active -= 1
        while self._waiting and self._active < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self._active += 1
                place.set_result(None)

    def grew(self) -> None:
        """Count a success: one place more after as many successes as there are places."""
        self.limit = min(self.limit + 1 / self.limit, float(self._most))

    def shrank(self) -> None:
        """Count a failure of a session: half of the places, one at least."""
        self.limit = max(self.limit / 2, 1.0)


class OperatorPool:
    """The `Mailer` towards operators. One per process; `close` when the process stops."""

    def __init__(self, settings: PoolSettings, *, tls: OutboundTls, resolver: Resolver, verify_peer: VerifyPeer) -> None:
        """tls: what each new session shows, and may resume (certificates rotate without restart); verify_peer: takes the leaf's
        DER and the destination domain, raises MssFault to refuse, at once or when what it gives is awaited."""
        self._settings = settings
        self._tls = tls
        self._resolver = resolver
        self._verify_peer = verify_peer
        self._lanes: dict[str, _Lane] = {}
        self._quits: set[asyncio.Task[None]] = set()
        self._closed = False

    async def deliver(self, batch: RelayBatch) -> RelayResult:
        """Try once to deliver; give an outcome per recipient, in order. Raises nothing but cancellation."""
        lane = self._lanes.get(batch.destination)
        if lane is None:
            lane = self._lanes[batch.destination] = _Lane(
                self._settings.first_concurrency, self._settings.max_concurrency)
        await lane.enter()
        try:
            return await self._deliver(lane, batch)
        except MssFault as fault:
            return _same(batch, fault_outcome(fault, ""))
        except Exception as exc:  # an unknown fault is temporary: good mail is never refused because we erred
            _logger.exception("delivery failed on our side", extra={"trace_id": batch.trace_id})
            return _same(batch, Deferred("internal fault", rule="SMTP-INTERNAL-" + type(exc).__name__.upper()))
        finally:
            lane.leave()

    def concurrency(self, destination: str) -> int:
        """Give how many sessions are allowed at once to a destination now."""
        lane = self._lanes.get(destination)
        return int(lane.limit) if lane else self._settings.first_concurrency

    async def close(self) -> None:
        """End the sessions that rest; those in use end with their transaction."""
        self._closed = True
        for lane in self._lanes.values():
            while lane.idle:
                session, timer = lane.idle.popleft()
                timer.cancel()
                self._quit(session)
        while self._quits:
            await asyncio.gather(*self._quits, return_exceptions=True)

    async def _deliver(self, lane: _Lane, batch: RelayBatch) -> RelayResult:
        transactions = [
            _transaction(batch, start) for start in range(0, len(batch.recipients), RECIPIENTS_PER_TRANSACTION)]
        while (found := self._take_idle(lane, batch.destination)) is not None:
            rested, waiting = found
            if waiting is not None and not await _came_true(waiting, rested):
                continue
            results = await self._run(rested, transactions, batch)
            if results and not _stale(results[0]):
                return self._conclude(lane, rested, batch, results)
            rested.abort()
        session = await self._connect(batch.destination)
        if not isinstance(session, SmtpSession):
            lane.shrank()
            return _same(batch, session)
        return self._conclude(lane, session, batch, await self._run(session, transactions, batch))

    async def _run(self, session: SmtpSession, transactions: list[Transaction], batch: RelayBatch,
                   ) -> list[SessionResult | Refused]:
        """Send the batch, in several transactions when it has many recipients; fewer results when the session ends."""
        outcomes: list[SessionResult | Refused] = []
        try:
            for transaction in transactions:
                refused = unsendable(transaction, session.extensions)
                if refused is not None:
                    outcomes.append(refused)
                    continue
                outcomes.append(await session.send(transaction, batch.body))
                if not session.usable:
                    break
        except BaseException:
            session.abort()
            raise
        return outcomes

    def _conclude(self, lane: _Lane, session: SmtpSession, batch: RelayBatch,
                  results: list[SessionResult | Refused]) -> RelayResult:
        """Turn the results into outcomes; those of transactions that could not begin wait."""
        outcomes: list[Outcome] = []
        for result in results:
            if isinstance(result, Refused):
                left = len(batch.recipients) - len(outcomes)
                outcomes += [result] * min(RECIPIENTS_PER_TRANSACTION, left)
            else:
                outcomes += recipient_outcomes(
                    result.replies, result.fault, remote=session.remote, dsn=session.extensions.dsn)
        missing = Deferred("the session ended before this recipient", remote=session.remote, rule="SMTP-CLOSED")
        outcomes += [missing] * (len(batch.recipients) - len(outcomes))
        last = results[-1]
        self._settle(lane, session, broken=not isinstance(last, Refused) and isinstance(last.fault, SmtpFault))
        return RelayResult(tuple(outcomes), session.remote, session.tls, session.certificate)

    def _settle(self, lane: _Lane, session: SmtpSession, *, broken: bool) -> None:
        """Count the result and let the session rest, end it, or forget it."""
        if broken:
            lane.shrank()
            session.abort()
            return
        lane.grew()
        if not session.usable:
            session.abort()
        elif self._closed or session.transactions >= self._settings.messages_per_session:
            self._quit(session)
        else:
            timer = asyncio.get_running_loop().call_later(self._settings.idle_seconds, self._retire, lane, session)
            lane.idle.append((session, timer))

    def _take_idle(self, lane: _Lane, domain: str) -> tuple[SmtpSession, Awaitable[None] | None] | None:
        """Give the session that rested least, still usable and still trusted: the list or a CRL may have changed (RQ-REV);
        and what to await first when OCSP has to be asked. One that showed a pair which is not shown any more ends politely."""
        while lane.idle:
            session, timer = lane.idle.pop()
            timer.cancel()
            if session.context is not self._tls.context(domain):
                self._quit(session)
                continue
            if session.usable:
                try:
                    return session, self._verify_peer(session.leaf, domain)
                except MssFault:  # a new session will meet the same refusal, and give its words to the outcome
                    pass
            session.abort()
        return None

    def _retire(self, lane: _Lane, session: SmtpSession) -> None:
        for item in list(lane.idle):
            if item[0] is session:
                lane.idle.remove(item)
                self._quit(session)

    def _quit(self, session: SmtpSession) -> None:
        task = asyncio.get_running_loop().create_task(session.quit())
        self._quits.add(task)
        task.add_done_callback(self._quits.discard)

    async def _connect(self, domain: str) -> SmtpSession | Deferred | Refused:
        """Give a session with a host of `domain` that proved to be its operator, or the outcome for all recipients."""
        endpoints = await self._endpoints(domain)
        if not isinstance(endpoints, list):
            return endpoints
        failure = Deferred("no host answered in time", rule="SMTP-CONNECT")
        try:
            async with asyncio.timeout(self._settings.timeouts.opening):
                for endpoint in endpoints[:MAX_ENDPOINTS]:
                    try:
                        return await self._open(endpoint, domain)
                    except MssFault as fault:
                        if failure.rule == "SMTP-CONNECT":  # the first more telling reason is kept
                            failure = _session_outcome(fault, str(endpoint))
        except TimeoutError:
            pass
        return failure

    async def _open(self, endpoint: Endpoint, domain: str) -> SmtpSession:
        """Give a session, resumed when there is one to resume; one that breaks the handshake is tried once without."""
        handshake = self._tls.begin(str(endpoint), domain)
        try:
            return await self._shake(handshake, endpoint, domain)
        except SmtpFault as fault:
            if not handshake.resuming or fault.rule != "SMTP-TLS-HANDSHAKE":
                raise
        return await self._shake(self._tls.begin(str(endpoint), domain, resume=False), endpoint, domain)

    async def _shake(self, handshake: Handshake, endpoint: Endpoint, domain: str) -> SmtpSession:
        try:
            session = await open_session(
                endpoint, tls=handshake.offer, ehlo_name=self._settings.ehlo_name,
                verify=lambda leaf: self._verify_peer(leaf, domain), timeouts=self._settings.timeouts)
        except BaseException:
            self._tls.forget(handshake)
            raise
        finally:
            self._tls.done(handshake)
        session.context = handshake.context
        self._tls.keep(handshake, session.tls_object)
        return session

    async def _endpoints(self, domain: str) -> list[Endpoint] | Deferred | Refused:
        route = self._settings.routes.get(domain)
        if route is not None:  # what the operator wrote down is not filtered
            with contextlib.suppress(ValueError):
                ipaddress.ip_address(route.host)
                return [route]
            found = await self._resolver.addresses(route.host)
            if not isinstance(found, tuple):
                return found
            return [Endpoint(address, route.port, route.server_name or route.host) for address in found]
        targets = await self._resolver.mail_targets(domain)
        if not isinstance(targets, tuple):
            return targets
        endpoints = [
            Endpoint(address, target.port, target.host) for target in targets for address in target.addresses
            if self._settings.allow_private or is_public(address)]
        if not endpoints:
            return Deferred("the mail hosts of the destination have private addresses only", rule="DNS-PRIVATE")
        return endpoints


def _session_outcome(fault: MssFault, remote: str) -> Deferred:
    """Failures before a session is ready wait, a wrong certificate too (spec §2.2: defer, then bounce)."""
    outcome = fault_outcome(fault, remote)
    return Deferred(outcome.reply, remote=remote, rule=fault.rule or "SMTP-SESSION")


async def _came_true(waiting: Awaitable[None], session: SmtpSession) -> bool:
    """Tell whether a session that rested is still trusted once that could be decided; if not, it is cut."""
    try:
        await waiting
    except MssFault:
        session.abort()
        return False
    except BaseException:
        session.abort()
        raise
    return session.usable


def _transaction(batch: RelayBatch, start: int) -> Transaction:
    return Transaction(
        sender=batch.sender, recipients=batch.recipients[start:start + RECIPIENTS_PER_TRANSACTION], size=batch.size,
        ret=batch.ret, envid=batch.envid, smtputf8=batch.smtputf8, body_8bit=batch.body_8bit)


def _stale(result: SessionResult | Refused) -> bool:
    """Tell whether a rested session had died: nothing of ours was answered, another session may take over at once."""
    return (not isinstance(result, Refused) and isinstance(result.fault, SmtpFault)
            and result.fault.rule in ("SMTP-CLOSED", "SMTP-ENDED")
            and result.replies.sender is None and not result.replies.body_ended)


def _same(batch: RelayBatch, outcome: Outcome) -> RelayResult:
    return RelayResult((outcome,) * len(batch.recipients))
