"""The one table of capabilities: what is announced, when, by which document, and the dialogue that proves it.

- `announce` gives the words after `CAPABILITY` (RFC 9051 §7.2.2), ready made for each situation.
- Before TLS: LOGINDISABLED and no AUTH= (RFC 9051 §6.2.3, §11.1); STARTTLS only where it can be used.
- A name that ends with `=` is announced with a figure of this server, and left out when it has none (`with_figures`).
- A name stands here only when every command and answer of it is built: tests check the commands against the parsers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from functools import lru_cache

from mssante.protocol.imap.values import State


class When(Flag):
    """Situations of a connection."""

    BEFORE_TLS = auto()
    BEFORE_LOGIN = auto()  # inside TLS
    AFTER_LOGIN = auto()


ALWAYS = When.BEFORE_TLS | When.BEFORE_LOGIN | When.AFTER_LOGIN
NEVER = When(0)  # by default


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
    Announcement("AUTH=SCRAM-SHA-256-PLUS", When.BEFORE_LOGIN, "RFC 7677, RFC 5929 §4", "imap-scram"),
    Announcement("AUTH=SCRAM-SHA-256", When.BEFORE_LOGIN, "RFC 7677", "imap-scram"),
    Announcement("AUTH=EXTERNAL", When.BEFORE_LOGIN, "RFC 4422 appendix A", "imap-external"),
    Announcement("AUTH=OAUTHBEARER", When.BEFORE_LOGIN, "RFC 7628", "imap-oauth"),
    Announcement("AUTH=XOAUTH2", When.BEFORE_LOGIN, "XOAUTH2, forerunner of RFC 7628", "imap-oauth"),
    Announcement("AUTH=PLAIN", When.BEFORE_LOGIN, "RFC 4616", "imap-authenticate"),
    Announcement("AUTH=LOGIN", When.BEFORE_LOGIN, "draft-murchison-sasl-login", "imap-authenticate"),
    Announcement("SASL-IR", When.BEFORE_LOGIN, "RFC 4959", "imap-authenticate"),
    Announcement("LITERAL+", ALWAYS, "RFC 7888", "imap-literal"),
    Announcement("LITERAL-", NEVER, "RFC 7888 §5", "imap-literal-minus"),  # in its place by a setting: never both
    Announcement("ID", ALWAYS, "RFC 2971", "imap-id"),
    Announcement("ENABLE", When.BEFORE_LOGIN | When.AFTER_LOGIN, "RFC 5161", "imap-enable"),
    Announcement("IDLE", When.AFTER_LOGIN, "RFC 2177", "imap-idle"),
    Announcement("NAMESPACE", When.AFTER_LOGIN, "RFC 2342", "imap-namespace"),
    Announcement("ACL", When.AFTER_LOGIN, "RFC 4314", "imap-acl"),
    Announcement("RIGHTS=texk", When.AFTER_LOGIN, "RFC 4314 §5.1.1", "imap-acl"),
    Announcement("LIST-MYRIGHTS", When.AFTER_LOGIN, "RFC 8440", "imap-list-myrights"),
    Announcement("UNSELECT", When.AFTER_LOGIN, "RFC 3691", "imap-unselect"),
    Announcement("UIDPLUS", When.AFTER_LOGIN, "RFC 4315", "imap-uidplus"),
    Announcement("MOVE", When.AFTER_LOGIN, "RFC 6851", "imap-move"),
    Announcement("SPECIAL-USE", When.AFTER_LOGIN, "RFC 6154", "imap-special-use"),
    Announcement("CHILDREN", When.AFTER_LOGIN, "RFC 3348", "imap-list"),
    Announcement("CONDSTORE", When.AFTER_LOGIN, "RFC 7162", "imap-condstore"),
    Announcement("ESEARCH", When.AFTER_LOGIN, "RFC 4731", "imap-search"),
    Announcement("SEARCHRES", When.AFTER_LOGIN, "RFC 5182", "imap-search"),
    Announcement("SORT", When.AFTER_LOGIN, "RFC 5256", "imap-sort"),
    Announcement("SORT=DISPLAY", When.AFTER_LOGIN, "RFC 5957", "imap-sort"),
    Announcement("ESORT", When.AFTER_LOGIN, "RFC 5267 §3", "imap-sort"),
    Announcement("THREAD=ORDEREDSUBJECT", When.AFTER_LOGIN, "RFC 5256", "imap-thread"),
    Announcement("THREAD=REFERENCES", When.AFTER_LOGIN, "RFC 5256", "imap-thread"),
    Announcement("CONTEXT=SEARCH", When.AFTER_LOGIN, "RFC 5267 §4", "imap-context"),
    Announcement("CONTEXT=SORT", When.AFTER_LOGIN, "RFC 5267 §4", "imap-context-sort"),
    Announcement("PARTIAL", When.AFTER_LOGIN, "RFC 9394", "imap-partial-search"),
    Announcement("WITHIN", When.AFTER_LOGIN, "RFC 5032", "imap-within"),
    Announcement("SEARCH=FUZZY", When.AFTER_LOGIN, "RFC 6203", "imap-fuzzy"),
    Announcement("MULTISEARCH", When.AFTER_LOGIN, "RFC 7377", "imap-multisearch"),
    Announcement("I18NLEVEL=1", When.AFTER_LOGIN, "RFC 5255 §4", "imap-i18n"),
    Announcement("LIST-EXTENDED", When.AFTER_LOGIN, "RFC 5258", "imap-list"),
    Announcement("LIST-STATUS", When.AFTER_LOGIN, "RFC 5819", "imap-list"),
    Announcement("STATUS=SIZE", When.AFTER_LOGIN, "RFC 8438", "imap-status"),
    Announcement("BINARY", When.AFTER_LOGIN, "RFC 3516", "imap-binary"),
    Announcement("METADATA", When.AFTER_LOGIN, "RFC 5464", "imap-metadata"),
    Announcement("LIST-METADATA", When.AFTER_LOGIN, "RFC 9590", "imap-list-metadata"),
    Announcement("QUOTA", When.AFTER_LOGIN, "RFC 9208", "imap-quota"),
    Announcement("QUOTA=RES-STORAGE", When.AFTER_LOGIN, "RFC 9208 §5.1", "imap-quota"),
    Announcement("QUOTA=RES-MESSAGE", When.AFTER_LOGIN, "RFC 9208 §5.2", "imap-quota"),
    Announcement("OBJECTID", When.AFTER_LOGIN, "RFC 8474", "imap-objectid"),
    Announcement("SAVEDATE", When.AFTER_LOGIN, "RFC 8514", "imap-savedate"),
    Announcement("PREVIEW", When.AFTER_LOGIN, "RFC 8970", "imap-preview"),
    Announcement("CREATE-SPECIAL-USE", When.AFTER_LOGIN, "RFC 6154 §3", "imap-create-special-use"),
    Announcement("APPENDLIMIT=", When.AFTER_LOGIN, "RFC 7889", "imap-appendlimit"),
    Announcement("QRESYNC", When.AFTER_LOGIN, "RFC 7162 §3.2", "imap-qresync"),
    Announcement("UIDONLY", When.AFTER_LOGIN, "RFC 9586", "imap-uidonly"),
    Announcement("UIDBATCHES", When.AFTER_LOGIN, "RFC 10022", "imap-uidbatches"),
    Announcement("MESSAGELIMIT=", When.AFTER_LOGIN, "RFC 9738", "imap-messagelimit"),
    Announcement("INPROGRESS", When.AFTER_LOGIN, "RFC 9585", "imap-inprogress"),
    Announcement("COMPRESS=DEFLATE", When.AFTER_LOGIN, "RFC 4978", "imap-compress"),
    Announcement("UNAUTHENTICATE", When.AFTER_LOGIN, "RFC 8437", "imap-unauthenticate"),
    Announcement("MULTIAPPEND", When.AFTER_LOGIN, "RFC 3502", "imap-multiappend"),
    Announcement("CATENATE", When.AFTER_LOGIN, "RFC 4469", "imap-catenate"),
    Announcement("REPLACE", When.AFTER_LOGIN, "RFC 8508", "imap-replace"),
    Announcement("NOTIFY", When.AFTER_LOGIN, "RFC 5465", "imap-notify"),
    Announcement("UTF8=ACCEPT", When.AFTER_LOGIN, "RFC 9755", "imap-utf8"),
)

# Names that ENABLE can turn on (RFC 5161 §3.1).
ENABLED_BY_CLIENT = frozenset({"CONDSTORE", "QRESYNC", "UIDONLY", "UTF8=ACCEPT", "IMAP4REV2"})

_WORDS = {
    when: " ".join(line.name for line in CAPABILITIES if line.when & when).encode("ascii") for when in When
}


PASSWORD_MECHANISMS = ("PLAIN", "LOGIN")


def announce(state: State, tls: bool, mechanisms: tuple[str, ...] = PASSWORD_MECHANISMS) -> bytes:
    """Give the capability names for a state, separated by spaces.

    tls: the connection is encrypted; mechanisms: SASL names that this connection is offered.
    """
    if state is not State.NOT_AUTHENTICATED:
        return _WORDS[When.AFTER_LOGIN]
    return _before_login(mechanisms) if tls else _WORDS[When.BEFORE_TLS]


@lru_cache(maxsize=64)  # a listener offers the same names to nearly everyone
def _before_login(mechanisms: tuple[str, ...]) -> bytes:
    return b" ".join(word for word in _WORDS[When.BEFORE_LOGIN].split()
                     if not word.startswith(b"AUTH=") or word[5:].decode("ascii") in mechanisms)


Figures = tuple[tuple[str, int], ...]  # name without `=`, figure; 0: none


@lru_cache(maxsize=64)
def with_figures(words: bytes, figures: Figures) -> bytes:
    """Give the words with the figures of this server: `MESSAGELIMIT=` becomes `MESSAGELIMIT=1000`, or nothing without one."""
    known = {name.encode("ascii") + b"=": b"%b=%d" % (name.encode("ascii"), figure) for name, figure in figures if figure}
    return b" ".join(known.get(word, word) for word in words.split(b" ") if not word.endswith(b"=") or word in known)
