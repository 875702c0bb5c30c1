"""The desk tells presence apart and merges sources; the keeper looks, waits and keeps what is good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mssante.directory.extraction import COLUMNS
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Presence, Source
from mssante.errors import OperatorFault
from mssante.observability.metrics import DIRECTORY_ALARM
from mssante.services.directory import Desk, LocalBox
from mssante.services.directory_keeper import DirectoryKeeper, KeeperSettings, Offer, TooManyRequests
from mssante.services.directory_sources import SourceAnswer
from mssante.storage.mirror import ImportRequest
from mssante.storage.sql.mirror import SqliteMirror

NOW = datetime(2026, 9, 3, tzinfo=UTC)
STEM = "Extraction_Correspondance_MSSante_2026090{}0730.txt"


class Clock:
    def now(self) -> datetime:
        return NOW


def write(folder: Path, day: int, *names: str, end: str = "\n") -> Path:
    rows = ["|".join(["PER", f"{name}@x.mssante.fr", *[""] * 7, name.upper(), *[""] * (len(COLUMNS) - 10)]) for name in names]
    path = folder / STEM.format(day)
    path.write_text("\n".join(("|".join(COLUMNS), *rows)) + end)
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> SqliteMirror:
    found = SqliteMirror(tmp_path / "annuaire")
    for day, names in ((1, ("anne", "paul", "gone")), (2, ("anne", "paul", "hidden", "lea"))):
        path = write(tmp_path, day, *names)
        found.adopt(ImportRequest(path, path.name, NOW))
    return found


class Local:
    boxes: Mapping[str, LocalBox] = {
        "open@ours.fr": LocalBox(DirectoryEntry("open@ours.fr", "PER", source=Source.LOCAL)),
        "red@ours.fr": LocalBox(DirectoryEntry("red@ours.fr", "PER"), red_listed=True),
        "shut@ours.fr": LocalBox(DirectoryEntry("shut@ours.fr", "PER"), open=False, closed_at=NOW)}

    def covers(self, domain: str) -> bool:
        return domain == "ours.fr"

    async def box(self, address: str) -> LocalBox | None:
        return self.boxes.get(address)

    async def several(self, addresses: Sequence[str]) -> Mapping[str, LocalBox]:
        return {one: self.boxes[one] for one in addresses if one in self.boxes}

    async def exchanges(self, mailbox_id: int) -> Mapping[str, float]:
        return {"paul@x.mssante.fr": 2.0}

    async def closed(self, address: str) -> tuple[datetime, str] | None:
        return (NOW - timedelta(days=9), "bounce") if address.startswith(("gone", "bounced")) else None


class Remote:
    def __init__(self, *answers: SourceAnswer) -> None:
        self.told = answers
        self.asked: list[str] = []

    async def answers(self, address: str, *, renew: bool = False) -> tuple[SourceAnswer, ...]:
        self.asked.append(address)
        return self.told


async def test_presences_are_told_apart(mirror: SqliteMirror, tmp_path: Path) -> None:
    desk = Desk(mirror, Clock(), None, local=Local())
    expected = {"Anne@x.mssante.fr": Presence.PUBLISHED, "nobody@x.mssante.fr": Presence.ABSENT, "open@ours.fr": Presence.PUBLISHED,
                "red@ours.fr": Presence.RED_LISTED, "shut@ours.fr": Presence.CLOSED, "no@ours.fr": Presence.ABSENT,
                "gone@x.mssante.fr": Presence.CLOSED, "bounced@x.mssante.fr": Presence.CLOSED}
    assert {one: (await desk.find(one)).presence for one in expected} == expected
    gone = await desk.find("gone@x.mssante.fr")
    assert (gone.closed_at, gone.closed_by) == (NOW - timedelta(days=9), "bounce")
    gone = await Desk(mirror, Clock(), None).find("gone@x.mssante.fr")
    assert (gone.closed_at, gone.closed_by) == (datetime(2026, 9, 2, 7, 30, tzinfo=UTC), "directory")
    assert (await desk.find("pual@x.mssante.fr")).near == ("paul@x.mssante.fr",)
    assert (await Desk(mirror, Clock(), None, oldest=timedelta(hours=1)).find("no@x.mssante.fr")).presence is Presence.UNKNOWN
    assert (await Desk(SqliteMirror(tmp_path / "none"), Clock(), None).find("a@x.mssante.fr")).presence is Presence.UNKNOWN


async def test_remote_sources_fill_what_the_mirror_lacks(mirror: SqliteMirror) -> None:
    entry = DirectoryEntry("app@x.mssante.fr", "APP", source=Source.FHIR)
    remote = Remote(SourceAnswer(Source.FHIR, (entry,), at=NOW, fresh=True))
    desk = Desk(mirror, Clock(), None, remote=remote)
    found = await desk.find("app@x.mssante.fr", ask=True)
    assert (found.presence, found.entries, found.as_of, found.sources) == (Presence.PUBLISHED, (entry,), NOW, (Source.FHIR,))
    assert (await desk.find("app@x.mssante.fr")).presence is Presence.ABSENT
    await desk.find("anne@x.mssante.fr", ask=True)
    assert remote.asked == ["app@x.mssante.fr"]
    red = DirectoryEntry("red@x.mssante.fr", "PER", red_listed=True)
    found = await Desk(mirror, Clock(), None, remote=Remote(SourceAnswer(Source.FHIR, (red,), at=NOW))).find(red.address, ask=True)
    assert (found.presence, found.entries) == (Presence.RED_LISTED, ())


async def test_nothing_is_told_of_a_citizen_whoever_asks(tmp_path: Path) -> None:
    """Neither by the base, nor by the mirror, nor by a remote source, which is not even asked; a box and no box answer alike."""
    mirror = SqliteMirror(tmp_path / "annuaire")
    path = write(tmp_path, 1, "279035121518989", "anne")
    path.write_text(path.read_text().replace("279035121518989@x.mssante.fr", "279035121518989@citizens.fr"))
    mirror.adopt(ImportRequest(path, path.name, NOW))
    held = "279035121518989@citizens.fr"
    local = Local()
    local.boxes = {held: LocalBox(DirectoryEntry(held, "PER", source=Source.LOCAL))}
    local.covers = lambda domain: domain == "citizens.fr"  # type: ignore[method-assign]
    remote = Remote(SourceAnswer(Source.FHIR, (DirectoryEntry(held, "PER", source=Source.FHIR),), at=NOW, fresh=True))
    desk = Desk(mirror, Clock(), None, local=local, remote=remote, citizens="Citizens.fr")
    for asked in (held, held.upper(), f" {held} ", f"{held}.", "162018885045327@citizens.fr"):
        for found in (await desk.find(asked, ask=True), await desk.shown(asked)):
            assert (found.presence, found.entries, found.near, found.sources) == (Presence.UNKNOWN, (), (), ())
    assert [one.address for one in await desk.search(DirectoryQuery("279035121518989"))] == []
    assert [one.address for one in await desk.search(DirectoryQuery("anne"))] == ["anne@x.mssante.fr"]
    assert set(await desk.published([held, "anne@x.mssante.fr"])) == {"anne@x.mssante.fr"}
    assert remote.asked == []


async def test_search_knows_the_asker_and_survives_a_bad_file(mirror: SqliteMirror, tmp_path: Path) -> None:
    desk = Desk(mirror, Clock(), None, local=Local())
    assert next(iter(await desk.search(DirectoryQuery("x", mailbox_id=1)))).family_name == "PAUL"
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "mirror.db").write_bytes(b"x" * 9000)
    bad = Desk(SqliteMirror(tmp_path / "bad"), Clock(), None)
    assert await bad.search(DirectoryQuery("x")) == [] and (await bad.find("a@b.fr")).presence is Presence.UNKNOWN


@dataclass
class Origin:
    path: Path
    fault: OperatorFault | None = None
    fetched: int = 0

    async def look(self, known: Offer | None) -> Offer:
        if self.fault:
            raise self.fault
        return Offer(self.path.name)

    async def fetch(self, target: Path) -> Offer:
        self.fetched += 1
        target.write_bytes(self.path.read_bytes())
        return Offer(self.path.name, path=target)


async def test_the_keeper_takes_what_is_new_and_keeps_what_is_good(mirror: SqliteMirror, tmp_path: Path) -> None:
    told: list[Any] = []
    evidence = SimpleNamespace(write=told.append, event=lambda kind, subject, payload: (kind.value, payload))
    origin = Origin(tmp_path / STEM.format(2))
    keeper = DirectoryKeeper(mirror, origin, evidence, Clock(), None, KeeperSettings(tmp_path / "annuaire", 3600, timedelta(days=9)))  # type: ignore[arg-type]
    assert await keeper.refresh() is None and origin.fetched == 0 and keeper.pause() == 3600
    origin.path = write(tmp_path, 3, "anne", "paul", "lea", end="")
    assert await keeper.refresh() is None and await keeper.refresh() is None and origin.fetched == 1
    assert DIRECTORY_ALARM._value.get() == 1
    assert [kind for kind, _ in told] == ["directory_refused"] and mirror.find("hidden@x.mssante.fr").entries
    origin.path = write(tmp_path, 3, "anne", "paul", "hidden", "new")
    origin.path = origin.path.rename(tmp_path / "Extraction_Correspondance_MSSante_202609030731.txt")
    adopted = await keeper.refresh()
    assert adopted is not None and (adopted.added, adopted.removed) == (1, 1) and told[-1][0] == "directory_adopted"
    assert not (tmp_path / "annuaire" / "download.part").exists() and DIRECTORY_ALARM._value.get() == 0
    origin.fault = TooManyRequests(500, 429)
    await keeper.refresh()
    assert keeper.pause() == 500
    await keeper.refresh()
    assert keeper.pause() == 1000 and [kind for kind, _ in told].count("directory_refused") == 2
    origin.fault = None
    await keeper.refresh()
    assert keeper.pause() == 3600
