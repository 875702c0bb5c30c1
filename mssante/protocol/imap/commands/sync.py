"""Commands that keep a client and a folder in step: EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, RFC 4315 §2.1), the parameters of
SELECT (RFC 7162 §3.1.8, §3.2.5), the modifiers of FETCH (RFC 7162 §3.1.4.1, §3.2.6; RFC 9394 §3.3), UIDBATCHES (RFC 10022 §3.1).

IDLE, CHECK, CLOSE and UNSELECT take no argument (see the table). What must have been enabled before is checked in `modes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.protocol.imap.commands.store import MAX_MODSEQ
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.numset import MAX_NUMBER, NumSet
from mssante.protocol.imap.partial import Partial, read_partial
from mssante.protocol.imap.syncvalues import Resync, UidBatches
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Expunge


def parse_expunge(tokens: Tokens) -> Expunge:
    """Read EXPUNGE. Raises ClientFault."""
    tokens.end()
    return Expunge()


def parse_uid_expunge(tokens: Tokens) -> Expunge:
    """Read UID EXPUNGE and its set. Raises ClientFault."""
    tokens.space()
    uids = tokens.sequence_set()
    tokens.end()
    return Expunge(uids)


# ------------------------------------------------------------------------------------------------ SELECT


def read_select_parameters(tokens: Tokens) -> tuple[bool, Resync | None]:
    """Read `(CONDSTORE)`, `(QRESYNC (…))` or both, to the end: give what was asked. Raises ClientFault."""
    tokens.space()
    tokens.expect(b"(", "a list of parameters")
    condstore, resync = False, None
    seen: set[str] = set()
    while not seen or not tokens.skip(b")"):
        if seen:
            tokens.space()
        name = tokens.word()
        if name in seen or name not in ("CONDSTORE", "QRESYNC"):
            tokens.fault("unknown SELECT parameter")
        seen.add(name)
        if name == "QRESYNC":
            resync = _resync(tokens)
        else:
            condstore = True
    tokens.end()
    return condstore, resync


def _resync(tokens: Tokens) -> Resync:
    """Read ` (uidvalidity modseq [known-uids] [(numbers uids)])` (RFC 7162 §7)."""
    tokens.space()
    tokens.expect(b"(", "the arguments of QRESYNC")
    uidvalidity = _positive(tokens, MAX_NUMBER)
    tokens.space()
    modseq = _positive(tokens, MAX_MODSEQ)
    uids: NumSet | None = None
    numbers = number_uids = NumSet()
    if not tokens.skip(b")"):
        tokens.space()
        if tokens.peek() != 0x28:
            uids = _known(tokens)
        if uids is None or not tokens.skip(b")"):
            if uids is not None:
                tokens.space()
            numbers, number_uids = _matches(tokens)
            tokens.expect(b")", "a closing parenthesis")
    return Resync(uidvalidity, modseq, uids, numbers, number_uids)


def _matches(tokens: Tokens) -> tuple[NumSet, NumSet]:
    """Read `(numbers uids)`, two sets of the same count."""
    tokens.expect(b"(", "sequence match data")
    numbers = _known(tokens)
    tokens.space()
    uids = _known(tokens)
    if numbers.count != uids.count:
        tokens.fault("sequence match data of different counts")
    tokens.expect(b")", "a closing parenthesis")
    return numbers, uids


def _known(tokens: Tokens) -> NumSet:
    """Read a set without `*` and without `$` (RFC 7162 §7 known-uids)."""
    start = tokens.at
    numbers = tokens.sequence_set()
    if numbers.has_star or numbers.saved:
        tokens.at = start
        tokens.fault("only numbers may stand here")
    return numbers


def _positive(tokens: Tokens, most: int) -> int:
    """Read a number from 1."""
    start = tokens.at
    value = tokens.number(most)
    if value == 0:
        tokens.at = start
        tokens.fault("zero may not stand here")
    return value


# ------------------------------------------------------------------------------------------------ FETCH


@dataclass(frozen=True, slots=True)
class FetchModifiers:
    """What stands in parentheses after the items of FETCH."""

    changed_since: int | None = None
    vanished: bool = False
    partial: Partial | None = None


def read_fetch_modifiers(tokens: Tokens, *, uid: bool) -> FetchModifiers:
    """Read ` (CHANGEDSINCE n VANISHED PARTIAL 1:100)`, each at most once, in any order. Raises ClientFault.

    VANISHED and PARTIAL are for UID FETCH only (RFC 7162 §3.2.6, RFC 9394 §3.3).
    """
    tokens.space()
    tokens.expect(b"(", "a list of modifiers")
    allowed = {"CHANGEDSINCE", "VANISHED", "PARTIAL"} if uid else {"CHANGEDSINCE"}
    seen: set[str] = set()
    since: int | None = None
    partial: Partial | None = None
    while not seen or not tokens.skip(b")"):
        if seen:
            tokens.space()
        name = tokens.word()
        if name not in allowed - seen:
            tokens.fault("unknown FETCH modifier")
        seen.add(name)
        if name == "CHANGEDSINCE":
            tokens.space()
            since = tokens.number(MAX_MODSEQ)
        elif name == "PARTIAL":
            tokens.space()
            partial = read_partial(tokens)
    if "VANISHED" in seen and since is None:  # RFC 7162 §3.2.6
        tokens.fault("VANISHED needs CHANGEDSINCE")
    return FetchModifiers(since, "VANISHED" in seen, partial)


# ------------------------------------------------------------------------------------------------ SEARCH


def read_uids_beside(tokens: Tokens, *, after: bool) -> NumSet:
    """Read the UID of `UIDAFTER 7` or `UIDBEFORE 7`: give the UIDs above it, or below (RFC 9738 §3.2). Raises ClientFault."""
    uid = _positive(tokens, MAX_NUMBER)
    low, high = (uid + 1, MAX_NUMBER) if after else (1, uid - 1)
    return NumSet(((low, high),)) if low <= high else NumSet()


# ------------------------------------------------------------------------------------------------ UIDBATCHES


def parse_uid_batches(tokens: Tokens) -> UidBatches:
    """Read `UIDBATCHES size [first:last]` (RFC 10022 §3.1). Raises ClientFault."""
    tokens.space()
    size = _positive(tokens, MAX_NUMBER)
    if tokens.ended:
        return UidBatches(size)
    tokens.space()
    first = _positive(tokens, MAX_NUMBER)
    tokens.expect(b":", "a colon")
    last = _positive(tokens, MAX_NUMBER)
    tokens.end()
    if last < first:
        raise ClientFault(tokens.tag, "the last batch is before the first one", code="CLIENTBUG", rule="RFC 10022")
    return UidBatches(size, first, last)
