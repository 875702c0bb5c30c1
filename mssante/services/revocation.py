"""The desk that asks OCSP responders, and what it answers when they do not (spec F3.5-F3.6, RELIABILITY figure 19).

Decision table, by `trust.revocation`; a CRL is good within its nextUpdate (and `crl_grace_seconds`), an OCSP answer within its
own (and `ocsp_grace_seconds`):

    policy | CRL     | OCSP    | decision                     policy | CRL     | OCSP    | decision
    crl    | good    | -       | admitted                     both   | good    | good    | admitted
    crl    | revoked | -       | refused, 554                 both   | revoked | any     | refused, 554
    crl    | unknown | -       | refused for now, 454         both   | good    | revoked | refused, 554
    ocsp   | revoked | any     | refused, 554                 both   | good    | unknown | refused for now, 454
    ocsp   | other   | revoked | refused, 554                 both   | unknown | any     | refused for now, 454 (not asked)
    ocsp   | other   | good    | admitted
    ocsp   | other   | unknown | refused for now, 454

"unknown" of OCSP: no answer that counts, or the responder says `unknown`. The last good answer then serves on until its
nextUpdate (`unknown`: from the moment it is said) and `ocsp_grace_seconds` more; a revocation serves until a newer answer
takes it back.

Guarantees
- The cache is keyed by the fingerprint of the issuer *and* the serial; bounded; an answer is asked anew after
  `ocsp_refresh_seconds` at the latest, half of it later behind the session's back, so that a revocation takes effect on open
  sessions too (each MAIL asks the cache).
- One question at a time for one certificate; a time limit; nobody waits for a responder that is known to be dead: it is
  tried again behind the sessions' back, 2 s to 5 min apart, and they get their 454 at once.
- The address is the one configured for the issuer, else the certificate's own when its host is on the allow-list.
- Parsing and signatures run on `executor`, never on the event loop.
- Nothing here raises but `check`, with a `PeerFault`. Called by `services.truststate`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault, PeerFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import OCSP_QUESTIONS
from mssante.services.trustalarms import SourceAlarms
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.ocsp import (
    MAX_OCTETS,
    NONCE_OCTETS,
    REQUEST_TYPE,
    OcspAnswer,
    OcspFault,
    OcspPolicy,
    admit_answer,
    build_question,
    named_responder,
    verify_answer,
)
from mssante.trust.peer import Proven, UnknownRevocation

log = structlog.get_logger("trust")
FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=5)
MAX_QUESTIONS = 100  # under way at once; a certificate beyond them is unknown for now
MAX_RESPONDERS = 100
ALARM = "ocsp"
_Key = tuple[str, int]
# what the source did, as the rule and words of a refusal
_SOURCE_FAULTS = {
    "HTTP-UNREACHABLE": ("OCSP-INJOIGNABLE", "le repondeur ne repond pas"),
    "HTTP-SIZE": ("OCSP-TAILLE", f"le repondeur donne plus de {MAX_OCTETS} octets"),
    "HTTP-REDIRECT": ("OCSP-REDIRECTION", "le repondeur renvoie ailleurs, ce qui n'est pas suivi"),
}


class Poster(Protocol):
    """`transport.http.HttpFetcher`, or a fake."""

    async def post(self, url: str, body: bytes, *, content_type: str, max_bytes: int) -> bytes:
        """Give the answer to a body sent by POST. Raises OperatorFault (`HTTP-…`)."""
        ...


@dataclass(frozen=True, slots=True)
class OcspSettings:
    """urls: CN of an issuing authority to the address of its responder; allowed: origins (`http://host:port`) that a peer's
    certificate may name; seconds: limit of one question."""

    policy: OcspPolicy = field(default_factory=OcspPolicy)
    urls: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    refresh: timedelta = timedelta(minutes=15)
    grace: timedelta = timedelta(0)
    seconds: float = 5.0
    max_answers: int = 20_000


@dataclass(slots=True)
class _Pause:
    """Failures in a row, the last one, and when to try again."""

    failures: int = 0
    fault: MssFault | None = None
    until: datetime | None = None
    failed_at: datetime | None = None

    def failed(self, now: datetime, began: datetime) -> None:
        """Count a failure: the pause doubles. Questions that were under way together (`began`) count as one."""
        if self.failed_at is not None and began <= self.failed_at <= now:
            return
        self.until = now + min(FIRST_PAUSE * 2 ** min(self.failures, 10), LONGEST_PAUSE)
        self.failures += 1
        self.failed_at = now

    def over(self, now: datetime) -> bool:
        """Tell whether it is time to try; a clock set back does not make a pause longer."""
        return self.until is None or not now < self.until <= now + LONGEST_PAUSE


@dataclass(slots=True)
class _Held:
    """What is known of one certificate. answer: the last good or revoked one; asked_at: when a responder last answered."""

    answer: OcspAnswer | None = None
    asked_at: datetime | None = None
    unknown_since: datetime | None = None
    fault: MssFault | None = None
    pause: _Pause = field(default_factory=_Pause)
    asking: asyncio.Task[None] | None = None

    def status(self, now: datetime, grace: timedelta) -> RevocationStatus:
        """Tell what counts at `now`."""
        if self.answer is None:
            return RevocationStatus.UNKNOWN
        if self.answer.status is RevocationStatus.REVOKED:
            return RevocationStatus.REVOKED
        if self.unknown_since is not None and now >= self.unknown_since + grace:
            return RevocationStatus.UNKNOWN
        return RevocationStatus.GOOD if now <= self.answer.next_update + grace else RevocationStatus.UNKNOWN


class RevocationDesk:
    """Asks, remembers, decides. One per process, used from the event loop; `close` when the process stops."""

    def __init__(self, settings: OcspSettings, poster: Poster, clock: Clock, executor: Executor, *,
                 crls: Callable[[], CrlSet], alarms: SourceAlarms) -> None:
        """crls: gives the CRLs in force, for the certificates of delegated responders."""
        self._settings = settings
        self._poster = poster
        self._clock = clock
        self._executor = executor
        self._crls = crls
        self._alarms = alarms
        self._held: dict[_Key, _Held] = {}
        self._responders: dict[str, _Pause] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def prepare(self, proven: Proven) -> Awaitable[None] | None:
        """Give None when `check` can answer now, else what to await before it; awaiting it never raises but cancellation."""
        now = self._clock.now()
        held = self._held.get((proven.issuer_id, proven.identity.serial)) or self._new(proven)
        if held.asked_at is not None and timedelta(0) <= (age := now - held.asked_at) < self._settings.refresh:
            if age * 2 >= self._settings.refresh:
                self._begin(held, proven, now)
            return None
        known_dead = self._begin(held, proven, now)
        serves = held.status(now, self._settings.grace)
        if held.asking is None or known_dead or serves is RevocationStatus.REVOKED or (
                serves is RevocationStatus.GOOD and held.pause.failures):
            return None
        return _join(held.asking)

    def check(self, proven: Proven) -> None:
        """Decide with what is known now. Raises PeerFault `PEER-REVOKED`, UnknownRevocation `PEER-OCSP-STALE`, which
        tells the rule `OCSP-…` of what went wrong."""
        held = self._held.get((proven.issuer_id, proven.identity.serial))
        status = RevocationStatus.UNKNOWN if held is None else held.status(self._clock.now(), self._settings.grace)
        if status is RevocationStatus.GOOD:
            return
        if status is RevocationStatus.REVOKED:
            raise PeerFault(f"Certificat revoque (numero de serie {proven.identity.serial:x}, reponse OCSP)", rule="PEER-REVOKED")
        fault = held.fault if held is not None and held.fault is not None else _fault(
            "OCSP-ABSENTE", "aucune reponse du repondeur a ce jour")
        raise UnknownRevocation(f"Etat de revocation inconnu, reessayez : {fault.public} ({fault.rule})", rule="PEER-OCSP-STALE",
                                detail=fault.detail)

    async def close(self) -> None:
        """Give up what is being asked."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ asking

    def _new(self, proven: Proven) -> _Held:
        while len(self._held) >= self._settings.max_answers:
            del self._held[next(iter(self._held))]
        held = self._held[proven.issuer_id, proven.identity.serial] = _Held()
        return held

    def _begin(self, held: _Held, proven: Proven, now: datetime) -> bool:
        """Ask unless that is under way or not due; tell whether the responder is known to be dead."""
        url = self._settings.urls.get(proven.identity.issuer_cn) or named_responder(proven.leaf, self._settings.allowed)
        if not url:
            held.fault = _fault("OCSP-ADRESSE", "aucun repondeur configure pour cette autorite")
            return True
        responder = self._responder(url)
        dead = responder.failures > 0
        if held.asking is None and held.pause.over(now) and responder.over(now) and len(self._tasks) < MAX_QUESTIONS:
            if dead:
                responder.until = now + timedelta(seconds=self._settings.seconds)  # one tries, for all
            held.asking = asyncio.get_running_loop().create_task(self._ask(held, proven, url))
            self._tasks.add(held.asking)
            held.asking.add_done_callback(self._tasks.discard)
        elif dead and held.fault is None:
            held.fault = responder.fault
        return dead

    def _responder(self, url: str) -> _Pause:
        if url not in self._responders and len(self._responders) >= MAX_RESPONDERS:
            self._responders.clear()
        return self._responders.setdefault(url, _Pause())

    async def _ask(self, held: _Held, proven: Proven, url: str) -> None:
        """Ask once and remember; a responder that did not speak is left alone for a while, a bad answer concerns one serial."""
        fault: MssFault
        silent, began = False, self._clock.now()
        try:
            async with asyncio.timeout(self._settings.seconds):
                answer = await self._exchange(proven, url)
            self._keep(held, answer)
            self._responders.pop(url, None)
            self._alarms.well(f"{ALARM} {url}", label=ALARM)
            return
        except TimeoutError:
            fault, silent = _fault("OCSP-DELAI", "le repondeur ne repond pas a temps"), True
        except OcspFault as exc:
            fault = exc
        except MssFault as exc:
            rule, text = _SOURCE_FAULTS.get(exc.rule, ("OCSP-HTTP", "le repondeur donne une erreur"))
            fault, silent = _fault(rule, text, exc.detail), True
        except Exception as exc:  # what is unforeseen is unknown, and told
            log.exception("ocsp_failed", kind=type(exc).__name__)
            fault = _fault("OCSP-INTERNE", "defaut de notre cote")
        finally:
            held.asking = None
        now = self._clock.now()
        held.fault = fault
        held.pause.failed(now, began)
        if silent:
            self._responder(url).failed(now, began)
            self._responder(url).fault = fault
        else:
            self._responders.pop(url, None)
        OCSP_QUESTIONS.labels("fault").inc()
        self._alarms.ring(f"{ALARM} {url}", JournalKind.OCSP_REFUSED, fault, label=ALARM)

    async def _exchange(self, proven: Proven, url: str) -> OcspAnswer:
        """Raises OcspFault, OperatorFault."""
        nonce = secrets.token_bytes(NONCE_OCTETS)
        question = build_question(proven.leaf, proven.issuer, nonce, self._settings.policy.digest)
        raw = await self._poster.post(url, question.der, content_type=REQUEST_TYPE, max_bytes=MAX_OCTETS)
        verify = partial(verify_answer, raw, question, crls=self._crls(), now=self._clock.now(), policy=self._settings.policy)
        return await asyncio.get_running_loop().run_in_executor(self._executor, verify)

    def _keep(self, held: _Held, answer: OcspAnswer) -> None:
        """Remember an answer that is believed. Raises OcspFault `OCSP-RECUL`."""
        now = self._clock.now()
        if answer.status is RevocationStatus.UNKNOWN:
            held.unknown_since = held.unknown_since or now
            held.fault = _fault("OCSP-INCONNU", "le repondeur ne connait pas ce certificat")
            held.pause.failed(now, now)  # it may learn soon: a pause, not the whole refresh time
        else:
            held.answer = admit_answer(answer, held.answer)
            held.asked_at, held.unknown_since, held.fault, held.pause = now, None, None, _Pause()
        OCSP_QUESTIONS.labels(answer.status.value).inc()


async def _join(task: asyncio.Task[None]) -> None:
    """Wait for a question that others wait for too: who leaves does not end it."""
    await asyncio.wait({task})


def _fault(rule: str, text: str, detail: str = "") -> OcspFault:
    return OcspFault(text, rule=rule, detail=detail)
