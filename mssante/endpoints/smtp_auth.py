"""AUTH on submission: the pure SASL exchanges, line by line (RFC 4954)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mssante.endpoints.smtp_parse import ReplyFault
from mssante.model import replies
from mssante.model.reply import SmtpReply
from mssante.protocol.sasl.base import (
    Answer,
    Challenge,
    Exchange,
    Failure,
    decode_initial,
    decode_response,
    encode_challenge,
)
from mssante.protocol.sasl.mechanisms import begin

if TYPE_CHECKING:
    from mssante.endpoints.smtp_verbs import HardenedSmtp


def start_auth(session: HardenedSmtp, argument: str) -> None:
    """Begin `AUTH mechanism [initial-response]`. Raises ReplyFault when it cannot begin."""
    if not session.settings.offers_auth:
        raise ReplyFault(replies.AUTH_UNAVAILABLE)
    if not session.state.helo or session.state.transaction is not None:
        raise ReplyFault(replies.BAD_SEQUENCE)
    if session.state.account is not None:
        raise ReplyFault(replies.AUTH_TWICE)
    mechanism, _, initial = argument.partition(" ")
    exchange = begin(mechanism, session.login)
    if exchange is None:
        raise ReplyFault(replies.AUTH_MECHANISM)
    response = decode_initial(initial.strip().encode("ascii", "replace")) if initial else None
    if isinstance(response, Failure):
        _answer(session, exchange, response)
    else:
        _answer(session, exchange, exchange.start(response))


def _line(session: HardenedSmtp, exchange: Exchange, line: bytes) -> None:
    response = decode_response(line)
    _answer(session, exchange, response if isinstance(response, Failure) else exchange.respond(response))


def _answer(session: HardenedSmtp, exchange: Exchange, answer: Answer) -> None:
    if isinstance(answer, Challenge | Failure):
        _tell(session, exchange, answer)
    else:
        session.follow_exchange(exchange, answer, lambda step: _tell(session, exchange, step))


def _tell(session: HardenedSmtp, exchange: Exchange, step: Challenge | Failure | SmtpReply) -> None:
    if isinstance(step, Challenge):
        session.challenge(encode_challenge(step))
        session.take_line(lambda line: _line(session, exchange, line))
    elif isinstance(step, SmtpReply):
        session.say(step)
    elif step.refused:
        session.say(replies.AUTH_FAILED)
    else:
        session.say(replies.AUTH_CANCELLED if step.cancelled else replies.SYNTAX)
