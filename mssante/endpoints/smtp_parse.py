"""Arguments of MAIL and RCPT: case-preserving, bounded, strict (RFC 5321 §4.1.2, RFC 1870, 6152, 6531, 3461).

aiosmtpd upper-cases parameters and refuses those of DSN: hence our own reading. Raises `ReplyFault` with the reply to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mssante.errors import InputFault
from mssante.model import replies
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.envelope import Recipient
from mssante.model.reply import SmtpReply

_FROM = re.compile(r"from: ?<([^<>]*)>(?: +(.*))?\Z", re.IGNORECASE)
_TO = re.compile(r"to: ?<([^<>]+)>(?: +(.*))?\Z", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")  # RFC 3461 §4
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
MAX_SIZE_DIGITS = 20


class ReplyFault(Exception):
    """A command that gets this reply and changes nothing."""

    def __init__(self, reply: SmtpReply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class MailCommand:
    """MAIL FROM with its parameters. size 0: not said."""

    sender: MailAddress | None
    size: int = 0
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False


def _parameters(text: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in (text or "").split():
        name, _, value = word.partition("=")
        name = name.upper()
        if name in found:
            raise ReplyFault(replies.SYNTAX)
        found[name] = value
    return found


def _xtext(value: str, limit: int) -> str:
    if len(value) > limit or not _XTEXT.match(value):
        raise ReplyFault(replies.SYNTAX)
    return value


def parse_mail(argument: str) -> MailCommand:
    """Read what follows MAIL. Raises ReplyFault: 501 syntax, 553 address, 555 parameter."""
    match = _FROM.match(argument)
    if match is None or _CONTROL.search(argument):
        raise ReplyFault(replies.SYNTAX)
    parameters = _parameters(match[2]) if match[2] else {}
    smtputf8 = parameters.pop("SMTPUTF8", None) is not None
    try:
        sender = parse_envelope_address(match[1], smtputf8) if match[1] else None
    except InputFault as fault:
        raise ReplyFault(replies.BAD_SENDER) from fault
    if not parameters:
        return MailCommand(sender, smtputf8=smtputf8)
    size_text = parameters.pop("SIZE", "0")
    if not size_text.isdecimal() or not size_text.isascii() or len(size_text) > MAX_SIZE_DIGITS:
        raise ReplyFault(replies.SYNTAX)
    if parameters.pop("BODY", "8BITMIME").upper() not in ("7BIT", "8BITMIME"):
        raise ReplyFault(replies.UNKNOWN_PARAMETER)
    ret = parameters.pop("RET", "").upper()
    if ret not in ("", "FULL", "HDRS"):
        raise ReplyFault(replies.SYNTAX)
    envid = parameters.pop("ENVID", "")
    parameters.pop("AUTH", None)  # RFC 4954 §5: taken, and not believed
    if parameters:
        raise ReplyFault(replies.UNKNOWN_PARAMETER)
    return MailCommand(sender, int(size_text), ret, _xtext(envid, 100) if envid else "", smtputf8)


def parse_rcpt(argument: str, smtputf8: bool, postmaster: str = "") -> Recipient:
    """Read what follows RCPT; `<postmaster>` alone is the one of the domain `postmaster` (RFC 5321 §4.5.1). Raises ReplyFault."""
    match = _TO.match(argument)
    if match is None or _CONTROL.search(argument):
        raise ReplyFault(replies.SYNTAX)
    path = f"{match[1]}@{postmaster}" if postmaster and match[1].lower() == "postmaster" else match[1]
    try:
        address = parse_envelope_address(path, smtputf8)
    except InputFault as fault:
        raise ReplyFault(replies.BAD_ADDRESS) from fault
    if not match[2]:
        return Recipient(address)
    parameters = _parameters(match[2])
    notify = frozenset(parameters.pop("NOTIFY", "").upper().split(",")) - {""}
    if notify and notify != {"NEVER"} and not notify <= _NOTIFY:  # RFC 3461 §4.1
        raise ReplyFault(replies.SYNTAX)
    orcpt = parameters.pop("ORCPT", "")
    if orcpt:
        kind, semicolon, value = orcpt.partition(";")
        if not semicolon or not kind.isascii() or not kind.replace("-", "").isalnum():
            raise ReplyFault(replies.SYNTAX)
        _xtext(value, 500)
    if parameters:
        raise ReplyFault(replies.UNKNOWN_PARAMETER)
    return Recipient(address, notify, orcpt)
