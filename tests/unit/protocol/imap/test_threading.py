"""Threading: the examples of RFC 5256, every message once, and the same threads as a direct reading of §4."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap.threading import Forest, Threaded, ordered_subject, references


def one(number: int, subject: str = "", sent: int | None = None, *refs: str, answers: bool = False, identity: str | None = None) -> Threaded:
    return Threaded(number, subject, number if sent is None else sent, answers,
                    f"<{number}>" if identity is None else identity, refs)


def numbers_of(forest: Forest) -> list[int]:
    out: list[int] = []
    pending = list(forest.roots)
    while pending:
        node = pending.pop()
        out.append(forest.numbers[node])
        pending += forest.children.get(node, [])
    return sorted(number for number in out if number)


def test_ordered_subject_has_two_levels_and_oldest_first() -> None:
    forest = ordered_subject([one(1, "b", 50), one(2, "a", 10), one(3, "b", 20), one(4, "b", 60), one(5, "c", 5)])
    assert forest.encode() == b"(5)(2)(3 (1)(4))"


def test_example_of_the_answer() -> None:
    """RFC 5256 §4: `* THREAD (2)(3 6 (4 23)(44 7 96))`."""
    messages = [one(2), one(3), one(6, "", 6, "<3>"), one(4, "", 7, "<6>"), one(23, "", 23, "<4>"), one(44, "", 44, "<6>"),
                one(7, "", 45, "<44>"), one(96, "", 96, "<7>")]
    assert references(messages).encode() == b"(2)(3 6 (4 23)(44 7 96))"


def test_siblings_of_a_missing_message_stay_together() -> None:
    """RFC 5256 §4: `* THREAD ((3)(5))`."""
    assert references([one(3, "", 3, "<lost>"), one(5, "", 5, "<lost>")]).encode() == b"((3)(5))"


def test_only_child_of_a_missing_message_takes_its_place() -> None:
    assert references([one(3, "", 3, "<lost>", "<lost too>")]).encode() == b"(3)"


def test_missing_messages_between_are_left_out() -> None:
    messages = [one(1), one(2, "", 2, "<1>", "<a>", "<b>"), one(3, "", 3, "<1>", "<a>")]
    assert references(messages).encode() == b"(1 (2)(3))"


def test_loops_are_cut() -> None:
    forest = references([one(1, "", 1, "<2>"), one(2, "", 2, "<1>"), one(3, "", 3, "<3>")])
    assert numbers_of(forest) == [1, 2, 3]


def test_subjects_gather_threads() -> None:
    """RFC 5256 §4 step 5."""
    assert references([one(1, "X"), one(2, "X", answers=True)]).encode() == b"(1 2)"
    assert references([one(1, "X", answers=True), one(2, "X")]).encode() == b"(2 1)"
    assert references([one(1, "X"), one(2, "X")]).encode() == b"((1)(2))"
    assert references([one(1, "X"), one(2, "X"), one(3, "X", answers=True)]).encode() == b"((1)(2)(3))"
    assert references([one(1), one(2)]).encode() == b"(1)(2)"
    assert references([one(1, "X", 1, "<lost>"), one(2, "X", 2, "<lost>"), one(3, "X")]).encode() == b"((1)(2)(3))"


def test_a_message_id_used_twice_belongs_to_the_first() -> None:
    messages = [one(1, identity="<x>"), one(2, identity="<x>"), one(3, "", 3, "<x>")]
    assert references(messages).encode() == b"(1 3)(2)"


def test_top_is_in_date_order_and_so_are_siblings() -> None:
    messages = [one(1, "", 90), one(2, "", 10), one(3, "", 50, "<2>"), one(4, "", 20, "<2>")]
    assert references(messages).encode() == b"(2 (4)(3))(1)"


ANY = st.lists(st.tuples(
    st.sampled_from(["", "A", "B"]), st.integers(0, 5), st.booleans(), st.sampled_from(["", *(f"<{n}>" for n in range(8))]),
    st.lists(st.sampled_from([f"<{n}>" for n in range(12)]), max_size=5)), max_size=14)


@given(ANY)
@settings(max_examples=300, deadline=None)
def test_every_message_stands_once_whatever_they_say(parts: list[Any]) -> None:
    messages = [Threaded(number, subject, sent, answers, identity, tuple(refs))
                for number, (subject, sent, answers, identity, refs) in enumerate(parts, 1)]
    for forest in (references(messages), ordered_subject(messages)):
        assert numbers_of(forest) == list(range(1, len(parts) + 1))
        text = forest.encode().decode()
        assert text.count("(") == text.count(")")
        assert sorted(int(word) for word in text.replace("(", " ").replace(")", " ").split()) == list(range(1, len(parts) + 1))
        assert all(forest.numbers[node] or len(forest.children[node]) > 1 for node in forest.roots)


def naive(messages: list[Threaded]) -> set[tuple[int, int]]:
    """Steps 1 to 3 of RFC 5256 §4 word by word: give (message, nearest message above or 0)."""
    parents: dict[str, str | None] = {}

    def above(identity: str | None, of: str) -> bool:
        while identity is not None:
            if identity == of:
                return True
            identity = parents.get(identity)
        return False

    for message in messages:
        for parent, child in zip(message.references, message.references[1:], strict=False):
            if parents.get(child) is None and not above(parent, child):
                parents[child] = parent
        last = message.references[-1] if message.references else None
        parents[message.identity] = None
        if last is not None and not above(last, message.identity):
            parents[message.identity] = last
    known = {message.identity: message.number for message in messages}
    out = set()
    for message in messages:
        at = parents.get(message.identity)
        while at is not None and at not in known:
            at = parents.get(at)
        out.add((message.number, known[at] if at is not None else 0))
    return out


@given(st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_true_references_give_what_the_text_of_the_rfc_gives(seed: int) -> None:
    random_of = random.Random(seed)
    ancestors: list[list[str]] = []
    messages: list[Threaded] = []
    for number in range(1, 15):
        parent = random_of.randrange(number) if ancestors and random_of.random() < 0.8 else 0
        chain = [*ancestors[parent - 1], f"<{parent}>"] if parent else []
        ancestors.append(chain)
        if random_of.random() < 0.7:  # the others are missing from the folder
            messages.append(one(number, "", number, *chain[-random_of.randint(1, 4):]))
    forest = references(messages)
    linked = {(forest.numbers[child], forest.numbers[parent]) for parent, below in forest.children.items() for child in below
              if forest.numbers[parent]}
    assert linked == {pair for pair in naive(messages) if pair[1]}


def test_ten_thousand_answers_to_answers_need_no_stack() -> None:
    messages = [one(number, "X", number, *([f"<{number - 1}>"] if number > 1 else []), answers=number > 1) for number in range(1, 10_001)]
    random.Random(3).shuffle(messages)
    forest = references(messages)
    assert numbers_of(forest) == list(range(1, 10_001))
    assert forest.encode() == b"(" + b" ".join(b"%d" % number for number in range(1, 10_001)) + b")"


def test_a_deep_chain_of_missing_messages_is_walked_once() -> None:
    chain = [f"<lost {number}>" for number in range(9_900)]
    messages = [one(number + 1, "", number, *chain[place:place + 100]) for number, place in enumerate(range(0, 9_900, 99))]
    messages += [one(1_000 + number, "", 1_000 + number, chain[-1]) for number in range(5_000)]
    assert len(numbers_of(references(messages))) == len(messages)
