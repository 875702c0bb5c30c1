"""The login side of an IMAP connection: STARTTLS, LOGIN, AUTHENTICATE, and back: UNAUTHENTICATE (RFC 9051 §6.2, RFC 8437).

- STARTTLS: octets that came before the handshake are never taken for commands; if there are any, the connection ends.
- AUTHENTICATE drives the pure exchanges of `protocol/sasl`; `services/sasl.py` checks what they claim.
- What is offered depends on the listener, the configuration and the client's certificate: see `LoginOffer`.
- A refused login is told late and without a reason; too many of them end the connection. An account has so many connections.
- No secret is kept: an exchange is dropped with its last answer.
Base of `endpoints/imap_connection.py`, which has the commands, the clock and the reading.
"""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from mssante.endpoints.imap_output import PacedConnection
from mssante.endpoints.login_offer import LoginOffer as LoginOffer
from mssante.endpoints.tls_context import count_session, handshake_reason, send_alert, spare_descriptor
from mssante.errors import OperatorFault
from mssante.observability.metrics import LIMITS
from mssante.protocol.imap import encode
from mssante.protocol.imap.session import ImapSession
from mssante.protocol.imap.values import Completion, Condition
from mssante.protocol.sasl import base as sasl
from mssante.protocol.sasl.mechanisms import begin as begin_exchange
from mssante.protocol.sasl.mechanisms import offered
from mssante.services.imap.session import Session
from mssante.services.sasl import Accepted, Caller, Refused, Step, TryLater, cannot_check, follow
from mssante.services.throttle import Bucket

if TYPE_CHECKING:
    from mssante.endpoints.imap import AccountUse, ImapEndpoint

log = structlog.get_logger("imap")


class LoginSide(PacedConnection):
    """A connection up to its login."""

    def __init__(self, endpoint: ImapEndpoint) -> None:
        super().__init__(endpoint.settings.stall_seconds)
        self._endpoint = endpoint
        self._settings = endpoint.settings
        self._core = ImapSession(limits=endpoint.limits)
        self._core.figures = endpoint.settings.figures
        self._session = Session(endpoint.services, self._core, "")
        self._session.tell_progress(self._tell)
        self._ahead = bytearray()
        self._reading_paused = False
        self._circumstances = endpoint.offer.common
        self._exchange: sasl.Exchange | None = None
        self._exchange_tag = b""
        self._login_failures = 0
        self._last_heard = 0.0
        self._bucket = Bucket(endpoint.settings.commands_before_rate, endpoint.settings.commands_before_burst,
                              self._loop.time())
        self._use: AccountUse | None = None
        self._session_end: asyncio.TimerHandle | None = None

    @property
    @abstractmethod
    def _running(self) -> bool:
        """Whether a command is under way."""

    @abstractmethod
    def _start(self, running: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; commands behind it wait when it does."""

    @abstractmethod
    def _refuse(self, tag: bytes, name: str, fault: BaseException) -> None:
        """Answer a fault with its tagged line."""

    # ------------------------------------------------------------------------------------------ TLS

    def _tls_is_up(self) -> None:
        """Look at what this connection can be offered."""
        if self._transport is not None:
            ssl_object = self._transport.get_extra_info("ssl_object")
            self._circumstances = self._endpoint.offer.to(ssl_object, self._session.peer)
            count_session(ssl_object, "in")
        self._core.mechanisms = offered(self._circumstances)

    async def _start_tls(self, tag: bytes) -> None:
        """STARTTLS (RFC 9051 §6.2.1)."""
        context, transport = self._endpoint.tls, self._transport
        if context is None or transport is None:
            self._write(encode.tagged(tag, Completion(Condition.NO, "TLS is not available", b"UNAVAILABLE")))
            return
        if self._ahead or self._core.buffered or not self._core.start_tls():
            # Octets sent before the handshake could be anyone's (RFC 9051 §11.1).
            self._write(encode.bye("no command may follow STARTTLS before TLS is active"))
            self._close()
            return
        self._write(encode.tagged(tag, Completion(text="begin TLS now")))
        self._flush()
        spare = spare_descriptor(transport)  # the loop closes its own before the alert is sent
        try:
            secured = await self._loop.start_tls(transport, self, context, server_side=True,
                                                 ssl_handshake_timeout=self._settings.handshake_seconds)
        except (OSError, ConnectionError) as fault:
            log.info("imap_handshake_failed", fault=type(fault).__name__, reason=handshake_reason(fault))
            send_alert(spare, fault)
            self.abort()
            return
        finally:
            if spare >= 0:
                os.close(spare)
        if secured is None:
            self.abort()
            return
        if self._reading_paused:  # a command came with the end of the handshake, and paused what is now beneath TLS
            transport.resume_reading()
            self._reading_paused = False
        self._bind(secured)
        self._tls_is_up()

    # ------------------------------------------------------------------------------------------ exchanges

    def _authenticate(self, tag: bytes, mechanism: str, initial: bytes | None) -> None:
        """AUTHENTICATE (RFC 9051 §6.2.2)."""
        exchange = begin_exchange(mechanism, self._circumstances)
        if exchange is None:
            self._write(encode.tagged(tag, Completion(Condition.NO, "this mechanism is not supported", b"CANNOT")))
            return
        self._exchange, self._exchange_tag = exchange, tag
        self._start(self._go_on(exchange, exchange.start(initial)))

    def _respond(self, line: bytes) -> None:
        """Give the exchange the client's line."""
        exchange = self._exchange
        if exchange is None:
            return
        decoded = sasl.decode_response(line)
        answer = decoded if isinstance(decoded, sasl.Failure) else exchange.respond(decoded)
        self._start(self._go_on(exchange, answer))

    async def _go_on(self, exchange: sasl.Exchange, answer: sasl.Answer) -> None:
        """Treat what an exchange says."""
        tag = self._exchange_tag
        caller = Caller(self._session.peer, "imap")
        try:
            step = await follow(self._endpoint.services.authenticator, exchange, answer, caller)
            if isinstance(step, sasl.Challenge):
                self._core.expect_line()
                self._write(encode.continuation(sasl.encode_challenge(step)))
                return
            self._exchange = None
            await self._conclude(tag, step)
        except OperatorFault as fault:
            self._exchange = None
            await self._conclude(tag, cannot_check(fault, caller))
        except Exception as fault:  # the border: a failing store must not look like a wrong password
            self._exchange = None
            self._refuse(tag, "AUTHENTICATE", fault)

    async def _login(self, tag: bytes, login: str, password: str) -> None:
        """LOGIN (RFC 9051 §6.2.3)."""
        try:
            account = await self._endpoint.services.authenticator.authenticate(login, password, self._session.peer, "imap")
            await self._conclude(tag, Accepted(account) if account is not None else Refused())
        except TryLater:
            await self._conclude(tag, Refused("UNAVAILABLE"))
        except OperatorFault as fault:  # a failing store must not look like a wrong password
            await self._conclude(tag, cannot_check(fault, Caller(self._session.peer, "imap")))
        except Exception as fault:  # the border: a failing store must not look like a wrong password
            self._refuse(tag, "LOGIN", fault)

    # ------------------------------------------------------------------------------------------ outcome

    async def _conclude(self, tag: bytes, step: Step) -> None:
        """Let the user in, or tell that the login is refused; too many failures end the connection."""
        match step:
            case Refused(code, True):  # RFC 5530 §3: not the client's failure, so neither delay nor count
                self._write(encode.tagged(tag, Completion(Condition.NO, "the login cannot be checked now, try again later",
                                                          code.encode("ascii"))))
            case Accepted():
                await self._let_in(tag, step)
            case sasl.Failure(text):
                refusal = Completion(Condition.NO, text, b"CANNOT") if step.refused else Completion(Condition.BAD, text)
                self._write(encode.tagged(tag, refusal))
            case Refused("AUTHORIZATIONFAILED"):
                refusal = Completion(Condition.NO, "no other identity may be taken", b"AUTHORIZATIONFAILED")
                self._write(encode.tagged(tag, refusal))
            case Refused(code):
                self._login_failures += 1
                if self._settings.login_delay_seconds > 0:
                    await asyncio.sleep(self._settings.login_delay_seconds)
                words = "too many tries, try again later" if code == "UNAVAILABLE" else "login refused"
                self._write(encode.tagged(tag, Completion(Condition.NO, words, code.encode("ascii"))))
                if self._login_failures >= self._settings.login_failures:
                    LIMITS.labels("login_failures").inc()
                    self._write(encode.bye("too many failed logins"))
                    self._close()

    async def _let_in(self, tag: bytes, step: Accepted) -> None:
        """Open the user's mailbox, within the connections that an account may have. Raises CommandRefused."""
        use = self._endpoint.enter(step.account.login)
        try:
            await self._session.enter(step.account)
        except BaseException:
            self._endpoint.leave(use)
            raise
        self._use = use
        if self._closed:  # the client left meanwhile
            self._session.end()
            self._forget_use()
            return
        self._bucket = Bucket(self._settings.commands_rate, self._settings.commands_burst, self._loop.time())
        self._core.logged_in()
        self._last_heard = self._loop.time()
        if step.seconds > 0:
            self._session_end = self._loop.call_later(step.seconds, self._end_session)
        self._write(encode.tagged(tag, Completion(text="logged in", code=self._core.capability_code())))

    def _end_session(self) -> None:
        """What a token opened is over: the client logs in again with a new one (ECO.1.2.7). A command under way is finished."""
        if self._closed:
            return
        if self._running:
            self._session_end = self._loop.call_later(1.0, self._end_session)
            return
        LIMITS.labels("session_time").inc()
        self._write(encode.bye("session over, log in again"))
        self._close()

    def _forget_use(self) -> None:
        """This connection is no connection of an account any more."""
        if self._session_end is not None:
            self._session_end.cancel()
            self._session_end = None
        if self._use is not None:
            self._endpoint.leave(self._use)
            self._use = None

    def _unauthenticate(self, tag: bytes) -> None:
        """UNAUTHENTICATE (RFC 8437 §3): everything of the user is dropped, TLS stays, compression ends behind this answer."""
        former = self._session
        former.end()
        self._forget_use()
        self._session = Session(self._endpoint.services, self._core, former.peer)
        self._session.wake = former.wake
        self._session.tell_progress(self._tell)
        self._core.unauthenticated()
        self._bucket = Bucket(self._settings.commands_before_rate, self._settings.commands_before_burst, self._loop.time())
        self._last_heard = self._loop.time()
        self._write(encode.tagged(tag, Completion(text="UNAUTHENTICATE completed", code=self._core.capability_code())))
        self._end_compression()
