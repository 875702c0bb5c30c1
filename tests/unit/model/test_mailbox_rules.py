"""Types, states, and what time brings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mssante.errors import InputFault
from mssante.lab.plan import fictitious_finess, luhn_digit
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.mailbox_rules import (
    EFFECTS,
    MOVES,
    RULES,
    Life,
    LifePolicy,
    Step,
    check_field,
    check_holder,
    check_move,
    check_people,
    check_type,
    ends_on,
    next_step,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RPPS = "9970000007" + luhn_digit("9970000007")
POLICY = LifePolicy()


def box(state: MailboxState = MailboxState.ACTIVE, type_: MailboxType = MailboxType.PER) -> Mailbox:
    return Mailbox(1, "a@x.fr", type_, state, 1)


def life(state: MailboxState = MailboxState.ACTIVE, days: int = 0, **more: object) -> Life:
    at = NOW - timedelta(days=days)
    return replace(Life(1, state.value, at, at), **more)  # type: ignore[arg-type]


def days_ago(count: int) -> datetime:
    return NOW - timedelta(days=count)


@pytest.mark.parametrize(("type_", "holder", "rule"), [
    (MailboxType.PER, RPPS, ""), (MailboxType.CAB, RPPS, ""), (MailboxType.ORG, fictitious_finess(1), ""),
    (MailboxType.APP, fictitious_finess(1), ""), (MailboxType.PER, fictitious_finess(1), "TITULAIRE-TYPE"),
    (MailboxType.ORG, RPPS, "TITULAIRE-TYPE"), (MailboxType.ORG, "x", "TITULAIRE-FORME")])
def test_holder(type_: MailboxType, holder: str, rule: str) -> None:
    if not rule:
        assert check_holder(type_, holder).national.endswith(holder)
        return
    with pytest.raises(InputFault) as caught:
        check_holder(type_, holder)
    assert caught.value.rule == rule and caught.value.remedy


def test_fields_and_people() -> None:
    check_field(MailboxType.ORG, "service", "Cardiologie")
    check_field(MailboxType.PER, "service", "")
    check_people(MailboxType.ORG)
    check_type(MailboxType.CAB, cab=True)
    for wrong, rule in ((lambda: check_field(MailboxType.PER, "service", "x"), "BAL-CHAMP"),
                        (lambda: check_field(MailboxType.ORG, "service", "x" * 256), "BAL-CHAMP"),
                        (lambda: check_field(MailboxType.ORG, "service", "a\nb"), "BAL-CHAMP"),
                        (lambda: check_people(MailboxType.APP), "BAL-APP-HUMAIN"),
                        (lambda: check_type(MailboxType.CAB, cab=False), "BAL-CAB")):
        with pytest.raises(InputFault) as caught:
            wrong()
        assert caught.value.rule == rule and caught.value.remedy
    assert set(RULES) == set(MailboxType)


@pytest.mark.parametrize("before", MailboxState)
@pytest.mark.parametrize("after", MailboxState)
def test_every_move_is_allowed_or_refused_by_the_table(before: MailboxState, after: MailboxState) -> None:
    order = list(MailboxState)
    backwards = (before, after) in ((MailboxState.SUSPENDED, MailboxState.ACTIVE), (MailboxState.CLOSED, MailboxState.ACTIVE))
    assert set(MOVES) == set(EFFECTS) == set(MailboxState)
    if after in MOVES[before]:
        assert order.index(after) > order.index(before) or backwards
        check_move(box(before), after)
        return
    with pytest.raises(InputFault) as caught:
        check_move(box(before), after)
    assert caught.value.rule == "BAL-TRANSITION" and caught.value.remedy


def test_only_what_is_closed_is_purged() -> None:
    assert [state for state in MailboxState if MailboxState.PURGED in MOVES[state]] == [MailboxState.CLOSED]
    assert MOVES[MailboxState.PURGED] == frozenset()


@pytest.mark.parametrize(("given", "wanted"), [
    (life(days=304), None), (life(days=305), Step.WARN), (life(days=304, objected_until=NOW + timedelta(days=1)), None),
    (life(days=334, warned_step=1, warned_at=days_ago(29)), None), (life(days=335, warned_step=1, warned_at=days_ago(30)), Step.WARN),
    (life(days=400), Step.WARN),  # nobody was warned: that comes first, however late
    (life(days=400, warned_step=3, warned_at=days_ago(6)), None), (life(days=400, warned_step=3, warned_at=days_ago(7)), Step.SUSPEND),
    (life(days=364, warned_step=3, warned_at=days_ago(7)), None),
    (life(days=400, warned_step=3, warned_at=days_ago(7), objected_until=NOW + timedelta(days=1)), None),
    (life(days=-3000), None),  # a date of the future
    (life(days=400, objected_until=days_ago(10)), None),  # after an objection, a whole delay again
])
def test_an_active_mailbox(given: Life, wanted: Step | None) -> None:
    assert next_step(box(), given, POLICY, NOW) is wanted


@pytest.mark.parametrize(("state", "given", "wanted"), [
    (MailboxState.SUSPENDED, {"days": 90, "reason": "inactivity"}, Step.CLOSE), (MailboxState.SUSPENDED, {"days": 89, "reason": "inactivity"}, None),
    (MailboxState.SUSPENDED, {"days": 900, "reason": "leave"}, None),
    (MailboxState.SUSPENDED, {"days": 90, "reason": "inactivity", "objected_until": NOW + timedelta(1)}, None),
    (MailboxState.CLOSED, {"days": 29}, None), (MailboxState.CLOSED, {"days": 30}, Step.PURGE),
    (MailboxState.CLOSED, {"days": 300, "hold_until": NOW + timedelta(1)}, None), (MailboxState.CLOSED, {"days": 0, "reason": "purging"}, Step.PURGE),
    (MailboxState.CLOSED, {"days": 300, "hold_until": days_ago(1)}, Step.PURGE), (MailboxState.PURGED, {"days": 30000}, None),
    (MailboxState.PROVISIONED, {"days": 3000}, None)])
def test_other_states(state: MailboxState, given: dict[str, object], wanted: Step | None) -> None:
    assert next_step(box(state), life(state, **given), POLICY, NOW) is wanted  # type: ignore[arg-type]


def test_a_state_changed_elsewhere_begins_again_and_a_ban_ends() -> None:
    assert next_step(box(MailboxState.SUSPENDED), life(days=900), POLICY, NOW) is Step.RECONCILE
    purged = life(MailboxState.PURGED, days=30)
    assert next_step(box(MailboxState.PURGED), purged, replace(POLICY, reuse=30), NOW) is Step.RELEASE
    assert next_step(box(MailboxState.PURGED), purged, replace(POLICY, reuse=31), NOW) is None


def test_a_warning_never_announces_less_than_its_last_delay() -> None:
    assert ends_on(life(days=305), POLICY, NOW) == NOW + timedelta(days=60)
    assert ends_on(life(days=900), POLICY, NOW) == NOW + timedelta(days=7)
