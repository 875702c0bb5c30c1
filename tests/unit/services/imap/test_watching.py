"""NOTIFY without a session: which folders, which names, which counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mssante.model.mailbox import Folder
from mssante.protocol.imap.notifyvalues import NotifyEvent, NotifyGroup, NotifyWhere
from mssante.protocol.imap.values import StatusItem
from mssante.services.imap.watching import Scope, name_changes, status_items

BOTH = NotifyEvent.MESSAGE_NEW | NotifyEvent.MESSAGE_EXPUNGE
FLAGS = BOTH | NotifyEvent.FLAG_CHANGE


def folder(folder_id: int, name: str, *, subscribed: bool = False) -> Folder:
    return Folder(id=folder_id, mailbox_id=1, name=name, special_use="", uidvalidity=1, uidnext=1, highest_modseq=1,
                  message_count=0, unseen_count=0, deleted_count=0, size_bytes=0, subscribed=subscribed)


FOLDERS = [folder(1, "INBOX", subscribed=True), folder(2, "A"), folder(3, "A/B"), folder(4, "AB", subscribed=True),
           folder(5, "Partages/x@y.fr/INBOX")]


@pytest.mark.parametrize(("where", "names", "found"), [
    (NotifyWhere.PERSONAL, (), {1, 2, 3, 4}), (NotifyWhere.INBOXES, (), {1}), (NotifyWhere.SUBSCRIBED, (), {1, 4}),
    (NotifyWhere.SUBTREE, ("A",), {2, 3}), (NotifyWhere.SUBTREE, ("A/B", "AB"), {3, 4}), (NotifyWhere.MAILBOXES, ("A", "no"), {2}),
    (NotifyWhere.MAILBOXES, ("A/%", "*"), set()), (NotifyWhere.SUBTREE, ("Partages",), {5}),
])
def test_which_folders(where: NotifyWhere, names: tuple[str, ...], found: set[int]) -> None:
    scope = Scope([NotifyGroup(where, BOTH, names)], "Partages/")
    assert scope.watched(FOLDERS) == dict.fromkeys(found, BOTH)
    assert Scope([NotifyGroup(where, NotifyEvent.NONE, names)], "Partages/").watched(FOLDERS) == {}


def test_groups_add_up_and_the_open_folder_is_apart() -> None:
    scope = Scope([NotifyGroup(NotifyWhere.SELECTED, FLAGS), NotifyGroup(NotifyWhere.INBOXES, BOTH),
                   NotifyGroup(NotifyWhere.PERSONAL, NotifyEvent.SUBSCRIPTION_CHANGE)], "Partages/")
    assert scope.selected is not None
    assert scope.events("INBOX", FOLDERS[0]) == BOTH | NotifyEvent.SUBSCRIPTION_CHANGE
    assert scope.watched(FOLDERS) == {1: BOTH}


def names(before: list[Folder], after: list[Folder]) -> list[tuple[str, str]]:
    found = name_changes({one.id: one for one in before}, {one.id: one for one in after})
    return [(change.name, change.old_name or str(change.event.name)) for change in found]


def test_changes_of_names() -> None:
    a, b, c = folder(1, "A"), folder(2, "A/B"), folder(3, "C")
    assert names([a], [a]) == []
    assert names([a], [a, c]) == [("C", "MAILBOX_NAME")]
    assert names([a], [a, b]) == [("A", "MAILBOX_NAME"), ("A/B", "MAILBOX_NAME")]
    assert names([a, b], [a]) == [("A", "MAILBOX_NAME"), ("A/B", "MAILBOX_NAME")]
    assert names([c], [replace(c, subscribed=True)]) == [("C", "SUBSCRIPTION_CHANGE")]
    assert names([c], [replace(c, name="D", subscribed=True)]) == [("D", "C")]


def test_folders_below_follow_without_a_word() -> None:
    before = [folder(1, "A"), folder(2, "A/B"), folder(3, "A/B/C"), folder(4, "X")]
    after = [folder(1, "Z"), folder(2, "Z/B"), folder(3, "Z/B/C"), folder(4, "X")]
    assert names(before, after) == [("Z", "A")]
    assert names(before, [folder(1, "Z"), folder(2, "Z/other"), folder(3, "Z/other/C"), folder(4, "X")]) == [
        ("Z", "A"), ("Z/other", "A/B")]


def test_a_name_that_another_folder_took_is_not_gone() -> None:
    assert names([folder(1, "A")], [folder(2, "A")]) == [("A", "MAILBOX_NAME")]


def test_a_lost_subscription_is_told_to_those_who_follow_subscriptions() -> None:
    scope = Scope([NotifyGroup(NotifyWhere.SUBSCRIBED, NotifyEvent.SUBSCRIPTION_CHANGE)], "Partages/")
    old, new = folder(1, "A", subscribed=True), folder(1, "A")
    (change,) = name_changes({1: old}, {1: new})
    assert change.asked(scope)
    other = Scope([NotifyGroup(NotifyWhere.SUBSCRIBED, NotifyEvent.MAILBOX_NAME)], "Partages/")
    assert not change.asked(other)


MESSAGES, UIDNEXT, UNSEEN = StatusItem.MESSAGES, StatusItem.UIDNEXT, StatusItem.UNSEEN
VALIDITY, MODSEQ = StatusItem.UIDVALIDITY, StatusItem.HIGHESTMODSEQ


@pytest.mark.parametrize(("events", "condstore", "change", "items"), [
    (BOTH, False, {"uidnext": 2, "message_count": 1, "unseen_count": 1, "highest_modseq": 2}, (MESSAGES, UIDNEXT, VALIDITY)),
    (BOTH, True, {"uidnext": 2, "message_count": 1, "highest_modseq": 2}, (MESSAGES, UIDNEXT, MODSEQ, VALIDITY)),
    (BOTH, True, {"highest_modseq": 2}, ()),
    (BOTH, False, {"unseen_count": 5, "highest_modseq": 2}, ()),
    (FLAGS, False, {"highest_modseq": 2}, ()),
    (FLAGS, False, {"unseen_count": 5, "highest_modseq": 2}, (UNSEEN, VALIDITY)),
    (FLAGS, True, {"highest_modseq": 2}, (MODSEQ, VALIDITY)),
    (FLAGS, True, {}, ()),
    (NotifyEvent.NONE, True, {"uidnext": 2, "highest_modseq": 2}, ()),
])
def test_what_status_tells(events: NotifyEvent, condstore: bool, change: dict[str, int], items: tuple[StatusItem, ...]) -> None:
    before = folder(1, "A")
    assert status_items(before, replace(before, **change), events, condstore=condstore) == items  # type: ignore[arg-type]
