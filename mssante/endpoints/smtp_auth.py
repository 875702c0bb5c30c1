"""AUTH on submission: PLAIN and LOGIN exchanges driven by the pure SASL cores (RFC 4954, RFC 4616)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mssante.endpoints.smtp_parse import ReplyFault
from mssante.model import replies
from mssante.protocol.sasl.base import (
    Answer,
    Challenge,
    Credentials,
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
    exchange = begin(mechanism)
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
    if isinstance(answer, Challenge):
        session.challenge(encode_challenge(answer))
        session.take_line(lambda line: _line(session, exchange, line))
    elif isinstance(answer, Credentials):
        session.check_login(answer.authcid, answer.password)
    else:
        session.say(replies.AUTH_CANCELLED if answer.cancelled else replies.SYNTAX)
