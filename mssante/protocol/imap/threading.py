"""THREAD=ORDEREDSUBJECT and THREAD=REFERENCES (RFC 5256 §3, §4) over plain values, and the text of a THREAD answer.

- No recursion and no climbing: a reply to a reply ten thousand times over costs what as many single messages do.
  Loops are found by union-find, parents of missing messages by walking each of them once.
- A forest holds every message once. Its only nodes without message stand at the top, for messages whose common parent is
  missing (RFC 5256 §4 step 5).
- REFERENCES links in two passes: every message under its own last reference, then what the earlier references tell about
  messages that have no parent yet. For References that agree with one another this is the order of RFC 5256 §4 step 1; when
  they disagree, what a message says of itself wins over what others say, in whatever order they stand in the folder.

Pure. Called by `services/imap/thread.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple


class Threaded(NamedTuple):
    """What threading takes of one message, given in mailbox order. A plain tuple: ten thousand are made for one THREAD.

    subject: base subject, ready to compare; answers: it is a reply or a forward; sent: any increasing count of time;
    identity: Message-ID or empty; references: ids of its ancestors, oldest first.
    """

    number: int
    subject: str
    sent: int
    answers: bool = False
    identity: str = ""
    references: Sequence[str] = ()


@dataclass(slots=True)
class Forest:
    """Threads. Nodes are numbers of our own: `numbers[node]` is the message number, 0 for a missing message."""

    numbers: list[int]
    roots: list[int] = field(default_factory=list)
    children: dict[int, list[int]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Give the thread lists of a THREAD answer: `(2)(3 6 (4 23)(44 7 96))` (RFC 5256 §5)."""
        out: list[str] = []
        # What is still to be written, the next one last: a text, or a node.
        pending: list[str | int] = []
        for root in reversed(self.roots):
            pending += (")", root, "(")
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                out.append(item)
                continue
            below = self.children.get(item, [])
            number = self.numbers[item]
            if number:
                out.append(str(number))
            if len(below) == 1:
                pending += (below[0], " ") if number else (below[0],)
            elif below:
                for child in reversed(below):
                    pending += (")", child, "(")
                if number:
                    pending.append(" ")
        return "".join(out).encode("ascii")


def ordered_subject(messages: Iterable[Threaded]) -> Forest:
    """Thread by base subject: the oldest message of a subject, and all others of it below (RFC 5256 §3)."""
    listed = sorted(messages, key=lambda one: (one.sent, one.number))
    forest = Forest([one.number for one in listed])
    first: dict[str, int] = {}
    for node, one in enumerate(listed):
        root = first.setdefault(one.subject, node)
        if root == node:
            forest.roots.append(node)
        else:
            forest.children.setdefault(root, []).append(node)
    return forest


def references(messages: Iterable[Threaded]) -> Forest:
    """Thread by References and subject (RFC 5256 §4)."""
    listed = list(messages)
    links = _Links(listed)
    forest = Forest([one.number for one in listed])
    _hang(forest, links)
    subjects = [one.subject for one in listed]
    sent = [one.sent for one in listed]
    _Top(forest, listed, subjects, sent).gather()
    return forest


class _Links:
    """Step 1: who is the parent of whom. Nodes below `count` are messages, those above are ids that no message has."""

    __slots__ = ("_group", "count", "nodes", "parents")

    def __init__(self, messages: Sequence[Threaded]) -> None:
        self.count = len(messages)
        self.nodes: dict[str, int] = {}
        for node, one in enumerate(messages):
            if one.identity:
                self.nodes.setdefault(one.identity, node)  # an id used twice belongs to the first (step 1)
        self.parents: list[int] = [-1] * self.count
        self._group: list[int] = list(range(self.count))
        chains = [[self._node(identity) for identity in one.references] for one in messages]
        for node, chain in enumerate(chains):
            if chain:
                self._link(chain[-1], node)
        for chain in chains:
            for parent, child in pairwise(chain):
                if child >= self.count or not chains[child]:  # a message with references of its own is believed alone
                    self._link(parent, child)

    def _node(self, identity: str) -> int:
        node = self.nodes.get(identity)
        if node is None:
            node = self.nodes[identity] = len(self.parents)
            self.parents.append(-1)
            self._group.append(node)
        return node

    def _link(self, parent: int, child: int) -> None:
        """Put a node without parent under another, unless that would make a loop."""
        if self.parents[child] >= 0:
            return
        above, below = self._find(parent), self._find(child)
        if above == below:  # the child is the top of its tree, so a parent of the same tree stands below it
            return
        self.parents[child] = parent
        self._group[below] = above

    def _find(self, node: int) -> int:
        group = self._group
        while group[node] != node:
            group[node] = group[group[node]]
            node = group[node]
        return node


def _hang(forest: Forest, links: _Links) -> None:
    """Steps 2 and 3: messages under the nearest message above, or at the top; missing ones stay where they join several."""
    parents, count = links.parents, links.count
    above: dict[int, int] = {}  # missing message -> the message above it, or the highest missing one
    loose: dict[int, list[int]] = {}
    for node in range(count):
        parent = parents[node]
        path: list[int] = []
        while parent >= count and parent not in above and parents[parent] >= 0:
            path.append(parent)
            parent = parents[parent]
        parent = above.get(parent, parent)
        for passed in path:
            above[passed] = parent
        if parent < 0:
            forest.roots.append(node)
        elif parent < count:
            forest.children.setdefault(parent, []).append(node)
        else:
            loose.setdefault(parent, []).append(node)
    for nodes in loose.values():
        if len(nodes) == 1:
            forest.roots.append(nodes[0])
        else:
            forest.roots.append(len(forest.numbers))
            forest.children[len(forest.numbers)] = nodes
            forest.numbers.append(0)


class _Top:
    """Steps 4 to 6: sort the top, gather threads of one subject, sort what stands below."""

    __slots__ = ("_forest", "_messages", "_sent", "_subjects")

    def __init__(self, forest: Forest, messages: Sequence[Threaded], subjects: list[str], sent: list[int]) -> None:
        self._forest = forest
        self._messages = messages
        self._subjects = subjects
        self._sent = sent

    def gather(self) -> None:
        """Do all three steps."""
        forest = self._forest
        for root in forest.roots:
            if not forest.numbers[root]:
                forest.children[root].sort(key=self._age)
        forest.roots.sort(key=self._age_of_top)
        forest.roots = self._merged(forest.roots, self._table())
        for below in forest.children.values():
            below.sort(key=self._age)
        forest.roots.sort(key=self._age_of_top)

    def _age(self, node: int) -> tuple[int, int]:
        return self._sent[node], self._messages[node].number

    def _first(self, node: int) -> int:
        """Give the message that stands for a top node: itself, or its first child when it is missing."""
        return node if self._forest.numbers[node] else self._forest.children[node][0]

    def _age_of_top(self, node: int) -> tuple[int, int]:
        return self._age(self._first(node))

    def _answers(self, node: int) -> bool:
        return bool(self._forest.numbers[node]) and self._messages[node].answers

    def _table(self) -> dict[str, int]:
        """Step 5 B: for each subject, the top node that the others of it join."""
        numbers = self._forest.numbers
        table: dict[str, int] = {}
        for root in self._forest.roots:
            subject = self._subjects[self._first(root)]
            if not subject:
                continue
            held = table.setdefault(subject, root)
            if held != root and numbers[held] and (not numbers[root] or (self._answers(held) and not self._answers(root))):
                table[subject] = root
        return table

    def _merged(self, roots: Sequence[int], table: dict[str, int]) -> list[int]:
        """Step 5 C: put threads of one subject together."""
        forest = self._forest
        numbers, children = forest.numbers, forest.children
        gone: set[int] = set()
        made: list[int] = []
        for root in roots:
            subject = self._subjects[self._first(root)]
            held = table.get(subject, root) if subject else root
            if held == root:
                continue
            gone.add(root)
            if not numbers[held]:
                children[held].extend(children.pop(root) if not numbers[root] else [root])
            elif self._answers(root) and not self._answers(held):
                children.setdefault(held, []).append(root)
            else:
                top = len(numbers)
                numbers.append(0)
                children[top] = [held, root]
                gone.add(held)
                made.append(top)
                table[subject] = top
        return [root for root in [*roots, *made] if root not in gone]
