"""The life of the white list and of the CRLs: fetch, verify, admit, keep, swap (ARCHITECTURE §4d, spec §1.6, §3.2).

- Nothing is believed before its signature is verified; only the signed node set is read.
- A list that is older, absurdly smaller, unsigned or altered is refused: the last good one stays in force, an alarm metric
  goes up and the journal says why. Past its maximum age, traffic between operators stops; never "accept all".
- An adopted list is written atomically into `whitelist/` (current and history) before it is put in force; at start the
  files kept are verified again, so that a copy altered on disk is not believed either.
- CRLs are kept by `services.crlkeeper`, which this starts.
- The signer of a list is checked against the CRLs in force (F1.14).
- Never raises for what a source gave or for a full disk; parsing and files are left to `executor`, never to the event loop.
- Called by `app.py` (start, background task) and by the command line (`whitelist adopt`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.model.journal import JournalKind
from mssante.model.reply import Refuse
from mssante.observability.metrics import TRUST_ALARM, WHITELIST_AGE, WHITELIST_DOMAINS
from mssante.services.crlkeeper import CrlKeeper, CrlSettings
from mssante.services.evidence import Evidence
from mssante.services.listhistory import CURRENT as CURRENT
from mssante.services.listhistory import HistoryPolicy, Pin, prune, read_pin, remove_pin, write_pin
from mssante.services.listhistory import write_atomically as write_atomically
from mssante.services.listreview import HUMAN_RULES, WAITING, ListReview, adoption_facts, alarm_events, review_list
from mssante.services.trustalarms import as_fault
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Stores, Tx, WhitelistVersion
from mssante.trust.anchors import TrustAnchors, certificate_id
from mssante.trust.decisions import ListPolicy, admit_list
from mssante.trust.listdiff import Interest
from mssante.trust.listshape import ShapePolicy
from mssante.trust.signature import SignerPolicy, verify_list_signature
from mssante.trust.whitelist import Whitelist, parse_whitelist

log = structlog.get_logger("trust")
PIN_RULE = "LB-EPINGLE"


class Fetched(Protocol):
    """body None: not modified."""

    @property
    def body(self) -> bytes | None:
        """Octets, or None."""
        ...

    @property
    def etag(self) -> str:
        """Validator for the next fetch."""
        ...


class Fetcher(Protocol):
    """`transport.http.HttpFetcher`, or a fake."""

    async def fetch(self, url: str, *, max_bytes: int, etag: str = "") -> Fetched:
        """Give the body at a configured URL. Raises OperatorFault."""
        ...


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """From configuration; folders exist or are made."""

    whitelist_url: str
    whitelist_folder: Path
    whitelist_max_bytes: int
    whitelist_refresh_seconds: float
    crl_urls: tuple[str, ...]
    crl_folder: Path
    crl_max_bytes: int
    crl_refresh_seconds: float
    signer: SignerPolicy
    list_policy: ListPolicy
    shape: ShapePolicy = field(default_factory=ShapePolicy)
    history: HistoryPolicy = field(default_factory=HistoryPolicy)
    interest: Callable[[], Interest] = Interest  # reads our certificates anew: they may have been replaced
    follow_seconds: float = 2.0


class TrustKeeper:
    """Keeps the snapshot of `TrustState` fresh."""

    def __init__(self, state: TrustState, stores: Stores, evidence: Evidence, clock: Clock, executor: Executor,
                 fetcher: Fetcher, settings: KeeperSettings) -> None:
        self._state = state
        self._stores = stores
        self._evidence = evidence
        self._clock = clock
        self._executor = executor
        self._fetcher = fetcher
        self._settings = settings
        self._etags: dict[str, str] = {}
        self._last_refusal: dict[str, str] = {}
        self._crls = CrlKeeper(state, evidence, clock, executor, fetcher, CrlSettings(
            settings.crl_urls, settings.crl_folder, settings.crl_max_bytes, settings.crl_refresh_seconds))
        self._adopting = asyncio.Lock()
        self._not_followed = ""
        self._fetched = ""  # sha256 of the list that the kept validator belongs to

    # ------------------------------------------------------------ at start

    def load_kept(self) -> None:
        """Put in force what the last life left on disk, verified again; missing or bad files are told and skipped."""
        self._crls.load_kept()
        path = self._settings.whitelist_folder / CURRENT
        if path.exists():
            self._try("whitelist", lambda: self._put_in_force(self._read_list(path.read_bytes())))

    def _try(self, source: str, action: Callable[[], object]) -> None:
        try:
            action()
        except (MssFault, OSError) as fault:
            TRUST_ALARM.labels(source).set(1)
            log.error("kept_copy_refused", source=source, rule=getattr(fault, "rule", ""), detail=str(fault)[:300])

    # ------------------------------------------------------------ white list

    def _read_list(self, raw: bytes) -> Whitelist:
        """Verify the signature, then read the signed octets alone. Raises InputFault."""
        signer = replace(self._settings.signer, crls=self._state.snapshot.crls)
        signed = verify_list_signature(raw, signer, self._clock.now())
        return replace(parse_whitelist(signed.root, hashlib.sha256(raw).hexdigest()), signer=signed.signer.text)

    def _put_in_force(self, whitelist: Whitelist) -> None:
        self._state.swap(replace(self._state.snapshot, whitelist=whitelist))
        WHITELIST_DOMAINS.set(whitelist.domain_count)
        self._note_age()

    def _note_age(self) -> None:
        current = self._state.snapshot.whitelist
        if current is not None:
            WHITELIST_AGE.set((self._clock.now() - current.generated_at).total_seconds())

    async def refresh_list(self) -> bool:
        """Fetch and adopt; True when a new list was put in force. Never raises for what the source or the disk did."""
        url = self._settings.whitelist_url
        adopted = False
        try:
            # "not modified" counts only against the list in force: a human may have put another one there
            in_force = self._state.snapshot.whitelist
            known = in_force is not None and in_force.sha256 == self._fetched
            fetched = await self._fetcher.fetch(url, max_bytes=self._settings.whitelist_max_bytes,
                                                etag=self._etags.get(url, "") if known else "")
            if fetched.body is not None:
                adopted = await self.adopt_list(fetched.body)
                self._etags[url], self._fetched = fetched.etag, hashlib.sha256(fetched.body).hexdigest()
            if self._state.usable_list() is None:
                raise InputFault("list in force is too old", rule="LB-AGE", remedy="ask the publisher of the list")
        except (MssFault, OSError) as fault:
            if isinstance(fault, InputFault) and fault.rule == PIN_RULE and self._state.usable_list() is not None:
                self._well("whitelist")  # the source is well; the pin has an alarm of its own
            else:
                self._alarm("whitelist", JournalKind.WHITELIST_REFUSED, as_fault(fault))
        else:
            self._well("whitelist")
        self._note_age()
        TRUST_ALARM.labels("whitelist-pin").set(1 if read_pin(self._settings.whitelist_folder) else 0)
        return adopted

    async def adopt_list(self, raw: bytes, *, force: bool = False) -> bool:
        """Verify a list and put it in force; False when it is the one in force already.

        force: a human accepts a rollback, a shrinkage, an alarm that stops, or what a pin holds off. Raises InputFault with the
        rule and the remedy, OSError and OperatorFault when it cannot be kept (then it is not in force either).
        """
        async with self._adopting:  # a forced adoption and a refresh must not judge against the same former list
            return await self._adopt(raw, force=force)

    async def _adopt(self, raw: bytes, *, force: bool) -> bool:
        loop = asyncio.get_running_loop()
        current = self._state.snapshot.whitelist
        if current is not None and hashlib.sha256(raw).hexdigest() == current.sha256:
            return False
        new = await loop.run_in_executor(self._executor, self._read_list, raw)
        pin = read_pin(self._settings.whitelist_folder)
        if pin is not None and not force and pin.holds_off(new.sha256, new.generated_at):
            raise InputFault("list is held off by a rollback", rule=PIN_RULE, remedy="mssante whitelist unpin")
        review = await self._review(new, current)
        await self._admit(raw, new, review, force=force)
        now = self._clock.now()
        name = f"{new.generated_at:%Y%m%dT%H%M%SZ}-{new.sha256[:12]}.xml"
        await loop.run_in_executor(self._executor, self._keep, raw, name)
        version = WhitelistVersion(new.sha256, new.generated_at, now, new.entry_count, new.domain_count, name, force)

        def unit(tx: Tx) -> None:
            self._stores.trust.add_whitelist(tx, version)
            self._stores.journal.append(tx, [self._evidence.event(
                JournalKind.WHITELIST_ADOPTED, new.sha256,
                {"generated_at": new.generated_at.isoformat(), "entries": new.entry_count, "domains": new.domain_count,
                 "forced": force, **adoption_facts(review)}), *alarm_events(review, self._evidence, new.sha256)])

        await self._stores.database.write(unit)
        self._put_in_force(new)
        facts = adoption_facts(review)
        log.info("whitelist_adopted", generated_at=new.generated_at.isoformat(), domains=new.domain_count,
                 story=facts.get("story", ""))
        await self._tidy(pin, new)
        return True

    async def _review(self, new: Whitelist, current: Whitelist | None) -> ListReview | None:
        """Compare a verified list to the one in force, with what waits in the queue."""
        if current is None:
            return None
        queued = await self._stores.database.read(lambda tx: self._stores.holds.waiting(tx))
        interest = replace(await asyncio.to_thread(self._settings.interest), queued=queued, mode=self._state.snapshot.mode)
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, review_list, new, current, interest, self._settings.shape)

    async def _admit(self, raw: bytes, new: Whitelist, review: ListReview | None, *, force: bool) -> None:
        """Raise InputFault when the list may not replace the one in force; one that only wants a human is kept aside."""
        decision = admit_list(new, self._state.snapshot.whitelist, self._clock.now(),
                              replace(self._settings.list_policy, force=force))
        fault = None
        if isinstance(decision, Refuse):
            fault = InputFault(decision.reply.text, detail=decision.detail, rule=decision.rule,
                               remedy="mssante whitelist adopt --force")
        elif review is not None and review.stopping is not None and not force:
            alarm_events(review, self._evidence, new.sha256)
            fault = InputFault(review.stopping.text, rule=review.stopping.rule,
                               remedy="mssante whitelist diff current waiting ; mssante whitelist adopt waiting --force")
        if fault is None:
            return
        if fault.rule in HUMAN_RULES:
            path = self._settings.whitelist_folder / WAITING
            await asyncio.get_running_loop().run_in_executor(self._executor, write_atomically, path, raw)
        raise fault

    async def _tidy(self, pin: Pin | None, new: Whitelist) -> None:
        """After an adoption: a pin that a newer list made useless goes, old files go. What fails here is told, not raised."""
        folder = self._settings.whitelist_folder
        try:
            (folder / WAITING).unlink(missing_ok=True)
            if pin is not None and new.sha256 != pin.kept:
                remove_pin(folder)
                log.info("whitelist_unpinned", because="a newer list was adopted")
            versions = await self._stores.database.read(lambda tx: self._stores.trust.whitelists(tx, 10_000))
            gone = await asyncio.to_thread(prune, folder, versions, self._clock.now(), self._settings.history)
            if gone:
                log.info("whitelist_files_pruned", count=len(gone))
        except (MssFault, OSError) as fault:
            log.error("whitelist_tidying_failed", detail=str(fault)[:300])

    async def roll_back(self, version: WhitelistVersion) -> bool:
        """Put a former list in force again and pin it; False when it is in force already. The file kept is verified again.

        Raises InputFault (`LB-FICHIER`, `LB-…`), OSError, OperatorFault; then nothing changed, the pin neither.
        """
        folder, now = self._settings.whitelist_folder, self._clock.now()
        async with self._adopting:
            current = self._state.snapshot.whitelist
            raw = await asyncio.to_thread(self._kept, version)
            if current is None or current.sha256 == version.sha256:
                return await self._adopt(raw, force=True)
            former = read_pin(folder)
            left_at = max(current.generated_at, former.left_at) if former is not None else current.generated_at
            write_pin(folder, Pin(current.sha256, left_at, version.sha256, now))  # first: no refresh may come between
            try:
                done = await self._adopt(raw, force=True)
            except BaseException:
                remove_pin(folder)
                if former is not None:
                    write_pin(folder, former)
                raise
        self._evidence.write(self._evidence.event(JournalKind.WHITELIST_PINNED, version.sha256, {
            "left": current.sha256, "left_at": left_at.isoformat(), "generated_at": version.generated_at.isoformat()}))
        return done

    def _kept(self, version: WhitelistVersion) -> bytes:
        """Give a file of the history. Raises InputFault `LB-FICHIER` when it is gone or is not what the history says."""
        path = self._settings.whitelist_folder / Path(version.file).name
        try:
            raw = path.read_bytes()
        except OSError as exc:
            raise InputFault("file of this list is no longer kept", detail=version.file, rule="LB-FICHIER",
                             remedy="mssante whitelist history") from exc
        if hashlib.sha256(raw).hexdigest() != version.sha256:
            raise InputFault("kept file is not the one that was adopted", detail=version.file, rule="LB-FICHIER",
                             remedy="restore it from a backup")
        return raw

    async def follow(self) -> bool:
        """Put in force what another process adopted (`mssante whitelist adopt`, `rollback`); True when something was.

        One short read when nothing happened. The signature is verified again; a file that fails leaves the last list in force.
        """
        newest = await self._stores.database.read(lambda tx: self._stores.trust.whitelists(tx, 1), quick=True)
        current = self._state.snapshot.whitelist
        if not newest or newest[0].sha256 in (self._not_followed, current.sha256 if current is not None else ""):
            return False
        async with self._adopting:
            current = self._state.snapshot.whitelist
            newest = await self._stores.database.read(lambda tx: self._stores.trust.whitelists(tx, 1))
            if not newest or (current is not None and newest[0].sha256 == current.sha256):
                return False  # it was our own adoption
            try:
                raw = await asyncio.to_thread(self._kept, newest[0])
                if raw != await asyncio.to_thread((self._settings.whitelist_folder / CURRENT).read_bytes):
                    self._not_followed = newest[0].sha256  # a life ended between the file and its record: the file counts
                    return False
                found = await asyncio.get_running_loop().run_in_executor(self._executor, self._read_list, raw)
            except (MssFault, OSError) as fault:
                self._not_followed = newest[0].sha256
                self._alarm("whitelist-follow", JournalKind.WHITELIST_REFUSED, as_fault(fault))
                return False
            self._put_in_force(found)
        self._not_followed = ""
        self._well("whitelist-follow")
        TRUST_ALARM.labels("whitelist-pin").set(1 if read_pin(self._settings.whitelist_folder) else 0)
        log.info("whitelist_followed", generated_at=found.generated_at.isoformat(), domains=found.domain_count)
        return True

    def _keep(self, raw: bytes, name: str) -> None:
        folder = self._settings.whitelist_folder
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, raw)
        write_atomically(folder / CURRENT, raw)

    # ------------------------------------------------------------ anchors and CRL

    async def take_anchors(self, anchors: TrustAnchors, signers: TrustAnchors) -> None:
        """Put other anchors in force as one step, at once: CRLs of the authorities that remain stay; then those kept on disk
        for authorities that come are read. signers: the same file, as the white list's signature is judged by it."""
        ids = {certificate_id(one) for one in anchors.authorities}
        snapshot = self._state.snapshot
        self._state.swap(replace(snapshot, anchors=anchors, crls=snapshot.crls.of(ids)))
        self._settings = replace(self._settings, signer=replace(self._settings.signer, anchors=signers))
        await self._crls.load_missing()

    async def refresh_crls(self) -> None:
        """Fetch every configured CRL; one that cannot be had or believed leaves the last one in force."""
        await self._crls.refresh()

    # ------------------------------------------------------------ alarms and the loop

    def _alarm(self, source: str, kind: JournalKind, fault: MssFault) -> None:
        """Raise the alarm; the journal hears of a cause once, not at every round."""
        TRUST_ALARM.labels(source).set(1)
        if self._last_refusal.get(source) == fault.rule:
            return
        self._last_refusal[source] = fault.rule
        log.error("trust_source_refused", source=source, rule=fault.rule, text=fault.public, detail=fault.detail)
        self._evidence.write(self._evidence.event(kind, source, {"rule": fault.rule, "text": fault.public}))

    def _well(self, source: str) -> None:
        TRUST_ALARM.labels(source).set(0)
        self._last_refusal.pop(source, None)

    async def run(self) -> None:
        """Refresh for ever, each source at its own pace."""
        await asyncio.gather(self._every(self._settings.whitelist_refresh_seconds, self.refresh_list),
                             self._every(self._settings.follow_seconds, self.follow),
                             self._crls.run())

    async def _every(self, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except Exception as fault:  # a refresh that fails in an unforeseen way must not end the next ones
                log.exception("refresh_failed", kind=type(fault).__name__)
