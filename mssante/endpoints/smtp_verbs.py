"""The verbs of one SMTP session: each computes and calls `say`; the loop beneath writes (STYLE rule 2).

Commands (RFC 5321 §4.1.1): EHLO, HELO, STARTTLS (RFC 3207), AUTH (RFC 4954), MAIL, RCPT, DATA, RSET, NOOP, QUIT, HELP,
VRFY, EXPN. Replies come from `mssante.model.replies` and from the policy's decisions.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from mssante.endpoints.smtp_auth import start_auth
from mssante.endpoints.smtp_base import Receiving, SmtpLoop
from mssante.endpoints.smtp_parse import ReplyFault, parse_mail, parse_rcpt
from mssante.endpoints.tls_context import bound, count_session, handshake_reason
from mssante.endpoints.tls_pipe import TlsPipe
from mssante.ids import new_trace_id
from mssante.model import replies
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.protocol.sasl.base import Answer, Challenge, Exchange, Failure
from mssante.protocol.sasl.mechanisms import offered
from mssante.protocol.smtp.dots import LINE, NUL, SIZE, DotReader
from mssante.services.smtp_session import MailTransaction

SWALLOW_FACTOR = 4  # a content that goes on beyond this many times the size limit closes the session
_SENDER_OK = replies.SENDER_OK.encode()
_RECIPIENT_OK = replies.RECIPIENT_OK.encode()
_START_DATA = replies.START_DATA.encode()


class HardenedSmtp(SmtpLoop):
    """One connection: the verbs over the loop."""

    # ------------------------------------------------------------ greeting and TLS

    def _extensions(self) -> list[str]:
        """The one list of what EHLO announces (RFC 5321 §4.1.1.1)."""
        words = ["PIPELINING", f"SIZE {self.settings.message_bytes}"]
        if not self._secure:
            words.append("STARTTLS")
        elif self.settings.offers_auth and self.state.account is None:
            words.append(" ".join(("AUTH", *offered(self.login))))
        return [*words, "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"]

    def smtp_EHLO(self, argument: str) -> None:
        """EHLO (RFC 5321 §4.1.1.1); a session that trust refused learns it here, with its rule."""
        if not argument or len(argument) > 255:
            raise ReplyFault(replies.SYNTAX)
        if self.state.refused is not None:
            self._turn_away(self.state.refused)
            return
        self._forget_transaction()
        self.state.helo = argument
        lines = [self.settings.hostname, *self._extensions()]
        last = len(lines) - 1
        self._out.append("".join(f"250{' ' if i == last else '-'}{line}\r\n" for i, line in enumerate(lines)).encode())

    def smtp_HELO(self, argument: str) -> None:
        """HELO (RFC 5321 §4.1.1.1): answered, though nothing can be sent without TLS."""
        if not argument or len(argument) > 255:
            raise ReplyFault(replies.SYNTAX)
        if self.state.refused is not None:
            self._turn_away(self.state.refused)
            return
        self._forget_transaction()
        self.state.helo = argument
        self._out.append(f"250 {self.settings.hostname}\r\n".encode())

    def _turn_away(self, refusal: Refuse) -> None:
        """Tell a peer that trust refused why, and whom to ask; then close."""
        reply = refusal.reply
        if self.settings.contact:
            reply = SmtpReply(reply.code, reply.enhanced, f"{reply.text}\nContact : {self.settings.contact}", reply.rule)
        self._end(reply)

    def smtp_STARTTLS(self, argument: str) -> None:
        """STARTTLS (RFC 3207 §4): the buffer in clear must be empty, all state is forgotten."""
        if self._secure:
            raise ReplyFault(replies.TLS_TWICE)
        if argument:
            raise ReplyFault(replies.TLS_NO_ARGUMENT)
        if self._buffer:  # RFC 3207 §4.2: nothing of the clear part may be acted on inside TLS
            self._buffer = b""
            self.policy.note_refusal(self.state, "session", Refuse(replies.TLS_INJECTION))
            self._end(replies.TLS_INJECTION)
            return
        self.say(replies.READY_FOR_TLS)
        self._flush()
        self._forget_transaction()
        self.state.helo = ""
        self._wait_for(self._upgrade(), lambda _: None)

    async def _upgrade(self) -> None:
        if self.wire is None:
            return
        if self._buffer:  # a second read in the same turn of the loop: still clear text (RFC 3207 §4.2)
            self._close()
            return
        pipe = TlsPipe(cast(asyncio.Transport, self.wire), self.settings.tls, self, self._place)
        try:
            await pipe.handshake(self.settings.handshake_seconds)
        except (OSError, ssl.SSLError, asyncio.CancelledError) as exc:
            self.policy.handshake_failed(self.state.peer, handshake_reason(exc))
            pipe.close()
            self.connection_lost(None)  # a pipe that was never up tells nobody of its end
            return
        if self._closing:
            pipe.close()
            return
        self.wire = pipe
        self.transport = cast(asyncio.BaseTransport, pipe)
        waiting = self._tls_is_up()
        if waiting is not None:
            await waiting
            self._note_admission()

    def _tls_is_up(self) -> Awaitable[None] | None:
        self._secure = True
        if self.wire is None:
            return None
        ssl_object = self.wire.get_extra_info("ssl_object")
        self.state.leaf_der = ssl_object.getpeercert(True) or b""
        self.state.tls = f"{ssl_object.version()} {ssl_object.cipher()[0]}"
        offer = self.settings.offer
        self.login = bound(self.settings.login, ssl_object) if offer is None else offer.to(ssl_object, self.state.peer)
        count_session(ssl_object, "in")
        waiting = self.policy.secured(self.state)
        if waiting is None:
            self._note_admission()
        return waiting

    def _note_admission(self) -> None:
        if self.state.refused is not None:
            self.policy.note_refusal(self.state, "session", self.state.refused)

    # ------------------------------------------------------------ AUTH

    def smtp_AUTH(self, argument: str) -> None:
        """AUTH, inside TLS only (RFC 4954)."""
        start_auth(self, argument)

    def take_line(self, taker: Callable[[bytes], None]) -> None:
        """The next line goes to `taker` (AUTH exchanges)."""
        self._line_taker = taker

    def challenge(self, encoded: bytes) -> None:
        """Send a SASL challenge (RFC 4954 §4); `encoded` is base64, possibly empty."""
        self._out.append(b"334 " + encoded + b"\r\n")

    def follow_exchange(self, exchange: Exchange, answer: Answer,
                        then: Callable[[Challenge | Failure | SmtpReply], None]) -> None:
        """Ask the policy to go on with an exchange; `then` is told what to say."""
        self._wait_for(self.policy.log_in(self.state, exchange, answer), then)

    # ------------------------------------------------------------ MAIL, RCPT, DATA

    def _ready_for_mail(self) -> None:
        if self.state.refused is not None:
            raise ReplyFault(self.state.refused.reply)
        if not self.state.helo:
            raise ReplyFault(replies.BAD_SEQUENCE)
        if self.policy.needs_auth and self.state.account is None:
            raise ReplyFault(replies.NEED_AUTH)

    def smtp_MAIL(self, argument: str) -> None:
        """MAIL FROM (RFC 5321 §4.1.1.2)."""
        self._ready_for_mail()
        if self.state.transaction is not None:
            raise ReplyFault(replies.BAD_SEQUENCE)
        command = parse_mail(argument)
        if command.size > self.settings.message_bytes:
            raise ReplyFault(replies.too_big(self.settings.message_bytes))
        transaction = MailTransaction(command.sender, new_trace_id(), command.ret, command.envid, command.smtputf8,
                                      command.size)

        def decided(decision: Decision) -> None:
            if isinstance(decision, Allow):
                self.state.transaction = transaction
                self._out.append(_SENDER_OK)
            else:
                self.policy.note_refusal(self.state, "mail", decision)
                self.say(decision.reply)

        self._decide(self.policy.begin(self.state, transaction), decided)

    def smtp_RCPT(self, argument: str) -> None:
        """RCPT TO (RFC 5321 §4.1.1.3)."""
        transaction = self.state.transaction
        if transaction is None:
            self._ready_for_mail()
            raise ReplyFault(replies.BAD_SEQUENCE)
        if transaction.recipient_count >= self.settings.recipients:
            raise ReplyFault(replies.TOO_MANY_RECIPIENTS)
        recipient = parse_rcpt(argument, transaction.smtputf8, self.settings.postmaster)

        def decided(decision: Decision) -> None:
            if isinstance(decision, Allow):
                self._out.append(_RECIPIENT_OK if decision.reply is None else decision.reply.encode())
            else:
                self.policy.note_refusal(self.state, "rcpt", decision)
                self.say(decision.reply)

        self._decide(self.policy.add_recipient(self.state, recipient), decided)

    def _decide(self, decision: Decision | Awaitable[Decision], then: Callable[[Any], None]) -> None:
        if isinstance(decision, Allow | Refuse):
            then(decision)
        else:
            self._wait_for(decision, then)

    def smtp_DATA(self, argument: str) -> None:
        """DATA (RFC 5321 §4.1.1.4)."""
        transaction = self.state.transaction
        if transaction is None:
            self._ready_for_mail()
            raise ReplyFault(replies.BAD_SEQUENCE)
        if argument:
            raise ReplyFault(replies.SYNTAX)
        if not transaction.recipient_count:
            raise ReplyFault(replies.NO_VALID_RECIPIENT)
        self._receiving = Receiving(DotReader(max_size=self.settings.message_bytes), self.policy.sink(), transaction)
        self.deadline = time.monotonic() + self.settings.data_seconds
        self._out.append(_START_DATA)

    def _feed_data(self, receiving: Receiving) -> None:
        reader = receiving.reader
        buffer, self._buffer = self._buffer, b""
        reader.feed(buffer)
        if reader.size > SWALLOW_FACTOR * self.settings.message_bytes:
            self._end(replies.too_big(self.settings.message_bytes))
            return
        receiving.sink.add(reader.take())
        if reader.done:
            self._buffer = reader.rest
            self._receiving = None
            self._end_of_data(receiving)
        elif receiving.sink.wants_flush and not reader.bad:
            self._wait_for(receiving.sink.flush(), lambda _: None)

    def _end_of_data(self, receiving: Receiving) -> None:
        bad = receiving.reader.bad
        if bad:
            receiving.sink.discard()
            reply = _data_refusal(bad, self.settings.message_bytes)
            self.policy.note_refusal(self.state, "data", Refuse(reply))
            self.state.transaction = None
            self.say(reply)
            return
        self._wait_for(self._finish(receiving), self.say)

    async def _finish(self, receiving: Receiving) -> SmtpReply:
        try:
            return await self.policy.finish(self.state, receiving.transaction, receiving.sink)
        finally:
            self.state.transaction = None  # not before: a refusal is journalled with its sender and trace id

    # ------------------------------------------------------------ RSET, QUIT and what tells nothing

    def smtp_RSET(self, argument: str) -> None:
        """RSET (RFC 5321 §4.1.1.5)."""
        self._forget_transaction()
        self.say(replies.OK)

    def smtp_NOOP(self, argument: str) -> None:
        """NOOP (RFC 5321 §4.1.1.9)."""
        self.say(replies.OK)

    def smtp_VRFY(self, argument: str) -> None:
        """VRFY (RFC 5321 §3.5.3): the same answer for every address, known or not."""
        self.say(replies.NOT_VERIFIED if argument else replies.SYNTAX)

    def smtp_EXPN(self, argument: str) -> None:  # type: ignore[override]  # called by our loop, never awaited
        """EXPN (RFC 5321 §3.5.1): not offered, lists are nobody's business."""
        self.say(replies.NOT_OFFERED)

    def smtp_HELP(self, argument: str) -> None:
        """HELP (RFC 5321 §4.1.1.8)."""
        self.say(replies.HELP)

    def smtp_QUIT(self, argument: str) -> None:
        """QUIT (RFC 5321 §4.1.1.10)."""
        self._end(replies.BYE)

    def _forget_transaction(self) -> None:
        self.state.transaction = None


def _data_refusal(rule: str, limit_bytes: int) -> SmtpReply:
    """Give the one reply to a content that `DotReader` found bad."""
    if rule == SIZE:
        return replies.too_big(limit_bytes)
    return {NUL: replies.NUL_IN_DATA, LINE: replies.LINE_IN_DATA}.get(rule, replies.SMUGGLING)
