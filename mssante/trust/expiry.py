"""The calendar of what ends: each date that can stop mail, how near it is, what stops then, who must act (spec §3.5, F3.13).

- Dates that a human must move (certificates, anchors) have levels at 90, 60, 30 and 7 days. What renews itself (CRL, white
  list) lives days or hours: it is urgent when less than a quarter of its life is left, for then its renewal has failed.
- `calendar_text` writes the human ones as an iCalendar file (RFC 5545) with alarms 60, 30 and 7 days before.
- Pure: `now` is an argument. Called by `mssante cert calendar`, `check` and `services.expirywatch`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

Words = tuple[str, str]


class What(StrEnum):
    """What ends."""

    OPERATOR = "operator"
    NEXT = "next"
    CLIENT = "client"
    SNI = "sni"
    CHAIN = "chain"
    ANCHOR = "anchor"
    CRL = "crl"
    LIST = "whitelist"
    SIGNER = "list-signer"
    SMIME = "smime"
    PEER = "peer"


class Level(IntEnum):
    """How near, worst last. The numbers are days, but for ENDED and for what renews itself."""

    LATER = 0
    DAYS_90 = 1
    DAYS_60 = 2
    DAYS_30 = 3
    DAYS_7 = 4
    ENDED = 5


_STEPS = ((7, Level.DAYS_7), (30, Level.DAYS_30), (60, Level.DAYS_60), (90, Level.DAYS_90))
LEVEL_WORDS: dict[Level, Words] = {
    Level.LATER: ("", ""), Level.DAYS_90: ("90 jours", "90 days"), Level.DAYS_60: ("60 jours", "60 days"),
    Level.DAYS_30: ("30 jours", "30 days"), Level.DAYS_7: ("URGENT", "URGENT"), Level.ENDED: ("TERMINÉ", "ENDED")}
WHAT_WORDS: dict[What, Words] = {
    What.OPERATOR: ("certificat opérateur", "operator certificate"), What.NEXT: ("certificat suivant", "next certificate"),
    What.CLIENT: ("certificat IMAP et dépôt", "IMAP and submission certificate"),
    What.SNI: ("certificat d'un nom", "name's certificate"),
    What.CHAIN: ("autorité de notre chaîne", "authority of our chain"), What.ANCHOR: ("ancre de confiance", "trust anchor"),
    What.CRL: ("CRL", "CRL"), What.LIST: ("liste blanche", "white list"),
    What.SIGNER: ("signataire de la liste", "signer of the list"),
    What.SMIME: ("clé S/MIME", "S/MIME key"), What.PEER: ("opérateur correspondant", "operator we write to")}
EFFECTS: dict[What, Words] = {
    What.OPERATOR: ("tous les opérateurs nous refusent : demandez le suivant (mssante cert request --renew)",
                    "every operator refuses us: ask for the next one (mssante cert request --renew)"),
    What.NEXT: ("la bascule n'aura plus d'objet", "the rollover will be void"),
    What.CLIENT: ("les logiciels de messagerie refusent nos ports", "mail programs refuse our ports"),
    What.SNI: ("les logiciels de messagerie de ce nom refusent nos ports", "mail programs of that name refuse our ports"),
    What.CHAIN: ("notre chaîne ne mène plus à une racine : ajoutez la génération suivante",
                 "our chain no longer leads to a root: add the next generation"),
    What.ANCHOR: ("plus aucun certificat de cette autorité n'est admis : ajoutez la génération suivante",
                  "no certificate of that authority is admitted: add the next generation"),
    What.CRL: ("plus aucun opérateur n'est admis (ECO.1.1.7) : vérifiez crl_urls et le réseau",
               "no operator is admitted (ECO.1.1.7): check crl_urls and the network"),
    What.LIST: ("plus aucun trafic entre opérateurs : vérifiez whitelist_url et le réseau",
                "no more traffic between operators: check whitelist_url and the network"),
    What.SIGNER: ("les prochaines listes de ce signataire seront refusées : demandez à l'ANS le suivant",
                  "the next lists of that signer will be refused: ask ANS for the next one"),
    What.SMIME: ("les messages de cette adresse ne se signent plus", "messages of that address are no longer signed"),
    What.PEER: ("le courrier vers ce domaine attendra : prévenez son opérateur",
                "mail to that domain will wait: tell its operator")}


@dataclass(frozen=True, slots=True)
class Expiry:
    """One date. name: CN, file, address or domain; where: the file or setting; start: of its life; renewing: by itself."""

    what: What
    name: str
    at: datetime
    where: str = ""
    start: datetime | None = None
    renewing: bool = False

    def level(self, now: datetime) -> Level:
        """Tell how near the end is."""
        left = self.at - now
        if left <= timedelta(0):
            return Level.ENDED
        if self.renewing:
            life = self.at - self.start if self.start is not None else timedelta(0)
            return Level.DAYS_7 if left < life / 4 else Level.LATER
        return next((level for days, level in _STEPS if left <= timedelta(days=days)), Level.LATER)


def sort_expiries(found: Iterable[Expiry], now: datetime) -> list[Expiry]:
    """Give the calendar: the nearest first, but what renews itself and is well comes last."""
    return sorted(found, key=lambda one: (one.renewing and one.level(now) is Level.LATER, one.at, one.what, one.name))


def urgent(found: Sequence[Expiry], now: datetime) -> list[Expiry]:
    """Give what ended or ends within 7 days (what renews itself: what has not)."""
    return [one for one in found if one.level(now) >= Level.DAYS_7]


def seconds_left(found: Sequence[Expiry], now: datetime) -> dict[str, float]:
    """Give for each kind the seconds before its nearest end, negative once past."""
    least: dict[str, float] = {}
    for one in found:
        left = (one.at - now).total_seconds()
        least[one.what.value] = min(left, least.get(one.what.value, left))
    return least


def calendar_text(found: Sequence[Expiry], now: datetime, words: int) -> str:
    """Give the human dates as iCalendar text with CRLF (RFC 5545 §3.4, §3.6.1, §3.6.6). words: 0 French, 1 English."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//mssante//cert calendar//FR", "CALSCALE:GREGORIAN"]
    for one in found:
        if not one.renewing:
            lines += _event(one, now, words)
    lines.append("END:VCALENDAR")
    return "".join(_folded(line) + "\r\n" for line in lines)


def _event(one: Expiry, now: datetime, words: int) -> list[str]:
    mark = hashlib.sha256(f"{one.what}|{one.name}|{one.at.isoformat()}".encode()).hexdigest()[:32]
    summary = _escaped(f"{WHAT_WORDS[one.what][words]} {one.name}")
    lines = ["BEGIN:VEVENT", f"UID:{mark}@mssante", f"DTSTAMP:{now:%Y%m%dT%H%M%SZ}", f"DTSTART:{one.at:%Y%m%dT%H%M%SZ}",
             f"SUMMARY:{summary}", f"DESCRIPTION:{_escaped(EFFECTS[one.what][words])}", "TRANSP:TRANSPARENT"]
    for days in (60, 30, 7):
        lines += ["BEGIN:VALARM", "ACTION:DISPLAY", f"TRIGGER:-P{days}D", f"DESCRIPTION:{summary}", "END:VALARM"]
    return [*lines, "END:VEVENT"]


def _escaped(text: str) -> str:
    """RFC 5545 §3.3.11: backslash, semicolon, comma, line ends; other controls have no place there."""
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\r\n", "\n").replace("\n", "\\n")
    return "".join(char if char.isprintable() else "?" for char in text)


def _folded(line: str) -> str:
    """Fold at 75 octets, never inside a character (RFC 5545 §3.1)."""
    parts, current, size = [], "", 0
    for char in line:
        width = len(char.encode("utf-8", "replace"))
        if size + width > 75:
            parts.append(current)
            current, size = " ", 1
        current += char
        size += width
    return "\r\n".join([*parts, current])
