"""Searches that are followed: RETURN (UPDATE), ADDTO, REMOVEFROM, CANCELUPDATE (RFC 5267 §4.3).

- A context holds the UIDs that its client knows as results. What changed is looked at with the same tree, only for messages that
  came or whose modseq grew since (`refresh` in `following.py`, which may wait); verdicts wait here until they are told.
- Told with the other updates of a session, in the order that keeps numbers right: REMOVEFROM before the EXPUNGE of a message,
  ADDTO after the EXISTS that brings it (RFC 5267 §4.3.3, §4.3.4).
- At most `MAX_CONTEXTS` a session; beyond, and for searches whose results change without any change in the folder (message
  numbers, `$`, YOUNGER, OLDER, RECENT, a `\\Seen` of one's own) or by comparison with others (RELEVANCY), the answer is NOUPDATE
  and the search is done all the same (RFC 5267 §4.3.1).
- SEARCH is told in mailbox order, SORT by the places where results come in and go.
- Contexts end with the folder that is open. Loop's thread only; called by `session.py`, `search.py`, `dispatch.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from mssante.model.message import RECENT, Flags
from mssante.protocol.imap import encode, encode_search
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.notifyvalues import Asked
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.searchkeys import FlagKey, InSet, SearchKey, WithinKey, parts
from mssante.protocol.imap.values import Completion, Condition, Search, SortBy

if TYPE_CHECKING:
    from mssante.services.imap.session import Session

MAX_CONTEXTS = 10

Order = Sequence[tuple[SortBy, bool]]


class Context:
    """One search that is followed. members: UIDs its client knows, in their order; verdicts: what was found since, not told yet.

    modseq, last_uid: how far the folder was looked at; order: sort criteria, None for a search in mailbox order; ranking: UIDs of
    the results in sort order, as they were looked at last.
    """

    __slots__ = ("arrived", "asked", "key", "last_uid", "members", "modseq", "order", "ranking", "tag", "uid", "verdicts")

    def __init__(self, tag: bytes, search: Search, uids: Sequence[int], order: Order | None) -> None:
        self.tag = tag
        self.key = search.key
        self.uid = search.uid
        self.order = order
        self.members = array("I", uids)
        self.ranking: Sequence[int] = ()
        self.verdicts: dict[int, bool] = {}
        self.modseq = 0
        self.last_uid = 0
        self.asked = search.update
        self.arrived = 0  # the last message that was announced when results were told

    def removal(self, names: dict[int, int]) -> bytes:
        """Forget members and give the notice: UID to what the client calls it. The last place first, so that none moves."""
        if self.order is None:
            pairs = [(0, NumSet.of(names.values()))]
        else:
            places = [(place, uid) for place, uid in enumerate(self.members, 1) if uid in names]
            pairs = [(place, NumSet.of((names[uid],))) for place, uid in reversed(places)]
        self.members = array("I", [uid for uid in self.members if uid not in names])
        return encode_search.update_line(self.tag, b"REMOVEFROM", pairs, uid=self.uid)

    def addition(self, names: dict[int, int]) -> bytes:
        """Take new members and give the notice: UID to what the client calls it. Place 0 is mailbox order (RFC 5267 §4.3.3)."""
        if self.order is None:
            self.members = array("I", sorted([*self.members, *names]))
            pairs = [(0, NumSet.of(names.values()))]
        else:
            self.members = array("I", _merged(self.members, self.ranking, names))
            pairs = [(place, NumSet.of((names[uid],))) for place, uid in enumerate(self.members, 1) if uid in names]
        return encode_search.update_line(self.tag, b"ADDTO", pairs, uid=self.uid)


def _merged(members: Sequence[int], ranking: Sequence[int], new: Collection[int]) -> list[int]:
    """Put new UIDs among members where the ranking has them; members that it has no more keep their neighbours."""
    out: list[int] = []
    places = {uid: place for place, uid in enumerate(members)}
    taken = 0
    for uid in ranking:
        if uid in new:
            out.append(uid)
        elif places.get(uid, -1) >= taken:
            out.extend(members[taken:places[uid] + 1])
            taken = places[uid] + 1
    return [*out, *members[taken:]]


class Contexts:
    """The contexts of one session."""

    __slots__ = ("_owed", "held")

    def __init__(self) -> None:
        self.held: dict[bytes, Context] = {}
        self._owed: list[tuple[Asked, list[int]]] = []

    @property
    def owes(self) -> bool:
        """True when items of new results are asked and were not told (RFC 5465 §7)."""
        return bool(self._owed)

    def take_owed(self) -> list[tuple[Asked, list[int]]]:
        """Give them: what is asked, and of which UIDs."""
        owed, self._owed = self._owed, []
        return owed

    def __bool__(self) -> bool:
        return bool(self.held)

    def clear(self) -> None:
        """End all of them: the folder is left."""
        self.held.clear()
        self._owed.clear()

    def leaving(self, numbers: dict[int, int]) -> list[bytes]:
        """Give the notices about messages that are about to be told expunged: UID to the number the client still knows."""
        out: list[bytes] = []
        for context in self.held.values() if numbers else ():
            for uid in numbers:
                context.verdicts.pop(uid, None)
            gone = {uid: uid if context.uid else numbers[uid] for uid in context.members if uid in numbers}
            if gone:
                out.append(context.removal(gone))
        return out

    def changes(self, number_of: Callable[[int], int]) -> list[bytes]:
        """Give the notices about what was found since the last ones. number_of: of a UID, 0 when the client knows none."""
        out: list[bytes] = []
        for context in self.held.values():
            if not context.verdicts:
                continue
            known = {uid: uid if context.uid else number for uid in sorted(context.verdicts) if (number := number_of(uid))}
            verdicts = {uid: context.verdicts.pop(uid) for uid in known}
            members = frozenset(context.members)
            gone = {uid: known[uid] for uid, found in verdicts.items() if not found and uid in members}
            come = {uid: known[uid] for uid, found in verdicts.items() if found and uid not in members}
            if gone:
                out.append(context.removal(gone))
            if come:
                out.append(context.addition(come))
            new = [uid for uid in come if uid > context.arrived]  # not those whose flags changed
            if new and context.asked is not None:
                self._owed.append((context.asked, new))
            context.arrived = max([context.arrived, *known])
        return out


def _changes_by_itself(key: SearchKey, *, private_seen: bool) -> bool:
    """Tell if the results of a key may change while the folder does not. private_seen: `\\Seen` is no flag of the folder."""
    for one in parts(key):
        match one:
            case WithinKey():
                return True
            case InSet(numbers, uid) if not uid or numbers.saved:
                return True
            case FlagKey(flag) if (private_seen and flag & Flags.SEEN) or flag & RECENT:
                return True
    return False


def follow(session: Session, search: Search, uids: Sequence[int], modseq: int, *, order: Order | None = None) -> list[bytes]:
    """Follow a search that found these UIDs; give the line that refuses to, or none. Raises ClientFault for a tag in use.

    modseq: of the folder when the search began; what changed since is looked at again. order: of SORT, the UIDs are in it.
    """
    contexts, tag = session.contexts.held, session.tag
    if tag in contexts:
        raise ClientFault(None, "this tag belongs to a search that is followed", rule="RFC 5267 §4.3")
    if len(contexts) >= MAX_CONTEXTS:
        return [refusal(tag, "too many searches are followed")]
    scored = any(by is SortBy.RELEVANCY for by, _ in order or ())
    if scored or _changes_by_itself(search.key, private_seen=session.seen is not None):
        return [refusal(tag, "this search cannot be followed")]
    _, cursor = session.opened()
    context = Context(tag, search, uids, order)
    context.modseq = modseq
    context.last_uid = context.arrived = cursor.uids[cursor.count - 1] if cursor.count else 0
    contexts[tag] = context
    return []


def refusal(tag: bytes, text: str) -> bytes:
    """Give the untagged NO that refuses UPDATE (RFC 5267 §4.3.1)."""
    return encode.untagged(Completion(Condition.NO, text, encode_search.code_noupdate(tag)))

