"""The one table of capabilities: what is announced, when, by which document, and the dialogue that proves it.

- `announce` gives the words after `CAPABILITY` (RFC 9051 §7.2.2), ready made for each situation.
- Before TLS: LOGINDISABLED and no AUTH= (RFC 9051 §6.2.3, §11.1); STARTTLS only where it can be used.
- A name stands here only when every command and answer of it is built: tests check the commands against the parsers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto

from mssante.protocol.imap.values import State


class When(Flag):
    """Situations of a connection."""

    BEFORE_TLS = auto()
    BEFORE_LOGIN = auto()  # inside TLS
    AFTER_LOGIN = auto()


ALWAYS = When.BEFORE_TLS | When.BEFORE_LOGIN | When.AFTER_LOGIN


@dataclass(frozen=True, slots=True)
class Announcement:
    """One capability. source: the document obeyed; dialogue: name of its transcript under tests/dialogues."""

    name: str
    when: When
    source: str
    dialogue: str


CAPABILITIES: tuple[Announcement, ...] = (
    Announcement("IMAP4rev1", ALWAYS, "RFC 3501", "imap-rev1"),
    Announcement("IMAP4rev2", ALWAYS, "RFC 9051", "imap-rev2"),
    Announcement("STARTTLS", When.BEFORE_TLS, "RFC 9051 §6.2.1", "imap-starttls"),
    Announcement("LOGINDISABLED", When.BEFORE_TLS, "RFC 9051 §6.2.3", "imap-starttls"),
    Announcement("AUTH=PLAIN", When.BEFORE_LOGIN, "RFC 4616", "imap-authenticate"),
    Announcement("AUTH=LOGIN", When.BEFORE_LOGIN, "draft-murchison-sasl-login", "imap-authenticate"),
    Announcement("SASL-IR", When.BEFORE_LOGIN, "RFC 4959", "imap-authenticate"),
    Announcement("LITERAL+", ALWAYS, "RFC 7888", "imap-literal"),
    Announcement("ID", ALWAYS, "RFC 2971", "imap-id"),
    Announcement("ENABLE", When.BEFORE_LOGIN | When.AFTER_LOGIN, "RFC 5161", "imap-enable"),
    Announcement("IDLE", When.AFTER_LOGIN, "RFC 2177", "imap-idle"),
    Announcement("NAMESPACE", When.AFTER_LOGIN, "RFC 2342", "imap-namespace"),
    Announcement("UNSELECT", When.AFTER_LOGIN, "RFC 3691", "imap-unselect"),
    Announcement("UIDPLUS", When.AFTER_LOGIN, "RFC 4315", "imap-uidplus"),
    Announcement("MOVE", When.AFTER_LOGIN, "RFC 6851", "imap-move"),
    Announcement("SPECIAL-USE", When.AFTER_LOGIN, "RFC 6154", "imap-special-use"),
    Announcement("CHILDREN", When.AFTER_LOGIN, "RFC 3348", "imap-list"),
    Announcement("CONDSTORE", When.AFTER_LOGIN, "RFC 7162", "imap-condstore"),
    Announcement("ESEARCH", When.AFTER_LOGIN, "RFC 4731", "imap-search"),
    Announcement("SEARCHRES", When.AFTER_LOGIN, "RFC 5182", "imap-search"),
    Announcement("LIST-EXTENDED", When.AFTER_LOGIN, "RFC 5258", "imap-list"),
    Announcement("LIST-STATUS", When.AFTER_LOGIN, "RFC 5819", "imap-list"),
    Announcement("STATUS=SIZE", When.AFTER_LOGIN, "RFC 8438", "imap-status"),
    Announcement("BINARY", When.AFTER_LOGIN, "RFC 3516", "imap-binary"),
)

ENABLED_BY_CLIENT = frozenset({"CONDSTORE", "IMAP4REV2"})  # names that ENABLE can turn on (RFC 5161 §3.1)

_WORDS = {
    when: " ".join(line.name for line in CAPABILITIES if line.when & when).encode("ascii") for when in When
}


def announce(state: State, tls: bool) -> bytes:
    """Give the capability names for a state, separated by spaces; tls: the connection is encrypted."""
    if state is not State.NOT_AUTHENTICATED:
        return _WORDS[When.AFTER_LOGIN]
    return _WORDS[When.BEFORE_LOGIN if tls else When.BEFORE_TLS]
