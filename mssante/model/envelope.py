"""The SMTP envelope of one transaction, as services see it."""

from __future__ import annotations

from dataclasses import dataclass

from mssante.model.address import MailAddress


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT TO with its delivery options (RFC 3461 §4).

    notify: subset of NEVER, SUCCESS, FAILURE, DELAY; empty when the client said nothing. orcpt: xtext as received.
    """

    address: MailAddress
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """sender None is the null reverse-path `<>`. ret: FULL, HDRS or empty; envid: xtext as received."""

    sender: MailAddress | None
    recipients: tuple[Recipient, ...]
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    body_8bit: bool = False
