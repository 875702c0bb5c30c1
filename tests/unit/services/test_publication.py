"""Publication against a directory that really applies patches: the lab's write side over HTTP, with faults switched on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.clock import FakeClock

from mssante.directory.patch import PatchRefused, contact_point
from mssante.directory.publication import BoxFacts, PublicationPolicy, wanted_box
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence, Source
from mssante.errors import InputFault
from mssante.lab import annuaire_write
from mssante.lab.annuaire import operation_outcome
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.services.publication import PublicationSettings, Publisher
from mssante.services.publication_view import Difference, PublicationDesk, delay
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.open import open_stores
from mssante.storage.publication import PublicationRow, PublicationState
from mssante.transport.annuaire_file import FileDriver
from mssante.transport.annuaire_patch import FhirPatchDriver, PatchTarget

DOMAIN = "alpha.mssante.test"
PERSON, STRUCTURE = "899700000011", "1990000013"
TYPES = {"PER": PERSON, "ORG": STRUCTURE, "APP": STRUCTURE}


@dataclass
class Directory:
    """The lab's write side on a socket. faults: statuses answered first; lost: answers cut after the change was made."""

    resources: dict[str, list[dict[str, Any]]]
    faults: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    lost: int = 0
    lies: bool = False
    bodies: list[Any] = field(default_factory=list)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if self.faults:
            status, headers = self.faults.pop(0)
            return web.json_response({}, status=status, headers=headers)
        if self.lies:
            return web.json_response({"resourceType": request.match_info["kind"], "telecom": []})
        asked = annuaire_write.PatchRequest(request.match_info["kind"], request.headers.get("ESANTE-API-KEY", ""), "",
                                            request.query["identifier"])
        try:
            changed = annuaire_write.patch(self.resources, asked, body)
        except PatchRefused as fault:
            return web.json_response(operation_outcome(fault.code, fault.public), status=fault.status)
        if self.lost:
            self.lost -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(changed, content_type="application/fhir+json")

    def entries(self) -> dict[str, dict[str, Any]]:
        return {one["value"]: one for listed in self.resources.values() for resource in listed for one in resource["telecom"]}


class Desk:
    """Shows what the directory publishes, as a mirror does."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.down = False

    async def shown(self, address: str) -> Finding:
        if self.down:
            return Finding(address, Presence.UNKNOWN)
        shown = [one for listed in self._directory.resources.values() for resource in listed
                 for one in annuaire_write.public_view(resource)["telecom"] if one["value"] == address]
        kind = "PER" if address.startswith("per") else "APP" if address.startswith("app") else "ORG"
        entries = tuple(DirectoryEntry(address, kind, PERSON if kind == "PER" else "", "" if kind == "PER" else STRUCTURE,
                                       service=self._texts(one).get("service", ""), source=Source.FHIR,
                                       description=self._texts(one).get("description", ""), rank=one.get("rank", 0)) for one in shown)
        return Finding(address, Presence.PUBLISHED if entries else Presence.ABSENT, entries)

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        raise AssertionError("what we know ourselves proves nothing")

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        return ()

    @staticmethod
    def _texts(entry: dict[str, Any]) -> dict[str, str]:
        return {child["url"]: child.get("valueString", "") for child in entry["extension"][1]["extension"]}


@dataclass
class Stage:
    """A publisher, its stores and its directory."""

    stores: Stores
    clock: FakeClock
    directory: Directory
    publisher: Publisher
    facts: dict[str, BoxFacts]
    desk: Desk
    view: PublicationDesk

    async def add(self, *names: str, state: MailboxState = MailboxState.ACTIVE, holder: str | None = None) -> None:
        news = [NewMailbox(f"{name}@{DOMAIN}", MailboxType(name[:3].upper()), self.clock.now(), state,
                           TYPES[name[:3].upper()] if holder is None else holder, name) for name in names]
        await self.stores.database.write(lambda tx: self.stores.accounts.create_mailboxes(tx, news))

    async def set(self, name: str, state: MailboxState) -> None:
        await self.stores.database.write(lambda tx: self.stores.accounts.set_mailbox_state(tx, f"{name}@{DOMAIN}", state))

    async def round(self) -> dict[str, PublicationRow]:
        await self.publisher.sweep()
        await self.publisher.send_due()
        return await self.rows()

    async def rows(self) -> dict[str, PublicationRow]:
        return {row.address.partition("@")[0]: row for row in await self.view.rows()}

    async def journal(self) -> list[tuple[str, str]]:
        rows = await self.stores.database.read(lambda tx: self.stores.journal.recent(tx, kind="publication", limit=1000))
        return [(row.subject.partition("@")[0], f"{row.payload['action']} {row.payload['state']}")
                for row in reversed(rows)]


def resources() -> dict[str, list[dict[str, Any]]]:
    return {"Practitioner": [{"resourceType": "Practitioner", "id": "p1", "telecom": [],
                              "identifier": [{"system": "urn:oid:1.2.250.1.71.4.2.1", "value": PERSON}]}],
            "Organization": [{"resourceType": "Organization", "id": "o1", "telecom": [],
                              "identifier": [{"system": "urn:oid:1.2.250.1.71.4.2.2", "value": STRUCTURE}]}]}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    directory = Directory(resources())
    application = web.Application()
    application.router.add_patch("/{kind}", directory.patch)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    key = tmp_path / "key"
    key.write_text("lab-annuaire-alpha\n")
    driver = FhirPatchDriver(PatchTarget(f"http://127.0.0.1:{runner.addresses[0][1]}/", tmp_path / "anchors.pem", key))
    stores, clock, facts, desk = open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs"), FakeClock(), {}, Desk(directory)

    def read(tx: Any, boxes: Sequence[Mailbox]) -> Mapping[int, BoxFacts]:
        return {box.id: facts[box.address.partition("@")[0]] for box in boxes if box.address.partition("@")[0] in facts}

    settings = PublicationSettings(PublicationPolicy(), frozenset({DOMAIN}), per_second=0)
    yield Stage(stores, clock, directory, Publisher(stores, clock, settings, facts=read, driver=driver, desk=desk), facts, desk,
                PublicationDesk(stores, clock))
    await driver.close()
    await runner.cleanup()
    stores.close()


async def test_a_life_in_the_directory(stage: Stage) -> None:
    await stage.add("per1", "org1", "app1")
    stage.facts.update(per1=BoxFacts(rank=1), org1=BoxFacts("CARDIOLOGIE", "Secrétariat", red_listed=False))
    rows = await stage.round()
    assert {row.state for row in rows.values()} == {PublicationState.ACCEPTED} and rows["org1"].version == "2"
    assert stage.directory.entries().keys() == {f"{name}@{DOMAIN}" for name in rows}
    assert len(stage.directory.bodies) == 2  # the two entries of the structure went together
    stage.clock.advance(timedelta(seconds=90))
    assert (await stage.publisher.look())[0] == 3
    assert {delay(row) for row in (await stage.rows()).values()} == {timedelta(seconds=90)}
    stage.facts["org1"] = BoxFacts("URGENCES", "Secrétariat")
    await stage.set("per1", MailboxState.SUSPENDED)
    await stage.set("app1", MailboxState.CLOSED)
    rows = await stage.round()
    assert {name: row.state.value for name, row in rows.items()} == {"app1": "withdrawn", "org1": "accepted", "per1": "accepted"}
    shown = stage.directory.entries()
    assert shown.keys() == {f"per1@{DOMAIN}", f"org1@{DOMAIN}"} and annuaire_write._red_listed(shown[f"per1@{DOMAIN}"])
    assert stage.desk._texts(shown[f"org1@{DOMAIN}"])["service"] == "URGENCES"
    await stage.publisher.look()
    seen = {name: row.visible_at is not None for name, row in (await stage.rows()).items()}
    assert seen == {"app1": True, "org1": True, "per1": False}  # nobody sees a red-listed one
    assert await stage.publisher.sweep() == 0
    assert await stage.journal() == [
        ("app1", "publish accepted"), ("org1", "publish accepted"), ("per1", "publish accepted"),
        ("app1", "withdraw withdrawn"), ("org1", "change accepted"), ("per1", "change accepted")]


async def test_two_ranks_of_one_holder_change_in_one_request(stage: Stage) -> None:
    await stage.add("per1", "per2")
    stage.facts.update(per1=BoxFacts(rank=1), per2=BoxFacts(rank=2))
    await stage.round()
    stage.facts.update(per1=BoxFacts(rank=2), per2=BoxFacts(rank=1))
    await stage.round()
    assert len(stage.directory.bodies) == 2 and len(stage.directory.bodies[1]["parameter"]) == 2
    assert {name[:4]: one["rank"] for name, one in stage.directory.entries().items()} == {"per1": 2, "per2": 1}


@pytest.mark.parametrize(("faults", "rule", "wait"), [
    ([(500, {})], "PUB-500", 60), ([(429, {"Retry-After": "600"})], "PUB-429", 600), ([(401, {})], "PUB-401", 60),
    ([(503, {"Retry-After": "soon"})], "PUB-503", 60), ([(200, {}), ], "", 0)])
async def test_trouble_is_tried_again(stage: Stage, faults: list[tuple[int, dict[str, str]]], rule: str, wait: int) -> None:
    await stage.add("org1")
    stage.directory.faults = faults
    row = (await stage.round())["org1"]
    if not rule:  # a bare 200 is an acceptance
        assert row.state is PublicationState.ACCEPTED
        return
    assert (row.state, row.last_error, row.attempts) == (PublicationState.DUE, rule, 1)
    assert row.next_attempt_at == stage.clock.now() + timedelta(seconds=wait)
    stage.clock.advance(timedelta(seconds=wait - 1))
    await stage.publisher.send_due()
    assert len(stage.directory.bodies) == 1
    stage.clock.advance(timedelta(seconds=1))
    await stage.publisher.send_due()
    assert (await stage.rows())["org1"].state is PublicationState.ACCEPTED
    assert await stage.journal() == [("org1", "publish accepted")]


async def test_delays_double_up_to_the_longest(stage: Stage) -> None:
    await stage.add("org1")
    stage.directory.faults = [(500, {})] * 12
    await stage.publisher.sweep()
    waits = []
    for _ in range(12):
        await stage.publisher.send_due()
        row = (await stage.rows())["org1"]
        waits.append((row.next_attempt_at - stage.clock.now()).total_seconds())
        stage.clock.advance(timedelta(seconds=waits[-1]))
    assert waits == [60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600, 21600]


@pytest.mark.parametrize("moment", ["insert", "change", "delete"])
async def test_an_answer_that_was_lost_is_no_second_change(stage: Stage, moment: str) -> None:
    await stage.add("org1")
    if moment != "insert":
        await stage.round()
        stage.facts["org1"] = BoxFacts("URGENCES")
        if moment == "delete":
            await stage.set("org1", MailboxState.CLOSED)
    stage.directory.lost = 1
    row = (await stage.round())["org1"]
    assert (row.state, row.last_error.partition(":")[0]) == (PublicationState.DUE, "PUB-INJOIGNABLE")
    stage.clock.advance(timedelta(seconds=60))
    row = (await stage.round())["org1"]
    assert row.state is (PublicationState.WITHDRAWN if moment == "delete" else PublicationState.ACCEPTED)
    assert list(stage.directory.entries()) == ([] if moment == "delete" else [f"org1@{DOMAIN}"])


async def test_an_entry_that_stands_there_is_adopted_or_written(stage: Stage) -> None:
    """One equals what we want (nothing is written, what we do not know stays), one does not."""
    await stage.add("org1", "org2")
    for name, text in (("org1", "org1"), ("org2", "Ancien nom")):
        box = Mailbox(1, f"{name}@{DOMAIN}", MailboxType.ORG, MailboxState.ACTIVE, 1, 0, STRUCTURE, text)
        wanted = wanted_box(box, BoxFacts(), PublicationPolicy())
        assert wanted is not None
        stage.directory.resources["Organization"][0]["telecom"].append(contact_point(wanted) | {"period": {"start": "2020"}})
    rows = await stage.round()
    assert {row.state for row in rows.values()} == {PublicationState.ACCEPTED}
    entries = stage.directory.entries()
    assert "period" in entries[f"org1@{DOMAIN}"] and stage.desk._texts(entries[f"org2@{DOMAIN}"])["description"] == "org2"


async def test_one_bad_entry_never_holds_its_neighbours(stage: Stage) -> None:
    await stage.add("org1", "org2")
    wanted = wanted_box(Mailbox(1, f"org2@{DOMAIN}", MailboxType.APP, MailboxState.ACTIVE, 1, 0, STRUCTURE, "x"), BoxFacts(),
                        PublicationPolicy())
    assert wanted is not None
    stage.directory.resources["Organization"][0]["telecom"].append(contact_point(wanted))  # of another type: cannot be changed
    rows = await stage.round()
    assert {name: row.state.value for name, row in rows.items()} == {"org1": "accepted", "org2": "held"}
    assert rows["org2"].last_error.startswith("PUB-400")
    assert ("org2", "publish held") in await stage.journal()


@pytest.mark.parametrize(("holder", "rule"), [("899700000029", "PUB-404"), ("", "PUB-TITULAIRE")])
async def test_an_unknown_holder_waits_for_a_human(stage: Stage, holder: str, rule: str) -> None:
    await stage.add("per1", holder=holder)
    row = (await stage.round())["per1"]
    assert row.state is PublicationState.HELD and row.last_error.startswith(rule)
    assert (await stage.round())["per1"] == row and await stage.publisher.send_due() == 0
    if holder:
        stage.directory.resources["Practitioner"][0]["identifier"][0]["value"] = holder
        assert await stage.view.retry(f"per1@{DOMAIN}") == 1
        assert (await stage.round())["per1"].state is PublicationState.ACCEPTED
    with pytest.raises(InputFault):
        await stage.view.retry("nobody@x.fr")


async def test_an_answer_that_contradicts_itself_is_not_believed(stage: Stage) -> None:
    await stage.add("org1")
    stage.directory.lies = True
    row = (await stage.round())["org1"]
    assert (row.state, row.last_error.partition(":")[0]) == (PublicationState.DUE, "PUB-REPONSE")


async def test_another_operator_s_entry_is_refused(stage: Stage) -> None:
    await stage.add("org1")
    await stage.round()
    stage.directory.resources["Organization"][0]["telecom"][0]["value"] = "org1@beta.mssante.test"
    with pytest.raises(PatchRefused) as caught:
        annuaire_write.patch(stage.directory.resources, annuaire_write.PatchRequest(
            "Organization", "lab-annuaire-alpha", "o1"), json.loads(json.dumps(stage.directory.bodies[0]).replace("org1@alpha", "o@beta")))
    assert caught.value.status == 403


async def test_a_wish_that_changes_under_way(stage: Stage) -> None:
    """The mailbox is closed while its insertion is on the wire: the next round withdraws it."""
    await stage.add("org1")
    await stage.publisher.sweep()
    original = stage.publisher._driver
    assert original is not None

    class Slow:
        async def send(self, change: Any) -> Any:
            answer = await original.send(change)
            await stage.set("org1", MailboxState.CLOSED)
            await stage.publisher.nudge([f"ORG1@{DOMAIN}"])
            return answer

    stage.publisher._driver = Slow()  # type: ignore[assignment]
    await stage.publisher.send_due()
    row = (await stage.rows())["org1"]
    assert row.state is PublicationState.DUE and row.sent and not row.wanted
    stage.publisher._driver = original
    await stage.publisher.send_due()
    assert (await stage.rows())["org1"].state is PublicationState.WITHDRAWN and not stage.directory.entries()


async def test_a_mailbox_that_is_no_more(stage: Stage) -> None:
    await stage.add("org1", "org2")
    await stage.round()
    rows = await stage.rows()
    await stage.stores.database.write(lambda tx: stage.stores.publication.put(tx, [
        replace(rows["org1"], address=f"org0@{DOMAIN}", wanted=rows["org1"].wanted.replace("org1", "org0"),
                sent=rows["org1"].sent.replace("org1", "org0"))]))
    row = (await stage.round())["org0"]
    assert row.state is PublicationState.WITHDRAWN  # it was not there either


async def test_reconciliation(stage: Stage) -> None:
    await stage.add("org1", "org2", "per1", "app1")
    stage.facts.update(org2=BoxFacts("CARDIO"), per1=BoxFacts(red_listed=True))
    await stage.round()
    await stage.set("app1", MailboxState.CLOSED)
    await stage.round()
    telecom = stage.directory.resources["Organization"][0]["telecom"]
    gone = next(one for one in telecom if one["value"].startswith("org1"))
    telecom.remove(gone)
    next(child for child in telecom[0]["extension"][1]["extension"] if child["url"] == "service")["valueString"] = "AUTRE"
    telecom.append(contact_point(wanted_box(Mailbox(  # type: ignore[arg-type]
        1, f"app1@{DOMAIN}", MailboxType.APP, MailboxState.ACTIVE, 1, 0, STRUCTURE, "x"), BoxFacts(), PublicationPolicy())))
    found = {one.row.address[:4]: one.differences async for one in stage.view.compare(stage.desk)}
    assert found == {"org1": (Difference.MISSING,), "org2": (Difference.SERVICE,), "per1": (), "app1": (Difference.STILL_THERE,)}
    async for one in stage.view.compare(stage.desk):
        if one.differences and one.row.address.startswith("org"):
            await stage.view.again(one)
    await stage.publisher.send_due()
    found = {one.row.address[:4]: one.differences async for one in stage.view.compare(stage.desk)}
    assert (found["org1"], found["org2"]) == ((), ())
    stage.desk.down = True
    assert {one.differences async for one in stage.view.compare(stage.desk)} == {(Difference.UNKNOWN,)}


async def test_no_driver_only_tells(stage: Stage) -> None:
    await stage.add("org1", "per1", state=MailboxState.PUBLISHED)
    stage.publisher._driver = None
    rows = await stage.round()
    assert {row.state for row in rows.values()} == {PublicationState.DUE} and await stage.publisher.take_receipts() == 0


async def test_files(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "exchange"
    stage.publisher._driver = FileDriver(folder, stage.clock)
    await stage.add("org1", "per1", "org2")
    rows = await stage.round()
    assert {row.state for row in rows.values()} == {PublicationState.SENT}
    files = sorted(folder.glob("*.json"))
    assert [sorted(one["address"][:4] for one in json.loads(file.read_text())["publish"]) for file in files] == [
        ["org1", "org2"], ["per1"]]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    files[0].with_suffix(".ok").write_text("")
    files[1].with_suffix(".ko").write_text("RPPS inconnu\nsecret")
    (folder / "publication-x.ok").write_text("")
    (folder / "publication-y.ko").write_text("")
    (folder / "publication-y.json").write_text("{}")
    assert await stage.publisher.take_receipts() == 3
    rows = await stage.rows()
    assert {name: row.state.value for name, row in rows.items()} == {"org1": "accepted", "org2": "accepted", "per1": "held"}
    assert rows["per1"].last_error == "PUB-RETOUR: RPPS inconnu"
    assert len(list((folder / "done").iterdir())) == 4 and await stage.publisher.take_receipts() == 0
    # an answer to a change that another one overtook changes nothing
    await stage.set("org1", MailboxState.SUSPENDED)
    await stage.round()
    late = next(folder.glob("publication-2*.json"))
    await stage.set("org1", MailboxState.CLOSED)
    await stage.round()
    late.with_suffix(".ok").write_text("")
    assert await stage.publisher.take_receipts() == 1
    assert (await stage.rows())["org1"].state is PublicationState.SENT


async def test_a_folder_that_cannot_be_written(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stage.publisher._driver = FileDriver(tmp_path / "file" / "x", stage.clock)
    await stage.add("org1")
    assert (await stage.round())["org1"].last_error.startswith("PUB-DOSSIER")
    assert await stage.publisher.take_receipts() == 0


async def test_the_task_goes_on_after_a_fault(stage: Stage) -> None:
    await stage.add("org1")
    calls = 0
    sweep = stage.publisher.sweep

    async def failing() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise InputFault("x", rule="X")
        return await sweep()

    stage.publisher.sweep = failing  # type: ignore[method-assign]
    task = asyncio.ensure_future(stage.publisher.run(sweep_seconds=0, tick_seconds=0.001))
    while not stage.directory.entries():
        await asyncio.sleep(0.01)
    task.cancel()
    assert calls > 1
