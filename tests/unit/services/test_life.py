"""Lives of mailboxes attacked: moves out of order, two at once, clocks that jump, kills in the middle, mail during closing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.clock import FakeClock
from support.storage_values import accept, filed

from mssante.errors import InputFault, OperatorFault
from mssante.lab.plan import luhn_digit
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.mailbox_rules import Life, LifePolicy
from mssante.model.reply import Allow, Refuse
from mssante.observability.metrics import REGISTRY
from mssante.services.addressbook import AddressBook
from mssante.services.life import Edit, LifeDesk, LifeSettings, UseBook
from mssante.services.life_guard import CAUSES, Withheld, show
from mssante.services.life_keeper import ERASED, KeeperSettings, LifeKeeper
from mssante.services.reception import mailbox_decision
from mssante.services.sasl import Caller
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.life import Profile
from mssante.storage.open import StorageOptions, open_stores

DOMAIN = "a.mssante.fr"
HOME = f"box0@{DOMAIN}"
RPPS = "9970000007" + luhn_digit("9970000007")
DAY = timedelta(days=1)


class Bench:
    """Stores, a desk and a keeper on one fake clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.stores: Stores = open_stores(f"sqlite:///{folder}/store.db", folder / "blobs", StorageOptions(readers=2))
        self.desk = LifeDesk(self.stores, self.clock, LifeSettings(LifePolicy(), frozenset((DOMAIN,))))
        self.keeper = self.another()

    def another(self, **settings: Any) -> LifeKeeper:
        return LifeKeeper(self.desk, KeeperSettings(**settings))

    async def make(self, count: int = 1, type_: MailboxType = MailboxType.PER) -> list[Mailbox]:
        news = [NewMailbox(f"box{rank}@{DOMAIN}", type_, self.clock.now()) for rank in range(count)]
        made = await self.stores.database.write(lambda tx: self.stores.accounts.create_mailboxes(tx, news))
        await self.keeper.run()  # the first: dates begin
        self.clock.advance(DAY)
        return made

    async def life(self, box: Mailbox) -> Life:
        return (await self.desk.show(box.address)).life

    async def set(self, box: Mailbox, **more: Any) -> None:
        life = replace(await self.life(box), **more)
        await self.stores.database.write(lambda tx: self.stores.life.put_lives(tx, [life]))

    async def idle(self, box: Mailbox, days: int, **more: Any) -> None:
        await self.set(box, last_used_at=self.clock.now() - timedelta(days=days), **more)

    async def state(self, box: Mailbox) -> MailboxState:
        return (await self.desk.show(box.address)).mailbox.state

    async def mail(self, box: Mailbox) -> int:
        return (await self.stores.database.read(lambda tx: self.stores.messages.usage(tx, box.id))).messages

    async def events(self, **wanted: Any) -> list[dict[str, Any]]:
        rows = await self.stores.database.read(lambda tx: self.stores.journal.recent(tx, limit=1000, **wanted))
        return [row.payload for row in reversed(rows)]

    async def closed(self, count: int = 1) -> Mailbox:
        """Give a mailbox whose time to be erased has come, with mail."""
        (box,) = await self.make()
        await accept(self.stores, *[filed(box.inbox_id, f"m{rank}") for rank in range(count)])
        await self.desk.move(box.address, MailboxState.CLOSED, reason="left", actor="t")
        await self.set(box, state_since=self.clock.now() - timedelta(days=31))
        return box


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.stores.close()


# ------------------------------------------------------------------------------------------ moves


async def test_a_move_is_told_and_journaled_and_never_out_of_order(bench: Bench) -> None:
    (box,) = await bench.make()
    told: list[tuple[str, str, str]] = []
    bench.desk.listeners.append(lambda address, before, after: told.append((address, before.value, after.value)))
    bench.desk.listeners.insert(0, lambda *_: 1 / 0)  # one that fails harms nobody
    await bench.desk.move("BOX0@" + DOMAIN, MailboxState.CLOSED, reason="left", actor="t", successor="b@x.mssante.fr")
    (event,) = [one for one in await bench.events(kind="mailbox_changed") if one["action"] == "closed"]
    assert (event["before"], event["after"], event["reason"], event["by"]) == ("active", "closed", "left", "t")
    assert told == [(box.address, "active", "closed")]
    for wrong, rule in ((MailboxState.SUSPENDED, "BAL-TRANSITION"), (MailboxState.PURGED, "BAL-PURGE"), (MailboxState.PROVISIONED, "BAL-TRANSITION")):
        with pytest.raises(InputFault) as caught:
            await bench.desk.move(HOME, wrong, reason="", actor="t")
        assert caught.value.rule == rule
    await bench.desk.move(HOME, MailboxState.ACTIVE, reason="back", actor="t")
    assert (await bench.life(box)).successor == ""


@pytest.mark.parametrize("successor", ["not an address", HOME, "é@x.fr\r\nX: y"])
async def test_a_successor_must_be_somebody_else(bench: Bench, successor: str) -> None:
    await bench.make()
    with pytest.raises(InputFault) as caught:
        await bench.desk.move(HOME, MailboxState.CLOSED, reason="", actor="t", successor=successor)
    assert caught.value.rule == "BAL-SUCCESSEUR"


async def test_two_at_once_one_wins(bench: Bench) -> None:
    await bench.make()
    done = await asyncio.gather(*[bench.desk.move(HOME, MailboxState.SUSPENDED, reason=str(rank), actor="t") for rank in range(5)],
                                return_exceptions=True)
    assert sum(isinstance(one, Mailbox) for one in done) == 1
    assert {one.rule for one in done if isinstance(one, InputFault)} == {"BAL-TRANSITION"}
    assert len([one for one in await bench.events(kind="mailbox_changed") if one["action"] == "suspended"]) == 1


async def test_edit_obeys_the_type(bench: Bench) -> None:
    (box,) = await bench.make()
    found = await bench.desk.edit(HOME, Edit(holder=RPPS, red_list=True, rank=1, contact="C@x.fr"), actor="t")
    assert (found.mailbox.holder_id, found.profile) == ("8" + RPPS, Profile(box.id, contact="C@x.fr".lower(), red_list=True, rank=1))
    before = len(await bench.events(kind="mailbox_changed"))
    await bench.desk.edit(HOME, Edit(holder="8" + RPPS, red_list=True), actor="t")
    assert len(await bench.events(kind="mailbox_changed")) == before, "nothing differs, nothing is told"
    for wrong, rule in ((Edit(service="x"), "BAL-CHAMP"), (Edit(holder="1"), "TITULAIRE-FORME"), (Edit(contact="x y"), "BAL-CONTACT"),
                        (Edit(rank=100), "BAL-CHAMP"), (Edit(structure=RPPS), "TITULAIRE-TYPE")):
        with pytest.raises(InputFault) as caught:
            await bench.desk.edit(HOME, wrong, actor="t")
        assert caught.value.rule == rule


# ------------------------------------------------------------------------------------------ smtp


async def test_what_smtp_answers(bench: Bench) -> None:
    (box,) = await bench.make()
    book = AddressBook(bench.stores, bench.clock)

    async def answer() -> str:
        book.forget()
        found = mailbox_decision(await book.find(HOME), HOME, book)
        return "250" if isinstance(found, Allow) else str(found.reply.code) + " " + found.reply.enhanced + " " + found.reply.text

    assert await answer() == "250"
    await bench.desk.move(HOME, MailboxState.SUSPENDED, reason="", actor="t")
    assert (await answer()).startswith("450 4.2.1") and "[BOITE-SUSPENDUE]" in await answer()
    book.suspended_final = True
    assert (await answer()).startswith("550 5.2.1")
    await bench.desk.move(HOME, MailboxState.CLOSED, reason="", actor="t", successor="b@x.mssante.fr")
    assert await answer() == "550 5.2.1 Boite fermee depuis le 2026-03-02 : ecrivez a b@x.mssante.fr [BOITE-FERMEE]"
    await bench.set(box, successor="")
    assert "depuis le 2026-03-02 : cherchez" in await answer()
    for state, start in ((MailboxState.PURGED, "550 5.1.1"), (MailboxState.PROVISIONED, "450 4.2.1"), (MailboxState.PUBLISHED, "250")):
        await bench.stores.database.write(partial(bench.stores.accounts.set_mailbox_state, address=HOME, state=state))
        assert (await answer()).startswith(start)
    assert isinstance(mailbox_decision(None, HOME, book), Refuse)


# ------------------------------------------------------------------------------------------ uses


async def account(bench: Bench, login: str, *ids: int) -> Any:
    made = await bench.stores.database.write(lambda tx: bench.stores.accounts.create_accounts(tx, [(login, "x", ids)]))
    return made[0]


async def test_a_login_is_a_use_and_opens_what_time_suspended(bench: Bench) -> None:
    one, two, other = await bench.make(3)
    user, uses = await account(bench, "u", one.id, two.id), UseBook(bench.desk)
    for box, reason in ((one, "inactivity"), (two, "leave")):
        await bench.desk.move(box.address, MailboxState.SUSPENDED, reason=reason, actor="t")
    uses.note(user, Caller("192.0.2.1:1", "imap"))
    assert await uses.flush() == 2 and await uses.flush() == 0
    assert [await bench.state(box) for box in (one, two, other)] == [MailboxState.ACTIVE, MailboxState.SUSPENDED, MailboxState.ACTIVE]
    assert (await bench.life(other)).last_used_at < bench.clock.now()


async def test_uses_that_cannot_be_written_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (box,) = await bench.make()
    uses = UseBook(bench.desk)
    await bench.idle(box, 310, warned_step=1)
    uses.note(await account(bench, "u", box.id), Caller("192.0.2.1:1", "imap"))

    async def full(unit: Any) -> Any:
        raise OperatorFault("full")

    with monkeypatch.context() as patched:
        patched.setattr(bench.stores.database, "write", full)
        with pytest.raises(OperatorFault):
            await uses.flush()
    assert await uses.flush() == 1 and (await bench.life(box)).warned_step == 0


async def test_a_delegation_that_is_over_is_no_use(bench: Bench) -> None:
    from mssante.services.delegations import MemberSpec
    from mssante.services.shareddesk import SharedDesk

    one, two = await bench.make(2)
    user, uses = await account(bench, "u", one.id), UseBook(bench.desk)
    await SharedDesk(bench.stores, bench.clock, frozenset((DOMAIN,))).add(
        two.address, [MemberSpec("u", until=bench.clock.now() + DAY)], by="t")
    bench.clock.advance(2 * DAY)
    uses.note(user, Caller("192.0.2.1:1", "imap"))
    await uses.flush()
    assert (await bench.life(one)).last_used_at == bench.clock.now() > (await bench.life(two)).last_used_at


# ------------------------------------------------------------------------------------------ warnings


async def test_a_warning_is_filed_once_here_and_at_the_contact(bench: Bench) -> None:
    one, two = await bench.make(2)
    await bench.stores.database.write(lambda tx: bench.stores.life.put_profiles(tx, [Profile(one.id, contact=two.address)], bench.clock.now()))
    await bench.idle(one, 340)  # two steps at once: one letter
    reports = await asyncio.gather(bench.keeper.run(), bench.another().run())
    assert sum(report.done["warn"] for report in reports) == 1
    assert [await bench.mail(box) for box in (one, two)] == [1, 1]
    (told,) = [event for event in await bench.events(subject=one.address) if event["action"] == "warned"]
    assert (told["step"], told["contact"]) == (2, "filed")
    bench.clock.advance(DAY)
    await bench.keeper.run()
    assert await bench.mail(one) == 1


@pytest.mark.parametrize(("allowed", "told", "waiting"), [(True, "queued", 1), (False, "outside", 0)])
async def test_a_contact_elsewhere_is_in_the_trust_space_or_not_written_to(bench: Bench, allowed: bool, told: str, waiting: int) -> None:
    (box,) = await bench.make()
    await bench.stores.database.write(lambda tx: bench.stores.life.put_profiles(tx, [Profile(box.id, contact="x@else.fr")], bench.clock.now()))
    await bench.idle(box, 310)
    await bench.another(may_write=lambda domain: allowed and domain == "else.fr").run()
    assert [event["contact"] for event in await bench.events(subject=box.address) if event["action"] == "warned"] == [told]
    queue = await bench.stores.database.read(lambda tx: bench.stores.queue.items(tx))
    assert len(queue) == waiting and all(item.sender == "" for item in queue)


async def test_quotas_are_told_once_a_step(bench: Bench) -> None:
    (box,) = await bench.make()
    await bench.stores.database.write(partial(bench.stores.accounts.set_quota, address=HOME, octets=0, messages=20))

    async def fill(messages: int) -> None:
        await accept(bench.stores, *[filed(box.inbox_id, f"f{rank}{bench.clock.now()}") for rank in range(messages)])

    await fill(15)
    assert await bench.keeper.watch_quotas() == 0
    await fill(1)
    assert [await bench.keeper.watch_quotas() for _ in range(3)] == [1, 0, 0]  # its letter makes 17: 85 %
    await fill(1)
    assert [await bench.keeper.watch_quotas() for _ in range(2)] == [1, 1]  # 90 %, and the letter makes 95 %
    assert [event["percent"] for event in await bench.events(subject=HOME) if event["action"] == "quota_warned"] == [80, 90, 95]
    await bench.stores.database.write(partial(bench.stores.accounts.set_quota, address=HOME, octets=0, messages=100))
    assert await bench.keeper.watch_quotas() == 0 and (await bench.life(box)).quota_warned == 0


# ------------------------------------------------------------------------------------------ clocks, masses


@pytest.mark.parametrize("jump", [timedelta(days=366), timedelta(days=8), timedelta(days=-3)])
async def test_a_clock_that_jumps_does_nothing(bench: Bench, jump: timedelta) -> None:
    box = await bench.closed(3)
    before = bench.clock.now()
    bench.clock.set(before + jump)
    report = await bench.keeper.run()
    assert (report.withheld, dict(report.done)) == ("clock", {}) and await bench.mail(box) == 3
    assert [event["cause"] for event in await bench.events(kind="life_stopped")][-1] == "clock"
    if jump > DAY:
        assert (await bench.keeper.run()).withheld == "clock", "it does not pass by itself"
    bench.clock.set(before)
    report = await bench.keeper.run()
    assert report.withheld == "" and report.done["purge"] == 1


async def test_a_human_confirms_a_jump(bench: Bench) -> None:
    box = await bench.closed(3)
    bench.clock.advance(timedelta(days=20))
    assert (await bench.keeper.run()).withheld == "clock"
    assert (await bench.keeper.run(accept=True)).done["purge"] == 1 and await bench.state(box) is MailboxState.PURGED


async def test_the_first_run_does_nothing_grave(bench: Bench) -> None:
    box = await bench.closed()
    rows = await bench.events(kind="life_run")
    assert len(rows) == 1
    fresh = bench.another()
    fresh._doubt = lambda report, tx: "first_run"  # type: ignore[method-assign]
    assert (await fresh.run()).done["purge"] == 0 and await bench.state(box) is MailboxState.CLOSED


async def test_too_many_at_once_wait_for_a_human(bench: Bench) -> None:
    boxes = await bench.make(60)
    for box in boxes:
        await bench.idle(box, 400, warned_step=3, warned_at=bench.clock.now() - timedelta(days=8))
    report = await bench.keeper.run()
    assert report.withheld == "share" and report.counts() == {"suspend": 60} and not report.done
    assert {await bench.state(box) for box in boxes} == {MailboxState.ACTIVE}
    assert (await bench.keeper.run(accept=True)).done["suspend"] == 60


def told() -> dict[str, float]:
    """Give the gauges of the guard that are not at rest."""
    found = {cause: REGISTRY.get_sample_value("mssante_life_withheld", {"cause": cause}) or 0.0 for cause in CAUSES}
    found["mailboxes"] = REGISTRY.get_sample_value("mssante_life_waiting_mailboxes") or 0.0
    return {name: value for name, value in found.items() if value}


async def test_what_waits_for_a_human_is_told_until_one_came(bench: Bench) -> None:
    boxes = await bench.make(60)
    for box in boxes:
        await bench.idle(box, 400, warned_step=3, warned_at=bench.clock.now() - timedelta(days=8))
    await bench.keeper.tick()
    assert told() == {"share": 1.0, "mailboxes": 60.0}
    show(None)
    await bench.another().tick()  # after a restart
    assert told() == {"share": 1.0, "mailboxes": 60.0}
    await bench.keeper.run()  # by hand, without accepting: no second row in the journal, and still withheld
    assert told() == {"share": 1.0, "mailboxes": 60.0}
    bench.clock.advance(timedelta(minutes=5))
    done = REGISTRY.get_sample_value("mssante_life_steps_total", {"kind": "suspend"}) or 0.0
    await bench.another().run(accept=True)  # `mssante life run --accept`, in another process
    assert REGISTRY.get_sample_value("mssante_life_steps_total", {"kind": "suspend"}) == done + 60
    show(Withheld("share", bench.clock.now(), 60))
    await bench.keeper.tick()
    assert told() == {}


async def test_a_clock_in_doubt_is_told_and_ends_when_it_is_right_again(bench: Bench) -> None:
    await bench.closed(3)
    before = bench.clock.now()
    bench.clock.set(before + timedelta(days=366))
    await bench.keeper.run()
    assert told() == {"clock": 1.0, "mailboxes": 1.0}
    bench.clock.set(before)
    await bench.keeper.run()
    assert told() == {}, "the row of the wrong clock is in the future, and is over"


async def test_a_new_operator_raises_no_alarm(bench: Bench) -> None:
    await bench.make(3)
    assert [event["cause"] for event in await bench.events(kind="life_stopped")] == ["first_run"] and told() == {}


async def test_few_mailboxes_are_never_too_many(bench: Bench) -> None:
    boxes = await bench.make(4)
    for box in boxes[:3]:
        await bench.idle(box, 400, warned_step=3, warned_at=bench.clock.now() - timedelta(days=8))
    assert (await bench.another(max_always=2).plan()).withheld == "share"
    assert (await bench.another(max_always=3).run()).done["suspend"] == 3


async def test_a_plan_changes_nothing(bench: Bench) -> None:
    box = await bench.closed(2)
    before = await bench.events()
    plan = await bench.keeper.plan(bench.clock.now() + timedelta(days=5))
    assert plan.counts() == {"purge": 1} and await bench.events() == before and await bench.mail(box) == 2


async def test_one_run_a_day(bench: Bench) -> None:
    await bench.make()
    assert await bench.keeper.tick() is not None
    assert await bench.keeper.tick() is None and await bench.another().tick() is None
    bench.clock.advance(DAY)
    assert await bench.another().tick() is not None


# ------------------------------------------------------------------------------------------ erasing


async def test_erasing_that_was_killed_goes_on(bench: Bench) -> None:
    box = await bench.closed(3 * ERASED // 2)
    (due,) = (await bench.keeper.plan()).due
    for wanted in (0, ERASED):  # the mark, then one part: then the process is killed
        assert (await bench.stores.database.write(partial(bench.keeper._purge_part, due, bench.clock.now())))[0] == wanted
    with pytest.raises(InputFault) as caught:
        await bench.desk.move(HOME, MailboxState.ACTIVE, reason="", actor="t")
    assert caught.value.rule == "BAL-PURGE"
    reports = await asyncio.gather(bench.another().run(), bench.another().run())
    assert sum(report.erased for report in reports) == ERASED // 2 and sum(report.done["purge"] for report in reports) == 1
    actions = [event["action"] for event in await bench.events(subject=HOME)]
    assert (actions.count("purging"), actions.count("purged")) == (1, 1) and await bench.mail(box) == 0


async def test_a_hold_stops_erasing_between_two_parts(bench: Bench) -> None:
    box = await bench.closed(ERASED + 10)
    (due,) = (await bench.keeper.plan()).due
    for _ in range(2):
        await bench.stores.database.write(partial(bench.keeper._purge_part, due, bench.clock.now()))
    await bench.desk.hold(HOME, bench.clock.now() + timedelta(days=100), actor="t")
    await bench.keeper.run()
    assert await bench.state(box) is MailboxState.CLOSED
    await bench.desk.hold(HOME, None, actor="t")
    assert (await bench.keeper.run()).erased == 10


async def test_mail_that_arrives_while_it_closes_is_kept_and_erased_with_it(bench: Bench) -> None:
    (box,) = await bench.make()
    book = AddressBook(bench.stores, bench.clock)
    found = await book.find(HOME)  # a transaction that was admitted
    await bench.desk.move(HOME, MailboxState.CLOSED, reason="", actor="t")
    assert found is not None and len(await accept(bench.stores, filed(found.inbox_id, "late"))) == 1
    assert await bench.mail(box) == 1, "it was accepted: it stands until the purge, or a reopening"
    await bench.desk.move(HOME, MailboxState.ACTIVE, reason="", actor="t")
    assert await bench.mail(box) == 1


async def test_an_address_is_reserved_after_the_purge_then_released(bench: Bench) -> None:
    box = await bench.closed(1)
    await bench.keeper.run()
    assert await bench.state(box) is MailboxState.PURGED
    new = NewMailbox(HOME, MailboxType.PER, bench.clock.now())
    with pytest.raises(ValueError, match="exists"):
        await bench.stores.database.write(lambda tx: bench.stores.accounts.create_mailboxes(tx, [new]))
    for wrong in (bench.desk.hold(HOME, None, actor="t"), bench.desk.object(HOME, actor="t"), bench.desk.edit(HOME, Edit(rank=1), actor="t")):
        with pytest.raises(InputFault) as caught:
            await wrong
        assert caught.value.rule == "BAL-EFFACEE"
    settings = replace(bench.desk.settings, policy=replace(bench.desk.settings.policy, reuse=5))
    short = LifeKeeper(LifeDesk(bench.stores, bench.clock, settings), KeeperSettings())
    bench.clock.advance(4 * DAY)
    assert (await short.run()).done["release"] == 0
    bench.clock.advance(DAY)
    assert (await short.run()).done["release"] == 1
    (again,) = await bench.stores.database.write(lambda tx: bench.stores.accounts.create_mailboxes(tx, [new]))
    assert again.id != box.id and await bench.mail(again) == 0


async def test_a_state_changed_elsewhere_is_never_ended_by_old_dates(bench: Bench) -> None:
    (box,) = await bench.make()
    await bench.set(box, state_since=bench.clock.now() - timedelta(days=900), last_used_at=bench.clock.now() - timedelta(days=900))
    await bench.stores.database.write(partial(bench.stores.accounts.set_mailbox_state, address=HOME, state=MailboxState.CLOSED))
    report = await bench.keeper.run()
    assert dict(report.done) == {"reconcile": 1} and (await bench.keeper.plan()).due == []
