"""The life of the white list and of the CRLs, with a source that tests command, a clock by hand and real storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.pki import Row, build_igc, signed_whitelist, whitelist_xml

from mssante.errors import InputFault, MssFault, OperatorFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import REGISTRY
from mssante.services import trustkeeper
from mssante.services.evidence import Evidence
from mssante.services.privacy import Pseudonyms
from mssante.services.trustkeeper import CURRENT, KeeperSettings, TrustKeeper, write_atomically
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.decisions import ListPolicy
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
IGC = build_igc()
DN = "CN=mx.a.mssante.fr,OU=318751275100020,O=TEST,ST=Paris (75),C=FR"
ROWS: list[Row] = [(f"d{number}.mssante.fr", DN) for number in range(20)]
LIST_URL = "https://espace.example.invalid/list.xml"
CRL_URL = "http://igc.example.invalid/org.crl"


@dataclass(frozen=True, slots=True)
class Given:
    """What the fake source answers."""

    body: bytes | None
    etag: str = ""


@dataclass(slots=True)
class FakeFetcher:
    """Gives what was put; counts; remembers the validators it was asked with."""

    answers: dict[str, Given | MssFault] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def fetch(self, url: str, *, max_bytes: int, etag: str = "") -> Given:
        self.asked.append((url, etag))
        answer = self.answers.get(url, OperatorFault("source could not be reached", rule="HTTP-UNREACHABLE"))
        if isinstance(answer, MssFault):
            raise answer
        if etag and etag == answer.etag:
            return Given(None, etag)
        return answer


@dataclass(slots=True)
class Stage:
    """A keeper and all that it touches."""

    stores: Stores
    folder: Path
    executor: ThreadPoolExecutor
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    source: FakeFetcher = field(default_factory=FakeFetcher)
    state: TrustState = field(init=False)
    keeper: TrustKeeper = field(init=False)
    evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        self.evidence = Evidence(self.stores, self.clock, Pseudonyms(b"k" * 32, "patient.mssante.fr"))
        self.start()

    def start(self, crl_urls: tuple[str, ...] = (CRL_URL,)) -> None:
        """Begin a new life on the same folders."""
        snapshot = TrustSnapshot(IGC.anchors, CrlSet(), PeerPolicy(), DnMode.CN_OU, timedelta(days=3))
        self.state = TrustState(snapshot, self.clock)
        settings = KeeperSettings(LIST_URL, self.whitelists, 1 << 20, 3600.0, crl_urls, self.folder / "crl", 1 << 20, 3600.0,
                                  IGC.signer_policy(), ListPolicy(shrink_percent=10, max_age=timedelta(days=3)))
        self.keeper = TrustKeeper(self.state, self.stores, self.evidence, self.clock, self.executor, self.source, settings)

    @property
    def whitelists(self) -> Path:
        return self.folder / "whitelist"

    @property
    def current(self) -> Path:
        return self.whitelists / CURRENT

    def serve(self, raw: bytes, etag: str = "") -> None:
        self.source.answers[LIST_URL] = Given(raw, etag)

    def serve_crl(self, raw: bytes, etag: str = "") -> None:
        self.source.answers[CRL_URL] = Given(raw, etag)

    def generated_at(self) -> datetime | None:
        current = self.state.snapshot.whitelist
        return current.generated_at if current else None

    async def journal(self, kind: JournalKind) -> list[dict[str, object]]:
        """Give the payloads of one kind."""
        await self.evidence.flush()
        rows = await self.stores.database.read(lambda tx: self.stores.journal.recent(tx, kind=kind))
        return [dict(row.payload) for row in reversed(rows)]


def alarm(source: str = "whitelist") -> float | None:
    return REGISTRY.get_sample_value("mssante_trust_alarm", {"source": source})


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    trustkeeper.TRUST_ALARM.clear()
    stores = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs")
    with ThreadPoolExecutor(1) as executor:
        made = Stage(stores, tmp_path, executor)
        yield made
        await made.evidence.flush()
    stores.close()


async def adopted(stage: Stage, at: datetime = NOW - HOUR, rows: list[Row] = ROWS) -> bytes:
    raw = signed_whitelist(rows, at)
    stage.serve(raw)
    assert await stage.keeper.refresh_list()
    return raw


async def test_a_good_list_is_adopted_kept_recorded_and_put_in_force(stage: Stage) -> None:
    assert stage.state.usable_list() is None
    raw = await adopted(stage)
    current = stage.state.usable_list()
    assert current is not None and current.domain_count == 20
    assert stage.current.read_bytes() == raw
    assert sorted(path.name for path in stage.whitelists.iterdir()) == sorted(
        [CURRENT, f"20260301T110000Z-{current.sha256[:12]}.xml"])
    versions = await stage.stores.database.read(lambda tx: stage.stores.trust.whitelists(tx))
    assert [(v.sha256, v.generated_at, v.entries, v.domains, v.forced) for v in versions] == [
        (current.sha256, NOW - HOUR, 20, 20, False)]
    assert [event["forced"] for event in await stage.journal(JournalKind.WHITELIST_ADOPTED)] == [False]
    assert alarm() == 0
    assert REGISTRY.get_sample_value("mssante_whitelist_age_seconds") == 3600
    assert REGISTRY.get_sample_value("mssante_whitelist_domains") == 20


async def test_the_same_list_again_changes_nothing(stage: Stage) -> None:
    await adopted(stage)
    before = stage.state.snapshot
    assert not await stage.keeper.refresh_list()
    assert stage.state.snapshot is before
    assert len(await stage.journal(JournalKind.WHITELIST_ADOPTED)) == 1


async def test_the_validator_is_sent_back_only_for_a_list_that_was_adopted(stage: Stage) -> None:
    stage.serve(whitelist_xml(ROWS, NOW - HOUR), etag='"bad"')
    await stage.keeper.refresh_list()
    stage.serve(signed_whitelist(ROWS, NOW - HOUR), etag='"good"')
    assert await stage.keeper.refresh_list()
    assert not await stage.keeper.refresh_list()
    assert [etag for _, etag in stage.source.asked] == ["", "", '"good"']
    assert alarm() == 0


def _bad_lists() -> dict[str, tuple[bytes, str]]:
    later = NOW - timedelta(minutes=1)
    good = signed_whitelist(ROWS, later)
    stranger = IGC.list_signer("Liste Pirate")
    return {
        "unsigned": (whitelist_xml(ROWS, later), "LB-SIGNATURE-ABSENT"),
        "altered": (good.replace(b"d1.mssante.fr", b"e1.mssante.fr"), "LB-DIGEST"),
        "other signer": (signed_whitelist(ROWS, later, signer=stranger), "LB-SIGNER-NAME"),
        "rolled back": (signed_whitelist(ROWS, NOW - 2 * HOUR), "LB-RECUL"),
        "shrunk": (signed_whitelist(ROWS[:17], later), "LB-REDUCTION"),
        "future": (signed_whitelist(ROWS, NOW + timedelta(days=2), signing_time=NOW), "LB-FUTUR"),
        "truncated": (good[:-30], "XML-SYNTAX"),
        "empty": (signed_whitelist([], later), "LB-VIDE"),
        "not XML": (b"<html>maintenance", "XML-SYNTAX"),
    }


@pytest.mark.parametrize("name", sorted(_bad_lists()))
async def test_a_bad_list_is_refused_the_former_stays_and_the_alarm_rises_once(stage: Stage, name: str) -> None:
    former = await adopted(stage)
    raw, rule = _bad_lists()[name]
    stage.serve(raw)
    for _ in range(3):
        assert not await stage.keeper.refresh_list()
    assert stage.generated_at() == NOW - HOUR and stage.current.read_bytes() == former
    assert alarm() == 1
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == [rule]
    stage.serve(former)
    await stage.keeper.refresh_list()
    assert alarm() == 0


async def test_a_bad_list_at_the_first_start_leaves_no_list_at_all(stage: Stage) -> None:
    stage.serve(whitelist_xml(ROWS, NOW))
    assert not await stage.keeper.refresh_list()
    assert stage.state.usable_list() is None and not stage.current.exists()


async def test_each_new_cause_is_told_and_a_cause_that_returns_is_told_again(stage: Stage) -> None:
    good = await adopted(stage)
    bad = whitelist_xml(ROWS, NOW)
    for raw in (bad, bad, b"<x", good, bad):
        stage.serve(raw)
        await stage.keeper.refresh_list()
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == [
        "LB-SIGNATURE-ABSENT", "XML-SYNTAX", "LB-SIGNATURE-ABSENT"]


async def test_a_source_out_of_reach_keeps_the_list_then_the_list_grows_too_old(stage: Stage) -> None:
    await adopted(stage)
    stage.source.answers.clear()
    await stage.keeper.refresh_list()
    assert alarm() == 1 and stage.state.usable_list() is not None
    stage.clock.advance(timedelta(days=3))
    await stage.keeper.refresh_list()
    assert stage.state.usable_list() is None
    assert REGISTRY.get_sample_value("mssante_whitelist_age_seconds") == (timedelta(days=3) + HOUR).total_seconds()


async def test_a_source_that_never_changes_raises_the_alarm_when_the_list_is_too_old(stage: Stage) -> None:
    stage.serve(signed_whitelist(ROWS, NOW - HOUR), etag='"one"')
    await stage.keeper.refresh_list()
    stage.clock.advance(timedelta(days=4))
    await stage.keeper.refresh_list()
    assert alarm() == 1
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == ["LB-AGE"]


@pytest.mark.parametrize(("rows", "at", "rule"), [
    (ROWS, NOW - 2 * HOUR, "LB-RECUL"), (ROWS[:3], NOW - timedelta(minutes=1), "LB-REDUCTION")])
async def test_a_human_may_force_a_rollback_or_a_shrinkage(stage: Stage, rows: list[Row], at: datetime, rule: str) -> None:
    await adopted(stage)
    raw = signed_whitelist(rows, at)
    with pytest.raises(InputFault) as caught:
        await stage.keeper.adopt_list(raw)
    assert caught.value.rule == rule and "--force" in caught.value.remedy
    assert await stage.keeper.adopt_list(raw, force=True)
    assert stage.generated_at() == at and stage.current.read_bytes() == raw
    assert [event["forced"] for event in await stage.journal(JournalKind.WHITELIST_ADOPTED)] == [False, True]


async def test_force_never_accepts_a_bad_signature_nor_the_future(stage: Stage) -> None:
    for raw, rule in ((whitelist_xml(ROWS, NOW), "LB-SIGNATURE-ABSENT"),
                      (signed_whitelist(ROWS, NOW + timedelta(days=2), signing_time=NOW), "LB-FUTUR")):
        with pytest.raises(InputFault) as caught:
            await stage.keeper.adopt_list(raw, force=True)
        assert caught.value.rule == rule
    assert stage.state.snapshot.whitelist is None


async def test_two_adoptions_at_once_are_judged_one_after_the_other(stage: Stage) -> None:
    newer, older = signed_whitelist(ROWS, NOW - HOUR), signed_whitelist(ROWS, NOW - 2 * HOUR)
    results = await asyncio.gather(stage.keeper.adopt_list(newer), stage.keeper.adopt_list(older), return_exceptions=True)
    assert results[0] is True and isinstance(results[1], InputFault) and results[1].rule == "LB-RECUL"
    assert stage.generated_at() == NOW - HOUR and stage.current.read_bytes() == newer


async def test_the_kept_copy_is_in_force_at_the_next_start(stage: Stage) -> None:
    await adopted(stage)
    stage.start()
    assert stage.generated_at() is None
    stage.keeper.load_kept()
    assert stage.generated_at() == NOW - HOUR
    assert len(await stage.journal(JournalKind.WHITELIST_ADOPTED)) == 1


async def test_a_kept_copy_altered_on_disk_is_not_believed(stage: Stage) -> None:
    raw = await adopted(stage)
    for bad in (raw.replace(b"d1.mssante.fr", b"e1.mssante.fr"), b"", raw[:500]):
        stage.current.write_bytes(bad)
        stage.start()
        stage.keeper.load_kept()
        assert stage.state.snapshot.whitelist is None and alarm() == 1
    assert not isinstance(stage.state.admit(b""), type(None))
    stage.serve(raw)
    assert await stage.keeper.refresh_list()
    assert stage.generated_at() == NOW - HOUR and stage.current.read_bytes() == raw


async def test_nothing_kept_is_no_alarm(stage: Stage) -> None:
    stage.keeper.load_kept()
    assert stage.state.snapshot.whitelist is None and alarm() is None


async def test_a_full_disk_keeps_the_former_list_and_file(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    former = await adopted(stage)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trustkeeper, "write_atomically", full)
    stage.serve(signed_whitelist(ROWS, NOW - timedelta(minutes=1)))
    assert not await stage.keeper.refresh_list()
    assert stage.generated_at() == NOW - HOUR and stage.current.read_bytes() == former
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == ["TRUST-DISQUE"]


# ---------------------------------------------------------------- CRL


def status(stage: Stage, serial: int = 77) -> RevocationStatus:
    return stage.state.snapshot.crls.status(serial, IGC.organisations.certificate, stage.clock.now())


async def test_a_crl_is_adopted_kept_and_loaded_at_the_next_start(stage: Stage) -> None:
    assert status(stage) is RevocationStatus.UNKNOWN
    stage.serve_crl(IGC.crl([77], number=4))
    await stage.keeper.refresh_crls()
    assert status(stage) is RevocationStatus.REVOKED and status(stage, 78) is RevocationStatus.GOOD
    assert (stage.folder / "crl" / "0.crl").read_bytes() == stage.source.answers[CRL_URL].body  # type: ignore[union-attr]
    assert len(await stage.journal(JournalKind.CRL_ADOPTED)) == 1 and alarm("crl0") == 0
    stage.start()
    stage.keeper.load_kept()
    assert status(stage) is RevocationStatus.REVOKED


async def test_a_newer_crl_replaces_the_kept_one_at_once(stage: Stage) -> None:
    stage.serve_crl(IGC.crl(number=4))
    await stage.keeper.refresh_crls()
    assert status(stage) is RevocationStatus.GOOD
    stage.serve_crl(IGC.crl([77], number=5))
    await stage.keeper.refresh_crls()
    assert status(stage) is RevocationStatus.REVOKED


@pytest.mark.parametrize(("raw", "rule"), [
    (IGC.crl(number=3), "CRL-RECUL"), (IGC.crl(number=9, issuer="personnes"), "CRL-EMETTEUR"),
    (IGC.crl(number=9, issuer="foreign"), "CRL-SIGNATURE"), (b"junk", "CRL-LECTURE"), (b"", "CRL-LECTURE"),
    (IGC.crl(number=9, this_update=NOW + HOUR), "CRL-DATE")])
async def test_a_bad_crl_leaves_the_last_one_in_force(stage: Stage, raw: bytes, rule: str) -> None:
    stage.serve_crl(IGC.crl([77], number=4))
    await stage.keeper.refresh_crls()
    kept = (stage.folder / "crl" / "0.crl").read_bytes()
    stage.serve_crl(raw)
    for _ in range(2):
        await stage.keeper.refresh_crls()
    assert status(stage) is RevocationStatus.REVOKED and (stage.folder / "crl" / "0.crl").read_bytes() == kept
    assert [event["rule"] for event in await stage.journal(JournalKind.CRL_REFUSED)] == [rule] and alarm("crl0") == 1


async def test_a_crl_past_its_next_update_is_an_alarm_even_when_the_source_has_nothing_newer(stage: Stage) -> None:
    stage.serve_crl(IGC.crl([77], next_update=NOW + HOUR), etag='"one"')
    await stage.keeper.refresh_crls()
    assert alarm("crl0") == 0
    stage.clock.advance(2 * HOUR)
    await stage.keeper.refresh_crls()
    assert alarm("crl0") == 1 and status(stage) is RevocationStatus.REVOKED
    assert status(stage, 78) is RevocationStatus.UNKNOWN
    assert [event["rule"] for event in await stage.journal(JournalKind.CRL_REFUSED)] == ["CRL-EXPIREE"]


async def test_one_crl_out_of_reach_does_not_stop_the_others(stage: Stage) -> None:
    root_url = "http://igc.example.invalid/root.crl"
    stage.start((CRL_URL, root_url))
    stage.source.answers[root_url] = Given(IGC.crl(issuer="root"))
    await stage.keeper.refresh_crls()
    assert alarm("crl0") == 1 and alarm("crl1") == 0
    assert (stage.folder / "crl" / "1.crl").exists()


async def test_a_kept_crl_altered_on_disk_is_not_believed(stage: Stage) -> None:
    stage.serve_crl(IGC.crl([77]))
    await stage.keeper.refresh_crls()
    (stage.folder / "crl" / "0.crl").write_bytes(IGC.crl(issuer="foreign"))
    stage.start()
    stage.keeper.load_kept()
    assert status(stage) is RevocationStatus.UNKNOWN and alarm("crl0") == 1


async def test_a_list_whose_signer_is_revoked_is_refused(stage: Stage) -> None:
    certificate, _ = signer = IGC.list_signer()
    stage.serve_crl(IGC.crl([certificate]))
    await stage.keeper.refresh_crls()
    stage.serve(signed_whitelist(ROWS, NOW - HOUR, signer=signer))
    assert not await stage.keeper.refresh_list()
    assert stage.state.snapshot.whitelist is None
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == ["LB-SIGNER-REVOKED"]


# ---------------------------------------------------------------- the loop and the files


async def test_the_loop_goes_on_after_any_failure(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = asyncio.Event()
    calls = 0

    async def broken() -> None:
        nonlocal calls
        calls += 1
        if calls >= 3:
            rounds.set()
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(stage.keeper, "refresh_list", broken)
    monkeypatch.setattr(stage.keeper, "_settings",
                        replace(stage.keeper._settings, whitelist_refresh_seconds=0.0, crl_refresh_seconds=3600.0))
    task = asyncio.create_task(stage.keeper.run())
    await asyncio.wait_for(rounds.wait(), 10)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_write_that_fails_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"

    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"two")
    monkeypatch.undo()
    assert path.read_bytes() == b"one"
    write_atomically(path, b"three")
    assert path.read_bytes() == b"three" and [p.name for p in path.parent.iterdir()] == ["file"]


# ---------------------------------------------------------------- followed, rolled back, pinned, reviewed


async def beside(stage: Stage, action: str, raw: bytes = b"", version: int = 1) -> None:
    """Do what another process does on the same folders: `adopt` or `roll_back` to the n-th version."""
    snapshot = TrustSnapshot(IGC.anchors, CrlSet(), PeerPolicy(), DnMode.CN_OU, timedelta(days=3))
    other = TrustKeeper(TrustState(snapshot, stage.clock), stage.stores, stage.evidence, stage.clock, stage.executor,
                        FakeFetcher(), stage.keeper._settings)
    other.load_kept()
    if action == "adopt":
        await other.adopt_list(raw, force=True)
    else:
        versions = await stage.stores.database.read(lambda tx: stage.stores.trust.whitelists(tx))
        await other.roll_back(versions[version])


async def test_what_another_process_adopts_is_followed_and_verified_again(stage: Stage) -> None:
    await adopted(stage, NOW - 2 * HOUR)
    assert await stage.keeper.follow() is False
    await beside(stage, "adopt", signed_whitelist(ROWS, NOW - HOUR))
    assert stage.generated_at() == NOW - 2 * HOUR
    assert await stage.keeper.follow() is True
    assert stage.generated_at() == NOW - HOUR
    assert await stage.keeper.follow() is False


async def test_a_followed_file_that_is_not_what_was_adopted_changes_nothing(stage: Stage) -> None:
    await adopted(stage, NOW - 2 * HOUR)
    await beside(stage, "adopt", signed_whitelist(ROWS, NOW - HOUR))
    newest = (await stage.stores.database.read(lambda tx: stage.stores.trust.whitelists(tx, 1)))[0]
    path = stage.whitelists / newest.file
    path.write_bytes(path.read_bytes().replace(b"d3.mssante.fr", b"x3.mssante.fr"))
    assert await stage.keeper.follow() is False and await stage.keeper.follow() is False
    assert stage.generated_at() == NOW - 2 * HOUR and alarm("whitelist-follow") == 1
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == ["LB-FICHIER"]


async def test_not_modified_counts_only_against_the_list_in_force(stage: Stage) -> None:
    good = signed_whitelist(ROWS, NOW - HOUR)
    stage.serve(good, "tag")
    assert await stage.keeper.refresh_list()
    await beside(stage, "adopt", signed_whitelist(ROWS, NOW - 3 * HOUR))
    assert await stage.keeper.follow()
    assert await stage.keeper.refresh_list(), "the publisher's list comes back, though its validator did not change"
    assert stage.generated_at() == NOW - HOUR
    assert [etag for _, etag in stage.source.asked] == ["", ""]
    assert not await stage.keeper.refresh_list() and stage.source.asked[-1][1] == "tag"


async def test_a_rollback_lasts_though_the_publisher_still_serves_the_other(stage: Stage) -> None:
    await adopted(stage, NOW - 3 * HOUR)
    await adopted(stage, NOW - 2 * HOUR)
    await beside(stage, "roll_back")
    assert await stage.keeper.follow() and stage.generated_at() == NOW - 3 * HOUR
    assert not await stage.keeper.refresh_list()
    assert stage.generated_at() == NOW - 3 * HOUR and alarm("whitelist-pin") == 1 and alarm() == 0
    stage.start()
    stage.keeper.load_kept()
    assert not await stage.keeper.refresh_list() and stage.generated_at() == NOW - 3 * HOUR, "after a restart too"
    await adopted(stage, NOW - HOUR)
    assert stage.generated_at() == NOW - HOUR and alarm("whitelist-pin") == 0
    assert not (stage.whitelists / "pin.json").exists()


async def test_a_pin_does_not_hide_a_list_that_is_too_old(stage: Stage) -> None:
    await adopted(stage, NOW - 3 * HOUR)
    await adopted(stage, NOW - 2 * HOUR)
    await beside(stage, "roll_back")
    assert await stage.keeper.follow()
    stage.clock.advance(timedelta(days=4))
    await stage.keeper.refresh_list()
    assert alarm() == 1


async def test_two_rollbacks_hold_off_the_newest_of_what_was_left(stage: Stage) -> None:
    for hours in (4, 3, 2):
        await adopted(stage, NOW - hours * HOUR)
    await beside(stage, "roll_back", version=1)
    await beside(stage, "roll_back", version=3)
    assert await stage.keeper.follow() and stage.generated_at() == NOW - 4 * HOUR
    for hours in (3, 2):
        with pytest.raises(InputFault) as caught:
            await stage.keeper.adopt_list(signed_whitelist(ROWS, NOW - hours * HOUR))
        assert caught.value.rule in ("LB-EPINGLE", "LB-RECUL")


async def test_an_adoption_tells_its_story_and_its_alarms(stage: Stage) -> None:
    await adopted(stage, NOW - 3 * HOUR)
    other = "CN=mx.b.mssante.fr,OU=318751275100099,O=AUTRE,ST=Paris (75),C=FR"
    rows = [(domain, other) for domain, _ in ROWS]
    stage.serve(signed_whitelist(rows, NOW - 2 * HOUR))
    assert await stage.keeper.refresh_list()
    story = (await stage.journal(JournalKind.WHITELIST_ADOPTED))[-1]
    assert story["rebound"] == 20 and "20 domaines passent de CN=mx.a.mssante.fr (TEST) à CN=mx.b.mssante.fr (AUTRE)" in str(story["story"])
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_ALARM)] == ["LB-CHANGEMENTS"]
    assert alarm("whitelist-shape") == 1
    await adopted(stage, NOW - HOUR, rows)
    assert alarm("whitelist-shape") == 0


async def test_a_list_that_loses_our_domain_waits_for_a_human(stage: Stage) -> None:
    from mssante.trust.listdiff import Interest
    from mssante.trust.names import parse_dn

    stage.keeper._settings = replace(stage.keeper._settings, interest=lambda: Interest(frozenset({"d0.mssante.fr"}), (parse_dn(DN),)))
    await adopted(stage, NOW - 3 * HOUR)
    stage.serve(signed_whitelist(ROWS[1:], NOW - 2 * HOUR))
    assert not await stage.keeper.refresh_list()
    assert alarm() == 1 and (stage.whitelists / "waiting.xml").exists()
    assert [event["rule"] for event in await stage.journal(JournalKind.WHITELIST_REFUSED)] == ["LB-NOTRE-DOMAINE"]
    assert await stage.keeper.adopt_list((stage.whitelists / "waiting.xml").read_bytes(), force=True)
    assert not (stage.whitelists / "waiting.xml").exists()


async def test_a_life_that_ended_between_the_file_and_its_record_is_not_undone(stage: Stage) -> None:
    await adopted(stage, NOW - 3 * HOUR)
    newer = signed_whitelist(ROWS, NOW - 2 * HOUR)
    stage.current.write_bytes(newer)  # and no row in the history
    stage.start()
    stage.keeper.load_kept()
    assert stage.generated_at() == NOW - 2 * HOUR
    assert await stage.keeper.follow() is False and stage.generated_at() == NOW - 2 * HOUR


async def test_a_clock_set_back_does_not_bring_the_former_list_back(stage: Stage) -> None:
    await adopted(stage, NOW - 3 * HOUR)
    stage.clock.advance(-2 * HOUR)
    await adopted(stage, NOW - 2 * HOUR - timedelta(minutes=30))
    assert await stage.keeper.follow() is False
    assert stage.generated_at() == NOW - 2 * HOUR - timedelta(minutes=30)
