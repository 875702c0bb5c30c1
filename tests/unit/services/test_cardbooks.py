"""Which cards an account sees, over real stores and a real mirror: colleagues, correspondents, limits, red list, closing, states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock

from mssante.directory.extraction import COLUMNS
from mssante.errors import MssFault
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.protocol.webdav.requests import Condition, DavFault, Query, TextMatch, Wanted
from mssante.services import cardbooks
from mssante.services.cardbooks import FRESH_SECONDS, AddressBooks
from mssante.services.directory import Desk
from mssante.storage.exchanges import Exchange
from mssante.storage.interfaces import Account, NewMailbox, Stores
from mssante.storage.life import Profile
from mssante.storage.mirror import ImportRequest
from mssante.storage.open import open_stores
from mssante.storage.sql.mirror import SqliteMirror
from mssante.topics.directory import ProvisionedBoxes

OURS, CITIZENS = "ours.fr", "patient.fr"


def extraction(folder: Path, clock: FakeClock, *addresses: str) -> SqliteMirror:
    rows = ["|".join(["PER", address, *[""] * 7, address.partition("@")[0].upper(), "Jean", *[""] * (len(COLUMNS) - 11)]) for address in addresses]
    path = folder / "Extraction_Correspondance_MSSante_202602280730.txt"
    path.write_text("\n".join(("|".join(COLUMNS), *rows)) + "\n")
    mirror = SqliteMirror(folder / "annuaire")
    mirror.adopt(ImportRequest(path, path.name, clock.now()))
    return mirror


@dataclass
class Stage:
    stores: Stores
    clock: FakeClock
    mirror: SqliteMirror
    books: AddressBooks
    account: Account

    async def box(self, address: str, *, red: bool = False) -> int:
        new = NewMailbox(address, MailboxType.PER, self.clock.now(), display_name=address.partition("@")[0])
        (made,) = await self.stores.database.write(lambda tx: self.stores.accounts.create_mailboxes(tx, [new]))
        await self.stores.database.write(lambda tx: self.stores.life.put_profiles(tx, [Profile(made.id, red_list=red)], self.clock.now()))
        return made.id

    async def wrote(self, address: str, *, sent: int = 1) -> None:
        self.clock.advance(timedelta(milliseconds=1))
        row = Exchange(self.account.mailbox_ids[0], address, sent, 1, self.clock.now())
        await self.stores.database.write(lambda tx: self.stores.exchanges.add(tx, [row]))

    async def shown(self) -> list[str]:
        return list((await self.books.colleagues(self.account)).cards)

    def later(self) -> None:
        self.clock.advance(timedelta(seconds=FRESH_SECONDS + 1))


@pytest.fixture
async def stage(tmp_path: Path) -> Iterator[Stage]:  # type: ignore[misc]
    stores, clock = open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs"), FakeClock()
    mirror = extraction(tmp_path, clock, "anne@far.fr", "paul@far.fr", "lea@far.fr", "claire@ours.fr", "hidden@ours.fr")
    desk = Desk(mirror, clock, None, local=ProvisionedBoxes(stores, frozenset((OURS, CITIZENS))))
    found = Stage(stores, clock, mirror, AddressBooks(desk, stores, clock, frozenset((OURS, CITIZENS)), citizens=CITIZENS), Account(1, "c", "", True))
    found.account = Account(1, "claire", "", True, (await found.box("claire@ours.fr"),))
    yield found
    mirror.close()
    stores.close()


async def test_colleagues_and_correspondents(stage: Stage) -> None:
    await stage.box("zoe@ours.fr")
    await stage.box("hidden@ours.fr", red=True)
    await stage.box("1850675@patient.fr")
    for address in ("anne@far.fr", "nobody@far.fr", "paul@far.fr", "hidden@ours.fr", "zoe@ours.fr", "1850675@patient.fr"):
        await stage.wrote(address)
    await stage.wrote("lea@far.fr", sent=0)  # only received from
    book = await stage.books.colleagues(stage.account)
    assert list(book.cards) == ["zoe@ours.fr", "paul@far.fr", "anne@far.fr", "claire@ours.fr"] and not book.cut
    assert "FN:Jean PAUL" in book.cards["paul@far.fr"].vcard() and "FN:zoe" in book.cards["zoe@ours.fr"].vcard()
    assert list(await stage.books.several(["hidden@ours.fr", "zoe@ours.fr", "1850675@patient.fr", "x", "lea@far.fr"])) == ["zoe@ours.fr", "lea@far.fr"]


async def test_an_account_without_mailbox_or_of_citizens_sees_no_colleagues(stage: Stage) -> None:
    stage.account = Account(2, "x", "", True)
    assert await stage.shown() == []
    stage.account = Account(3, "y", "", True, (await stage.box("1@patient.fr"),))
    await stage.box("2@patient.fr")
    assert await stage.shown() == []


async def test_what_closes_or_hides_leaves_the_book_and_the_state_tells(stage: Stage) -> None:
    ids = [await stage.box(f"{name}@ours.fr") for name in ("bea", "zoe")]
    before = await stage.books.colleagues(stage.account)
    assert (await stage.books.colleagues(stage.account)) is before, "made once"
    await stage.stores.database.write(lambda tx: stage.stores.accounts.set_mailbox_state(tx, "zoe@ours.fr", MailboxState.CLOSED))
    await stage.stores.database.write(lambda tx: stage.stores.life.put_profiles(tx, [Profile(ids[0], red_list=True)], stage.clock.now()))
    await stage.box("new@ours.fr")
    stage.later()
    after = await stage.books.colleagues(stage.account)
    assert list(after.cards) == ["claire@ours.fr", "new@ours.fr"]
    changes = stage.books.changes(stage.account, after, before.token)
    assert changes is not None and [one.address for one in changes.cards] == ["new@ours.fr"] and set(changes.gone) == {"bea@ours.fr", "zoe@ours.fr"}
    same = stage.books.changes(stage.account, after, after.token)
    assert same is not None and not same.cards and not same.gone
    first = stage.books.changes(stage.account, after, "")
    assert first is not None and len(first.cards) == 2 and not first.gone
    assert stage.books.changes(stage.account, after, "urn:mssante:carddav:unknown") is None
    other = Account(9, "z", "", True, (99,))
    assert stage.books.changes(other, after, before.token) is None, "a state is of one mailbox"


async def test_states_are_the_same_after_a_restart_and_forgotten_when_too_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    book = await stage.books.colleagues(stage.account)
    again = AddressBooks(stage.books._desk, stage.stores, stage.clock, frozenset((OURS,)))
    fresh = await again.colleagues(stage.account)
    assert fresh.token == book.token and again.changes(stage.account, fresh, book.token) is not None
    monkeypatch.setattr(cardbooks, "REMEMBERED", 3)
    for rank in range(4):
        await stage.box(f"n{rank}@ours.fr")
        stage.later()
        latest = await stage.books.colleagues(stage.account)
    assert stage.books.changes(stage.account, latest, book.token) is None and stage.books._remembered <= 3
    assert stage.books._remembered == sum(len(one) + 1 for one in stage.books._states.values())


async def test_limits_of_the_book(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cardbooks, "COLLEAGUES", 4)
    monkeypatch.setattr(cardbooks, "WRITTEN", 2)
    monkeypatch.setattr(cardbooks, "PAGE", 3)
    for rank in range(5):
        await stage.box(f"b{rank}@ours.fr")
    for address in ("anne@far.fr", "paul@far.fr", "lea@far.fr"):
        await stage.wrote(address)
    book = await stage.books.colleagues(stage.account)
    assert list(book.cards) == ["lea@far.fr", "paul@far.fr", "b0@ours.fr", "b1@ours.fr"] and book.cut


async def test_a_mirror_that_cannot_be_read_is_no_empty_book(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(address: str) -> None:
        raise MssFault("mirror", rule="MIROIR-LECTURE")

    monkeypatch.setattr(stage.mirror, "find", broken)
    with pytest.raises(MssFault):
        await stage.books.colleagues(stage.account)
    monkeypatch.undo()
    assert await stage.shown() == ["claire@ours.fr"]


def fn(*texts: str) -> Query:
    return Query(Wanted(), conditions=(Condition("FN", texts=tuple(map(TextMatch, texts))),))


async def test_search(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.box("hidden@ours.fr", red=True)
    found = await stage.books.search(stage.account, fn("jean"))
    assert {one.address for one in found.cards} == {"anne@far.fr", "paul@far.fr", "lea@far.fr", "claire@ours.fr"} and not found.cut
    assert [one.address for one in (await stage.books.search(stage.account, fn("anne jean"))).cards] == ["anne@far.fr"]
    assert (await stage.books.search(stage.account, fn("zzz"))).cards == ()
    assert (await stage.books.search(stage.account, Query(Wanted(), conditions=(Condition("TEL", texts=(TextMatch("1"),)),)))).cards == ()
    limited = await stage.books.search(stage.account, Query(Wanted(), conditions=fn("jean").conditions, limit=1))
    assert len(limited.cards) == 1 and limited.cut
    for query in (Query(Wanted()), fn("@"), fn(""), fn("jean", " "), Query(Wanted(), conditions=(Condition("UID", texts=(TextMatch("urn"),)),)),
                  Query(Wanted(), conditions=(Condition("TEL", absent=True),))):
        with pytest.raises(DavFault) as caught:
            await stage.books.search(stage.account, query)
        assert caught.value.rule == "CARDDAV-FILTRE"
    monkeypatch.setattr(cardbooks, "CANDIDATES", 4)
    assert (await stage.books.search(stage.account, fn("jean"))).cut, "the mirror may have left some out"
