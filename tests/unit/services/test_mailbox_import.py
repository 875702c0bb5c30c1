"""Bulk import of mailboxes: plans, errors by line, application again after a stop, encodings, formulas."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.clock import FakeClock

from mssante.errors import InputFault
from mssante.lab.plan import fictitious_finess, luhn_digit
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.model.mailbox_rules import LifePolicy
from mssante.services.life import LifeDesk, LifeSettings
from mssante.services.mailbox_csv import MAX_LINES, MAX_OCTETS, Sheet, read_sheet, write_rows
from mssante.services.mailbox_import import BATCH, ImportPlan, MailboxImport
from mssante.storage.interfaces import NewMailbox
from mssante.storage.open import open_stores

HOSTED = frozenset(("a.mssante.fr",))
RPPS = "9970000007" + luhn_digit("9970000007")
FINESS = fictitious_finess(1)


def sheet(text: str) -> Sheet:
    return read_sheet(text.encode(), HOSTED, cab=False)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[LifeDesk]:
    stores = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs")
    yield LifeDesk(stores, FakeClock(), LifeSettings(LifePolicy(), HOSTED))
    stores.close()


async def people(desk: LifeDesk, *logins: str) -> None:
    await desk.stores.database.write(lambda tx: desk.stores.accounts.create_accounts(tx, [(login, "x", ()) for login in logins]))


async def plan(desk: LifeDesk, text: str) -> ImportPlan:
    return await MailboxImport(desk).plan(sheet(text))


async def exported(desk: LifeDesk) -> str:
    return "".join([text async for text in MailboxImport(desk).export()])


ORG = ("address;type;holder;display_name;service;red_list;rank;quota;members;aliases;contact\n"
       f'cardio@a.mssante.fr;ORG;{FINESS};Cardio é;Cardiologie;non;1;2G;"lea@x.fr:open,send;bob@x.fr:read";coeur@a.mssante.fr;lea@a.mssante.fr\n'
       f"dr@a.mssante.fr;PER;8{RPPS};Dr A;;oui;;;;;\n")


async def test_one_line_sets_up_a_shared_box_and_a_second_apply_has_nothing_to_do(desk: LifeDesk) -> None:
    await people(desk, "lea@x.fr", "bob@x.fr")
    first = await plan(desk, ORG)
    assert first.counts() == {"create": 2, "update": 0, "unchanged": 0, "conflict": 0, "error": 0}
    done = await MailboxImport(desk).apply(first, actor="t", plan_hash=first.digest())
    assert done == {"create": 2, "update": 0, "conflict": 0}
    found, stores = await desk.show("cardio@a.mssante.fr"), desk.stores
    assert (found.mailbox.type, found.mailbox.holder_id, found.mailbox.quota_bytes) == (MailboxType.ORG, "1" + FINESS, 2 << 30)
    assert (found.profile.service, found.profile.rank, found.profile.contact) == ("Cardiologie", 1, "lea@a.mssante.fr")
    assert (await desk.show("dr@a.mssante.fr")).profile.red_list
    team = await stores.database.read(lambda tx: stores.delegations.of_mailboxes(tx, [found.mailbox.id]))
    assert [(one.login, sorted(one.rights)) for one in team] == [("bob@x.fr", ["read"]), ("lea@x.fr", ["open", "send"])]
    again = await plan(desk, ORG)
    assert again.counts()["unchanged"] == 2 and await MailboxImport(desk).apply(again, actor="t") == {"create": 0, "update": 0, "conflict": 0}
    assert (await plan(desk, (await exported(desk))[1:])).counts()["unchanged"] == 2, "what is exported is what is there"


async def test_updates_tell_what_changes_and_empty_cells_change_nothing(desk: LifeDesk) -> None:
    await people(desk, "lea@x.fr", "bob@x.fr")
    await MailboxImport(desk).apply(await plan(desk, ORG), actor="t")
    text = "address,display_name,service,state,quota\ncardio@a.mssante.fr,,-,suspended,0\ndr@a.mssante.fr,Dr B,,,\n"
    found = await plan(desk, text)
    assert [one.changes for one in found.planned] == [
        ("service: Cardiologie -> ", "state: active -> suspended", f"quota: {2 << 30} -> 0"), ("display_name: Dr A -> Dr B",)]
    assert (await MailboxImport(desk).apply(found, actor="t"))["update"] == 2
    after = await desk.show("cardio@a.mssante.fr")
    assert (after.mailbox.state, after.life.reason, after.profile.service) == (MailboxState.SUSPENDED, "import", "")


@pytest.mark.parametrize(("line", "rule"), [
    ("x;PER;" + RPPS, "BAL-ADRESSE"), ("x@else.fr;PER;" + RPPS, "BAL-DOMAINE"), ("x@a.mssante.fr;ZZZ;" + RPPS, "IMPORT-CSV"),
    ("x@a.mssante.fr;CAB;" + RPPS, "BAL-CAB"), ("x@a.mssante.fr;PER;" + FINESS, "TITULAIRE-TYPE"), ("x@a.mssante.fr;PER;123", "TITULAIRE-FORME"),
    ("x@a.mssante.fr;PER;", "TITULAIRE-MANQUE"), ("x@a.mssante.fr;;" + RPPS, "TITULAIRE-MANQUE"), ("x@a.mssante.fr;PER", "IMPORT-CSV"),
    ("ok@a.mssante.fr;PER;" + RPPS, "IMPORT-DOUBLE"), ("old@a.mssante.fr;ORG;" + FINESS, "BAL-TYPE"), ("gone@a.mssante.fr;PER;" + RPPS, "BAL-RESERVEE")])
async def test_a_wrong_line_is_named_and_nothing_is_done(desk: LifeDesk, line: str, rule: str) -> None:
    news = [NewMailbox(f"{name}@a.mssante.fr", MailboxType.PER, desk.clock.now()) for name in ("old", "gone")]
    stores = desk.stores
    await stores.database.write(lambda tx: stores.accounts.create_mailboxes(tx, news))
    await stores.database.write(partial(stores.accounts.set_mailbox_state, address="gone@a.mssante.fr", state=MailboxState.PURGED))
    found = await plan(desk, f"address;type;holder\nok@a.mssante.fr;PER;{RPPS}\n{line}\n")
    assert [(one.row, one.rule) for one in found.wrong] == [(3, rule)] and found.wrong[0].remedy
    with pytest.raises(InputFault) as caught:
        await MailboxImport(desk).apply(found, actor="t")
    assert caught.value.rule == "IMPORT-FAUTES"
    assert (await plan(desk, f"address;type;holder\nok@a.mssante.fr;PER;{RPPS}\n")).counts()["create"] == 1
    assert (await MailboxImport(desk).apply(found, actor="t", partial_=True))["create"] == 1


@pytest.mark.parametrize(("cells", "rule"), [
    ({"members": "nobody@x.fr"}, "COMPTE-INCONNU"), ({"aliases": "taken@a.mssante.fr"}, "ALIAS-PRIS"), ({"state": "closed"}, "BAL-TRANSITION"),
    ({"type": "APP", "members": "lea@x.fr"}, "BAL-APP-HUMAIN"), ({"rank": "100"}, "IMPORT-CSV"), ({"quota": "much"}, "QUOTA-TAILLE"),
    ({"contact": "nowhere"}, "BAL-CONTACT"), ({"red_list": "maybe"}, "IMPORT-CSV"), ({"state": "purged"}, "IMPORT-CSV"),
    ({"members": "lea@x.fr:fly"}, "DELEGATION-DROITS"), ({"display_name": '"a\nb"'}, "BAL-CHAMP"), ({"structure": RPPS}, "TITULAIRE-TYPE"),
    ({"service": "s" * 256}, "BAL-CHAMP"), ({"aliases": " ".join(f"l{n}@a.mssante.fr" for n in range(51))}, "IMPORT-CSV")])
async def test_wrong_cells(desk: LifeDesk, cells: dict[str, str], rule: str) -> None:
    await people(desk, "lea@x.fr")
    news = [NewMailbox("taken@a.mssante.fr", MailboxType.PER, desk.clock.now())]
    await desk.stores.database.write(lambda tx: desk.stores.accounts.create_mailboxes(tx, news))
    row = {"address": "x@a.mssante.fr", "type": "ORG", "holder": FINESS, **cells}
    found = await plan(desk, ",".join(row) + "\n" + ",".join(value if value[:1] == '"' or "," not in value else f'"{value}"' for value in row.values()) + "\n")
    assert [one.rule for one in found.wrong] == [rule]


async def test_an_apply_that_was_killed_goes_on(desk: LifeDesk) -> None:
    count = 2 * BATCH + 5
    text = "address,type,holder\n" + "".join(f"b{rank}@a.mssante.fr,PER,{RPPS}\n" for rank in range(count))
    first = await plan(desk, text)

    def killed(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await MailboxImport(desk).apply(first, actor="t", told=killed)
    left = await plan(desk, text)
    assert (left.counts()["unchanged"], left.counts()["create"]) == (BATCH, count - BATCH)
    seen: list[tuple[int, int]] = []
    await MailboxImport(desk).apply(left, actor="t", told=lambda done, of: seen.append((done, of)))
    assert seen == [(BATCH, count - BATCH), (count - BATCH, count - BATCH)] and (await plan(desk, text)).counts()["unchanged"] == count


async def test_a_plan_that_is_old_is_refused_and_a_line_taken_meanwhile_harms_no_other(desk: LifeDesk) -> None:
    text = "address,type,holder\n" + "".join(f"b{rank}@a.mssante.fr,PER,{RPPS}\n" for rank in range(3))
    old = await plan(desk, text)
    news = [NewMailbox("b1@a.mssante.fr", MailboxType.ORG, desk.clock.now())]
    await desk.stores.database.write(lambda tx: desk.stores.accounts.create_mailboxes(tx, news))
    with pytest.raises(InputFault) as caught:
        await MailboxImport(desk).apply(await plan(desk, text), actor="t", plan_hash=old.digest(), partial_=True)
    assert caught.value.rule == "IMPORT-PLAN"
    assert await MailboxImport(desk).apply(old, actor="t") == {"create": 2, "update": 0, "conflict": 1}


def test_encodings() -> None:
    text = f"address;type;holder;display_name\r\nx@a.mssante.fr;PER;{RPPS};Élise\r\n"
    for raw, notice in ((text.encode("utf-8-sig"), False), (text.encode(), False), (text.encode("cp1252"), True), (("sep=;\r\n" + text).encode(), False)):
        found = read_sheet(raw, HOSTED, cab=False)
        assert found.lines[0].edit.display_name == "Élise" and bool(found.notice) is notice
    for raw in (text.encode("utf-16"), b"\x81\x8d\xff", b"", b"address\n", b"type\nPER\n", b"address;nope\n", b'address\n"x', b"x" * (MAX_OCTETS + 1),
                b"address\n" + b"x\n" * (MAX_LINES + 1)):
        with pytest.raises(InputFault) as caught:
            read_sheet(raw, HOSTED, cab=False)
        assert caught.value.rule == "IMPORT-CSV" and caught.value.remedy


@pytest.mark.parametrize("text", ["=1+1", "+33", "-x", "@SUM(A1)", "\t=x"])
def test_no_cell_is_a_formula(text: str) -> None:
    written = write_rows([[text, "plain"]], head=False)
    assert written.lstrip('"').startswith("'") and ";plain" in written
    if text.strip() == text:
        line = sheet(f"address;display_name\nx@a.mssante.fr;'{text}\n").lines[0]
        assert line.edit.display_name == text


async def test_an_apply_that_was_killed_makes_the_logins_that_are_left(desk: LifeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.services.mailbox_import.BATCH", 2)
    rows = "".join(f"p{number}@a.mssante.fr,PER,{RPPS},p{number},\n" for number in range(4))
    text = f"address,type,holder,login,members\nurgences@a.mssante.fr,ORG,{FINESS},,p0;p3\n{rows}"
    first = await plan(desk, text)
    assert first.logins == ["p0", "p1", "p2", "p3"]
    with pytest.raises(InputFault, match="mots de passe") as missing:
        await MailboxImport(desk).apply(first, actor="t")
    assert missing.value.rule == "IMPORT-MOTS-DE-PASSE"
    first.passwords = dict.fromkeys(first.logins, "un secret bien long")

    def killed(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await MailboxImport(desk).apply(first, actor="t", told=killed)
    again = await plan(desk, text)
    assert again.logins == ["p2", "p3"] and again.counts()["create"] == 3
    again.passwords = dict.fromkeys(again.logins, "un autre secret bien long")
    assert await MailboxImport(desk).apply(again, actor="t") == {"create": 3, "update": 0, "conflict": 0}
    stores = desk.stores
    team = await stores.database.read(lambda tx: stores.delegations.of_mailboxes(
        tx, [box.id for box in stores.accounts.mailboxes_by_address(tx, ["urgences@a.mssante.fr"])]))
    assert [one.login for one in team] == ["p0", "p3"]
    assert (await plan(desk, text)).counts()["unchanged"] == 5


async def test_a_login_in_a_line_that_cannot_be_done_leaves_the_others(desk: LifeDesk) -> None:
    text = f"address,type,holder,login\nzoe@a.mssante.fr,PER,{RPPS},zoe\nanne@a.mssante.fr,PER,{RPPS},anne\n"
    shown = await plan(desk, text)
    shown.passwords = dict.fromkeys(shown.logins, "un secret bien long")
    await people(desk, "zoe")  # taken meanwhile
    assert await MailboxImport(desk).apply(shown, actor="t") == {"create": 1, "update": 0, "conflict": 1}
    stores = desk.stores
    assert [box.address for box in await stores.database.read(lambda tx: stores.accounts.list_mailboxes(tx))] == ["anne@a.mssante.fr"]
