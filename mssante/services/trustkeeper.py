"""The life of the white list and of the CRLs: fetch, verify, admit, keep, swap (ARCHITECTURE §4d, spec §1.6, §3.2).

- Nothing is believed before its signature is verified; only the signed node set is read.
- A list that is older, absurdly smaller, unsigned or altered is refused: the last good one stays in force, an alarm metric
  goes up and the journal says why. Past its maximum age, traffic between operators stops; never "accept all".
- An adopted list is written atomically into `whitelist/` (current and history) before it is put in force; at start the
  files kept are verified again, so that a copy altered on disk is not believed either.
- CRLs are kept until their `nextUpdate` (ECO.1.1.7); one past it stays in force for what it revokes, and the alarm is up.
- The signer of a list is checked against the CRLs in force (F1.14).
- Never raises for what a source gave or for a full disk; parsing and files are left to `executor`, never to the event loop.
- Called by `app.py` (start, background task) and by the command line (`whitelist adopt`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault, OperatorFault
from mssante.model.journal import JournalKind
from mssante.model.reply import Refuse
from mssante.observability.metrics import TRUST_ALARM, WHITELIST_AGE, WHITELIST_DOMAINS
from mssante.services.evidence import Evidence
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Stores, Tx, WhitelistVersion
from mssante.trust.crl import Crl, parse_any_crl
from mssante.trust.decisions import ListPolicy, admit_list
from mssante.trust.signature import SignerPolicy, verify_list_signature
from mssante.trust.whitelist import Whitelist, parse_whitelist

log = structlog.get_logger("trust")
CURRENT = "current.xml"


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
        self._crl_issuers: dict[str, str] = {}
        self._adopting = asyncio.Lock()

    # ------------------------------------------------------------ at start

    def load_kept(self) -> None:
        """Put in force what the last life left on disk, verified again; missing or bad files are told and skipped."""
        for index, _url in enumerate(self._settings.crl_urls):
            path = self._settings.crl_folder / f"{index}.crl"
            if path.exists():
                self._try(f"crl{index}", partial(self._load_crl, f"crl{index}", path))
        path = self._settings.whitelist_folder / CURRENT
        if path.exists():
            self._try("whitelist", lambda: self._put_in_force(self._read_list(path.read_bytes())))

    def _load_crl(self, source: str, path: Path) -> None:
        self._admit_crl(source, self._read_crl(path.read_bytes()))

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
        return parse_whitelist(signed.root, hashlib.sha256(raw).hexdigest())

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
            fetched = await self._fetcher.fetch(url, max_bytes=self._settings.whitelist_max_bytes,
                                                etag=self._etags.get(url, ""))
            if fetched.body is not None:
                adopted = await self.adopt_list(fetched.body)
                self._etags[url] = fetched.etag
            if self._state.usable_list() is None:
                raise InputFault("list in force is too old", rule="LB-AGE", remedy="ask the publisher of the list")
        except (MssFault, OSError) as fault:
            self._alarm("whitelist", JournalKind.WHITELIST_REFUSED, _as_fault(fault))
        else:
            self._well("whitelist")
        self._note_age()
        return adopted

    async def adopt_list(self, raw: bytes, *, force: bool = False) -> bool:
        """Verify a list and put it in force; False when it is the one in force already.

        force: a human accepts a rollback or a shrinkage. Raises InputFault with the rule and the remedy, OSError and
        OperatorFault when it cannot be kept (then it is not in force either).
        """
        async with self._adopting:  # a forced adoption and a refresh must not judge against the same former list
            return await self._adopt(raw, force=force)

    async def _adopt(self, raw: bytes, *, force: bool) -> bool:
        loop = asyncio.get_running_loop()
        current = self._state.snapshot.whitelist
        if current is not None and hashlib.sha256(raw).hexdigest() == current.sha256:
            return False
        new = await loop.run_in_executor(self._executor, self._read_list, raw)
        decision = admit_list(new, current, self._clock.now(), replace(self._settings.list_policy, force=force))
        if isinstance(decision, Refuse):
            raise InputFault(decision.reply.text, detail=decision.detail, rule=decision.rule,
                             remedy="mssante whitelist adopt --force")
        now = self._clock.now()
        name = f"{new.generated_at:%Y%m%dT%H%M%SZ}-{new.sha256[:12]}.xml"
        await loop.run_in_executor(self._executor, self._keep, raw, name)
        version = WhitelistVersion(new.sha256, new.generated_at, now, new.entry_count, new.domain_count, name, force)

        def unit(tx: Tx) -> None:
            self._stores.trust.add_whitelist(tx, version)
            self._stores.journal.append(tx, [self._evidence.event(
                JournalKind.WHITELIST_ADOPTED, new.sha256,
                {"generated_at": new.generated_at.isoformat(), "entries": new.entry_count, "domains": new.domain_count,
                 "forced": force})])

        await self._stores.database.write(unit)
        self._put_in_force(new)
        log.info("whitelist_adopted", generated_at=new.generated_at.isoformat(), domains=new.domain_count)
        return True

    def _keep(self, raw: bytes, name: str) -> None:
        folder = self._settings.whitelist_folder
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, raw)
        write_atomically(folder / CURRENT, raw)

    # ------------------------------------------------------------ CRL

    def _read_crl(self, raw: bytes) -> Crl:
        """Verify a CRL against our authorities. Raises InputFault."""
        return parse_any_crl(raw, self._state.snapshot.anchors, self._clock.now())

    def _admit_crl(self, source: str, crl: Crl) -> bool:
        """Put a verified CRL in force (event loop thread); False when it is the one in force. Raises InputFault."""
        snapshot = self._state.snapshot
        crls = snapshot.crls.admit(crl)
        self._crl_issuers[source] = crl.issuer_id
        if crls is snapshot.crls:
            return False
        self._state.swap(replace(snapshot, crls=crls))
        return True

    async def refresh_crls(self) -> None:
        """Fetch every configured CRL; one that cannot be had or believed leaves the last one in force."""
        for index, url in enumerate(self._settings.crl_urls):
            source = f"crl{index}"
            try:
                await self._refresh_crl(source, url, self._settings.crl_folder / f"{index}.crl")
            except (MssFault, OSError) as fault:
                self._alarm(source, JournalKind.CRL_REFUSED, _as_fault(fault))
            else:
                self._well(source)

    async def _refresh_crl(self, source: str, url: str, path: Path) -> None:
        """Fetch, verify, put in force, keep. Raises MssFault, OSError (in force then, but not kept)."""
        fetched = await self._fetcher.fetch(url, max_bytes=self._settings.crl_max_bytes, etag=self._etags.get(url, ""))
        if fetched.body is not None:
            loop = asyncio.get_running_loop()
            crl = await loop.run_in_executor(self._executor, self._read_crl, fetched.body)
            if self._admit_crl(source, crl):
                await loop.run_in_executor(self._executor, write_atomically, path, fetched.body)
                self._evidence.write(self._evidence.event(JournalKind.CRL_ADOPTED, url, {"octets": len(fetched.body)}))
            self._etags[url] = fetched.etag
        kept = self._state.snapshot.crls.by_issuer.get(self._crl_issuers.get(source, ""))
        if kept is not None and kept.next_update < self._clock.now():
            raise InputFault("CRL in force is past its nextUpdate", rule="CRL-EXPIREE", remedy="ask the authority")

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
                             self._every(self._settings.crl_refresh_seconds, self.refresh_crls))

    async def _every(self, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except Exception as fault:  # a refresh that fails in an unforeseen way must not end the next ones
                log.exception("refresh_failed", kind=type(fault).__name__)


def _as_fault(fault: MssFault | OSError) -> MssFault:
    """Give a fault of ours for what the disk did."""
    if isinstance(fault, MssFault):
        return fault
    return OperatorFault("could not be written to disk", detail=type(fault).__name__, rule="TRUST-DISQUE",
                         remedy="check room and rights of the folders of the trust section")


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside, sync, rename, sync the folder. Raises OSError; the former file stays on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

