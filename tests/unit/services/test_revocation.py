"""The desk that asks OCSP responders: what it remembers, whom it lets wait, and what serves when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from support.clock import FakeClock
from support.ocspfiles import Answer, nonce_of
from support.pki import ORGANISATIONS_CN, PERSONNES_CN, build_igc, der

from mssante.errors import MssFault, OperatorFault, PeerFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import REGISTRY
from mssante.services.revocation import OcspSettings, RevocationDesk
from mssante.services.trustalarms import SourceAlarms
from mssante.trust.anchors import load_anchors
from mssante.trust.ocsp import OcspPolicy
from mssante.trust.peer import PeerPolicy, Proven, prove

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
IGC = build_igc()
CRLS = IGC.crl_set()
URL = "http://ocsp.test/"
BOTH = load_anchors([IGC.anchors_pem], (ORGANISATIONS_CN, PERSONNES_CN))
SOURCE = OperatorFault("source could not be reached", rule="HTTP-UNREACHABLE")


def proven(cn: str = "mx.a.mssante.fr", *, issuer: str = "organisations", **options: object) -> Proven:
    leaf, _ = IGC.leaf(cn, issuer=issuer, **options)  # type: ignore[arg-type]
    return prove(der(leaf), BOTH, CRLS, NOW, PeerPolicy(revocation="ocsp"))


A = proven(serial=0x77)


def _name_hash(issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(issuer.subject.public_bytes())
    return digest.finalize()


@dataclass(slots=True)
class Responder:
    """A responder that tests command. say: makes the answer to a request about `certificate`; gate: answers wait for it."""

    clock: FakeClock
    known: dict[bytes, Proven] = field(default_factory=dict)
    say: Callable[[Answer], bytes | MssFault] = lambda answer: answer.der()
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def post(self, url: str, body: bytes, *, content_type: str, max_bytes: int) -> bytes:
        assert (content_type, max_bytes) == ("application/ocsp-request", 65536)
        self.asked.append(url)
        await self.gate.wait()
        request = ocsp.load_der_ocsp_request(body)
        about = next(one for one in self.known.values() if one.identity.serial == request.serial_number
                     and request.issuer_name_hash == _name_hash(one.issuer, request.hash_algorithm))
        key = IGC.organisations.key if about.issuer == IGC.organisations.certificate else IGC.personnes.key
        found = self.say(Answer(about.leaf, about.issuer, (about.issuer, key), self.clock.now(), nonce=nonce_of(body)))
        if isinstance(found, MssFault):
            raise found
        return found


class NoEvidence:
    """Takes the journal's events."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def event(self, *facts: Any) -> tuple[Any, ...]:
        return facts

    def write(self, event: tuple[Any, ...]) -> None:
        self.events.append(event)


class Stage:
    """A desk, its responder and a clock by hand."""

    def __init__(self, executor: ThreadPoolExecutor, **settings: Any) -> None:
        self.clock = FakeClock(NOW)
        self.responder = Responder(self.clock)
        self.evidence = NoEvidence()
        given = {"urls": {ORGANISATIONS_CN: URL, PERSONNES_CN: URL}, "seconds": 5.0} | settings
        self.desk = RevocationDesk(OcspSettings(**given), self.responder, self.clock, executor, crls=lambda: CRLS,
                                   alarms=SourceAlarms(self.evidence))  # type: ignore[arg-type]

    def waits(self, about: Proven = A) -> Any:
        self.responder.known[about.leaf.fingerprint(hashes.SHA256())] = about
        return self.desk.prepare(about)

    async def told(self, about: Proven = A) -> str:
        """Ask as a session does; give "" when the certificate passes, else the rule that stands in the text."""
        waiting = self.waits(about)
        if waiting is not None:
            await waiting
        return self.now(about)

    def now(self, about: Proven = A) -> str:
        try:
            self.desk.check(about)
        except PeerFault as fault:
            assert fault.public.isascii() and len(fault.public) < 300
            assert fault.temporary is (fault.rule == "PEER-OCSP-STALE")
            return fault.public.rpartition("(")[2].rstrip(")") if fault.temporary else fault.rule
        return ""

    async def settle(self) -> None:
        """Let what is asked behind the sessions' back come to its end."""
        while self.desk._tasks:
            await asyncio.wait(set(self.desk._tasks))


@pytest.fixture
def executor() -> Any:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def stage(executor: ThreadPoolExecutor) -> Stage:
    return Stage(executor)


async def test_an_answer_is_asked_once_and_remembered(stage: Stage) -> None:
    assert stage.now() == "OCSP-ABSENTE", "nothing is known before the question"
    assert await stage.told() == ""
    assert stage.waits() is None and stage.now() == "" and len(stage.responder.asked) == 1
    assert stage.responder.asked == [URL] and stage.evidence.events == []


async def test_the_cache_is_keyed_by_issuer_and_serial(stage: Stage) -> None:
    """The same serial under two authorities: one revoked, the other not."""
    other = proven(issuer="personnes", serial=0x77)
    stage.responder.say = lambda one: one.but(status="revoked" if one.issuer == IGC.personnes.certificate else "good").der()
    assert (await stage.told(A), await stage.told(other)) == ("", "PEER-REVOKED")
    assert (stage.now(A), stage.now(other), len(stage.responder.asked)) == ("", "PEER-REVOKED", 2)
    assert await stage.told(proven(serial=0x78)) == "" and len(stage.responder.asked) == 3


async def test_many_sessions_of_one_peer_ask_one_question(stage: Stage) -> None:
    stage.responder.gate.clear()
    waiting = [asyncio.ensure_future(stage.told()) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # the first leaves: the question goes on for the others
    await asyncio.sleep(0)
    stage.responder.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[1:] == [""] * 19 and isinstance(results[0], asyncio.CancelledError) and len(stage.responder.asked) == 1


async def test_an_answer_is_asked_anew_behind_the_back_then_before_it_is_too_old(stage: Stage) -> None:
    await stage.told()
    stage.clock.advance(7 * MINUTE)
    assert stage.waits() is None and len(stage.responder.asked) == 1
    stage.clock.advance(MINUTE)
    assert stage.waits() is None, "older than half: asked, but nobody waits"
    await stage.settle()
    assert len(stage.responder.asked) == 2
    stage.clock.advance(15 * MINUTE)
    assert await stage.told() == "" and len(stage.responder.asked) == 3, "due: the session waits"


async def test_a_revocation_takes_effect_within_the_refresh_time_and_ends_with_a_newer_answer_only(stage: Stage) -> None:
    assert await stage.told() == ""
    old = NOW
    stage.responder.say = lambda one: one.but(status="revoked").der()
    stage.clock.advance(15 * MINUTE)
    assert await stage.told() == "PEER-REVOKED"
    for lie in (lambda one: one.but(at=old, nonce=None).der(), lambda one: one.but(at=old + MINUTE, nonce=None).der(), lambda _: SOURCE):
        stage.responder.say = lie
        stage.clock.advance(16 * MINUTE)
        assert stage.waits() is None, "nobody waits for news of a revoked certificate"
        await stage.settle()
        assert stage.now() == "PEER-REVOKED", "neither a replay nor silence takes it back"
    stage.clock.advance(400 * HOUR)
    assert await stage.told() == "PEER-REVOKED"
    await stage.settle()
    stage.responder.say = lambda one: one.der()
    stage.clock.advance(16 * MINUTE)
    stage.waits()
    await stage.settle()
    assert stage.now() == ""


async def test_the_last_good_answer_serves_until_it_ends_while_the_responder_is_dead(stage: Stage) -> None:
    await stage.told()
    stage.responder.say = lambda _: SOURCE
    stage.clock.advance(20 * MINUTE)
    assert await stage.told() == "", "one session waited, in vain"
    stage.clock.advance(10 * MINUTE)
    assert stage.waits() is None and stage.now() == "", "nobody waits any more"
    await stage.settle()
    stage.clock.advance(30 * MINUTE)
    assert await stage.told() == ""
    stage.clock.advance(MINUTE)
    assert await stage.told() == "OCSP-INJOIGNABLE"


async def test_grace_lengthens_the_last_good_answer_and_no_more(executor: ThreadPoolExecutor) -> None:
    stage = Stage(executor, grace=30 * MINUTE)
    await stage.told()
    stage.responder.say = lambda _: SOURCE
    stage.clock.advance(90 * MINUTE)
    assert await stage.told() == ""
    stage.clock.advance(MINUTE)
    assert await stage.told() == "OCSP-INJOIGNABLE"
    assert await stage.told(proven(serial=0x99)) == "OCSP-INJOIGNABLE", "no grace for one never seen"


@pytest.mark.parametrize(("grace", "first", "later"), [(timedelta(0), "OCSP-INCONNU", "OCSP-INCONNU"), (30 * MINUTE, "", "")])
async def test_unknown_ends_the_last_good_answer_after_the_grace(executor: ThreadPoolExecutor, grace: timedelta, first: str,
                                                                 later: str) -> None:
    stage = Stage(executor, grace=grace)
    assert await stage.told() == ""
    stage.responder.say = lambda one: one.but(status="unknown").der()
    stage.clock.advance(15 * MINUTE)
    assert await stage.told() == first, "at the very moment it is said"
    stage.clock.advance(MINUTE)
    assert await stage.told() == later
    stage.clock.advance(30 * MINUTE)
    assert await stage.told() == "OCSP-INCONNU"
    stage.responder.say = lambda one: one.der()
    stage.clock.advance(5 * MINUTE)
    assert await stage.told() == "", "it learnt"


async def test_nobody_waits_for_a_dead_responder_and_it_is_tried_less_and_less(stage: Stage) -> None:
    stage.responder.say = lambda _: SOURCE
    assert await stage.told(proven(serial=1000)) == "OCSP-INJOIGNABLE"
    tried = []
    for second in range(1, 3600):
        stage.clock.advance(timedelta(seconds=1))
        before = len(stage.responder.asked)
        assert stage.waits(proven(serial=1000)) is None
        await stage.settle()
        if len(stage.responder.asked) > before:
            tried.append(second)
    pauses = [later - earlier for earlier, later in zip([0, *tried], tried, strict=False)]
    assert pauses[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 300] and set(pauses[8:]) == {300}
    assert stage.waits(proven(serial=1001)) is None and stage.now(proven(serial=1001)) == "OCSP-INJOIGNABLE", "others neither"
    stage.responder.say = lambda one: one.der()
    stage.clock.advance(5 * MINUTE)
    assert stage.waits(proven(serial=1000)) is None
    await stage.settle()
    assert stage.now(proven(serial=1000)) == ""
    assert await stage.told(proven(serial=1001)) == "", "alive again: the next waits for its answer"


async def test_a_burst_of_sessions_at_the_moment_of_death_counts_as_one_failure(stage: Stage) -> None:
    stage.responder.say = lambda _: SOURCE
    await asyncio.gather(*(stage.told(proven(serial=2000 + number)) for number in range(30)))
    stage.clock.advance(timedelta(seconds=2))
    before = len(stage.responder.asked)
    for number in range(30):
        stage.waits(proven(serial=2000 + number))
    await stage.settle()
    assert len(stage.responder.asked) == before + 1, "after the first pause, one tries for all"


async def test_a_responder_that_hangs_is_left_after_the_time_limit(executor: ThreadPoolExecutor) -> None:
    stage = Stage(executor, seconds=0.05)
    stage.responder.gate.clear()
    assert await stage.told() == "OCSP-DELAI"
    assert stage.waits() is None


async def test_questions_at_once_are_bounded(stage: Stage) -> None:
    stage.responder.gate.clear()
    waiting = [stage.waits(proven(serial=3000 + number)) for number in range(110)]
    assert [one is None for one in waiting] == [False] * 100 + [True] * 10
    stage.responder.gate.set()
    for one in waiting:
        if one is not None:
            await one
    assert stage.now(proven(serial=3000)) == "" and stage.now(proven(serial=3105)) == "OCSP-ABSENTE"


async def test_the_cache_is_bounded(executor: ThreadPoolExecutor) -> None:
    stage = Stage(executor, max_answers=3)
    for serial in range(4000, 4005):
        assert await stage.told(proven(serial=serial)) == ""
    assert [stage.now(proven(serial=serial)) for serial in range(4000, 4005)] == ["OCSP-ABSENTE"] * 2 + [""] * 3


async def test_a_bad_answer_concerns_one_certificate_and_rings_once(stage: Stage) -> None:
    bad = proven(serial=0x666)
    stage.responder.say = lambda one: one.but(altered=one.certificate.serial_number == 0x666).der()
    for _ in range(5):
        assert await stage.told(bad) == "OCSP-SIGNATURE"
        stage.clock.advance(10 * MINUTE)
    kinds = [(event[0], event[2]["rule"]) for event in stage.evidence.events]
    assert kinds == [(JournalKind.OCSP_REFUSED, "OCSP-SIGNATURE")]
    assert REGISTRY.get_sample_value("mssante_trust_alarm", {"source": "ocsp"}) == 1
    assert await stage.told() == "" and REGISTRY.get_sample_value("mssante_trust_alarm", {"source": "ocsp"}) == 0


@pytest.mark.parametrize(("fault", "rule"), [
    (SOURCE, "OCSP-INJOIGNABLE"), (OperatorFault("x", rule="HTTP-SIZE"), "OCSP-TAILLE"), (OperatorFault("x", rule="HTTP-STATUS"), "OCSP-HTTP"),
    (OperatorFault("x", rule="HTTP-REDIRECT"), "OCSP-REDIRECTION")])
async def test_what_the_source_did_is_told(stage: Stage, fault: MssFault, rule: str) -> None:
    stage.responder.say = lambda _: fault
    assert await stage.told() == rule


async def test_a_fault_of_ours_is_unknown_not_a_crash(stage: Stage) -> None:
    def broken(one: Answer) -> bytes:
        raise RuntimeError("unforeseen")

    stage.responder.say = broken
    assert await stage.told() == "OCSP-INTERNE"


async def test_the_address_is_ours_then_one_that_we_allow(executor: ThreadPoolExecutor) -> None:
    access = x509.AuthorityInformationAccess([x509.AccessDescription(
        x509.oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://named.test/x"))])
    named = proven(serial=0x80, extra=[(access, False)])
    ours, allowed, neither = (Stage(executor, **settings) for settings in (
        {"allowed": frozenset({"http://named.test:80"})},
        {"urls": {}, "allowed": frozenset({"http://named.test:80"})},
        {"urls": {"AC IGC-SANTE": URL}, "allowed": frozenset({"http://other.test:80"})}))  # a part of a name is no name
    assert (await ours.told(named), ours.responder.asked) == ("", [URL])
    assert (await allowed.told(named), allowed.responder.asked) == ("", ["http://named.test/x"])
    assert (await neither.told(named), neither.responder.asked) == ("OCSP-ADRESSE", [])
    assert await allowed.told(A) == "OCSP-ADRESSE"


async def test_the_policy_of_answers_is_obeyed(executor: ThreadPoolExecutor) -> None:
    stage = Stage(executor, policy=OcspPolicy(digest="sha256", nonce_required=True))
    stage.responder.say = lambda one: one.but(digest="sha256", nonce=None).der()
    assert await stage.told(A) == "OCSP-NONCE"
    stage.responder.say = lambda one: one.but(digest="sha256").der()
    assert await stage.told(proven(serial=0x81)) == ""
    stage.responder.say = lambda one: one.der()
    assert await stage.told(proven(serial=0x82)) == "OCSP-CERTID"


async def test_a_clock_set_back_asks_anew(stage: Stage) -> None:
    await stage.told()
    stage.clock.set(NOW - 30 * HOUR)
    waiting = stage.waits()
    assert waiting is not None
    await waiting


async def test_closing_gives_up_what_is_asked(stage: Stage) -> None:
    stage.responder.gate.clear()
    waiting = asyncio.ensure_future(stage.told())
    await asyncio.sleep(0)
    await stage.desk.close()
    assert await waiting == "OCSP-ABSENTE" and not stage.desk._tasks
