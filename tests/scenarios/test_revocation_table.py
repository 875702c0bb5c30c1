"""The table of revocation (RELIABILITY figure 19): what each source of CRLs and OCSP answers may do, and what a peer is told.

The real `TrustKeeper`, `RevocationDesk`, `TrustState` and `HttpFetcher` against a real web server on 127.0.0.1 that lies, hangs
and floods. Each row twice: *cold*, nothing known before; *warm*, a good CRL or answer is in force when the source turns bad.
The table with verdicts and texts goes to `$MSSANTE_REPORT_DIR/revocation.md`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from support.clock import FakeClock
from support.lab import report
from support.ocspfiles import Answer, delegate, nonce_of
from support.pki import ORGANISATIONS_CN, build_igc, der, signed_whitelist

from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.reply import Refuse
from mssante.services.evidence import Evidence
from mssante.services.privacy import Pseudonyms
from mssante.services.revocation import OcspSettings, RevocationDesk
from mssante.services.trustalarms import SourceAlarms
from mssante.services.trustkeeper import KeeperSettings, TrustKeeper
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores
from mssante.transport.http import HttpFetcher
from mssante.trust.crl import CrlSet
from mssante.trust.decisions import ListPolicy
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
IGC = build_igc()
CA = (IGC.organisations.certificate, IGC.organisations.key)
SISTER = (IGC.personnes.certificate, IGC.personnes.key)
FOREIGN = (IGC.foreign.certificate, IGC.foreign.key)
LEAF, LEAF_KEY = IGC.leaf("mx.a.mssante.fr", serial=0x77)
OTHER, _ = IGC.leaf("mx.b.mssante.fr", serial=0x78)
TWIN, _ = IGC.leaf("mx.a.mssante.fr", issuer="personnes", serial=0x77)
HANG_SECONDS = 1.0
STEP = timedelta(minutes=16)  # past the refresh time of both
SCOPE = {"full_name": None, "relative_name": None, "only_contains_user_certs": False, "only_contains_ca_certs": False,
         "only_some_reasons": None, "indirect_crl": False, "only_contains_attribute_certs": False}
ELSEWHERE = [x509.UniformResourceIdentifier("http://igc.example.invalid/part-9.crl")]

ADMITTED, LATER, NEVER = "admis", "454", "554"


@dataclass(frozen=True, slots=True)
class Does:
    """What the source does: an answer's octets, or a status with headers, or no end at all."""

    body: bytes = b""
    status: int = 200
    location: str = ""
    hangs: bool = False
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """At what time, and with which request (OCSP)."""

    now: datetime
    nonce: bytes = b""

    @property
    def good(self) -> Answer:
        """A true answer to this question."""
        return Answer(LEAF, CA[0], CA, self.now, nonce=self.nonce)


Behaviour = Callable[[Asked], Does]


@dataclass(frozen=True, slots=True)
class Row:
    """One attack: expected verdict cold and warm, and the rule that the administrator reads."""

    policy: str
    name: str
    does: Behaviour
    cold: str
    warm: str
    rule: str = ""


def crl(**options: object) -> Behaviour:
    """A CRL published, two hours of life from the moment of asking unless told otherwise; its number grows with time."""
    def body(asked: Asked) -> Does:
        given = {"number": int(asked.now.timestamp()), "this_update": asked.now, "next_update": asked.now + 2 * HOUR} | options
        moved = {name: asked.now + value if isinstance(value, timedelta) else value for name, value in given.items()}
        return Does(IGC.crl(moved.pop("revoked", ()), **moved))  # type: ignore[arg-type]
    return body


def scope(**options: object) -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.IssuingDistributionPoint(**(SCOPE | options)), True)]  # type: ignore[arg-type]


def altered(asked: Asked) -> Does:
    raw = bytearray(crl(revoked=[0x1234567890])(asked).body)
    place = raw.find(b"\x12\x34\x56\x78\x90")
    raw[place] ^= 1
    return Does(bytes(raw))


def ocsp(**changes: object) -> Behaviour:
    return lambda asked: Does(asked.good.but(**changes).der())


def by(**options: object) -> Behaviour:
    """An answer of a delegated responder."""
    responder = delegate(IGC, **options)  # type: ignore[arg-type]
    return lambda asked: Does(asked.good.but(signer=responder, delegates=[responder[0]]).der())


def same(does: Does) -> Behaviour:
    return lambda _: does


REDIRECTS = [("redirige vers file://", Does(status=302, location="file:///etc/passwd")),
             ("redirige vers une adresse interne", Does(status=307, location="/internal"))]
CELLS = [  # the cells of figure 19
    Row("crl", "présente", crl(), ADMITTED, ADMITTED),
    Row("crl", "absente", same(Does(status=404)), LATER, ADMITTED, "HTTP-STATUS"),
    Row("crl", "expirée (ancienne rejouée)", crl(number=3, this_update=-9 * HOUR, next_update=-HOUR), LATER, ADMITTED, "CRL-"),
    Row("crl", "forgée (clé d'un autre)", crl(key=FOREIGN[1]), LATER, ADMITTED, "CRL-SIGNATURE"),
    Row("crl", "serveur muet", same(Does(hangs=True)), LATER, ADMITTED, "HTTP-UNREACHABLE"),
    Row("crl", "50 Mo et plus", same(Does(endless=True)), LATER, ADMITTED, "HTTP-SIZE"),
    Row("crl", "mauvaise portée (AC seulement)", crl(extra=scope(only_contains_ca_certs=True)), LATER, ADMITTED, "CRL-PORTEE"),
    *(Row("crl", name, same(does), LATER, ADMITTED, "HTTP-REDIRECT") for name, does in REDIRECTS),
    Row("ocsp", "présente", ocsp(), ADMITTED, ADMITTED),
    Row("ocsp", "absente", same(Does(status=404)), LATER, ADMITTED, "OCSP-HTTP"),
    Row("ocsp", "expirée", ocsp(at=NOW - 3 * HOUR), LATER, ADMITTED, "OCSP-PERIMEE"),
    Row("ocsp", "forgée (clé d'un autre)", ocsp(signer=(CA[0], FOREIGN[1])), LATER, ADMITTED, "OCSP-SIGNATURE"),
    Row("ocsp", "répondeur muet", same(Does(hangs=True)), LATER, ADMITTED, "OCSP-INJOIGNABLE"),
    Row("ocsp", "énorme", same(Does(endless=True)), LATER, ADMITTED, "OCSP-TAILLE"),
    Row("ocsp", "mauvaise portée (autre numéro de série)", ocsp(certificate=OTHER), LATER, ADMITTED, "OCSP-CERTID"),
    *(Row("ocsp", name, same(does), LATER, ADMITTED, "OCSP-REDIRECTION") for name, does in REDIRECTS),
]
FURTHER = [  # the other attacks that issue 4 names
    Row("crl", "révoqué", crl(revoked=[LEAF]), NEVER, NEVER),
    Row("crl", "révoqué, CRL périmée", crl(revoked=[LEAF], next_update=-MINUTE, this_update=-2 * MINUTE), NEVER, NEVER, "CRL-EXPIREE"),
    Row("crl", "plus récente mais déjà périmée", crl(this_update=-2 * MINUTE, next_update=-MINUTE), LATER, LATER, "CRL-EXPIREE"),
    Row("crl", "pas encore valable", crl(this_update=HOUR), LATER, ADMITTED, "CRL-DATE"),
    Row("crl", "d'une autre autorité", crl(issuer="personnes"), LATER, ADMITTED, "CRL-EMETTEUR"),
    Row("crl", "d'une autorité au nom voisin", crl(issuer="lookalike"), LATER, ADMITTED, "CRL-EMETTEUR"),
    Row("crl", "d'une autorité de même nom, autre clé", crl(issuer="foreign"), LATER, ADMITTED, "CRL-SIGNATURE"),
    Row("crl", "signée par la racine", crl(key=IGC.root.key), LATER, ADMITTED, "CRL-SIGNATURE"),
    Row("crl", "numéro plus ancien", crl(number=3, this_update=-HOUR), ADMITTED, ADMITTED, "CRL-RECUL"),
    Row("crl", "altérée", altered, LATER, ADMITTED, "CRL-SIGNATURE"),
    Row("crl", "partielle d'un autre point", crl(extra=scope(full_name=ELSEWHERE)), LATER, ADMITTED, ""),
    Row("crl", "delta", crl(extra=[(x509.DeltaCRLIndicator(1), True)]), LATER, ADMITTED, "CRL-PORTEE"),
    Row("crl", "indirecte", crl(extra=scope(indirect_crl=True)), LATER, ADMITTED, "CRL-PORTEE"),
    Row("crl", "page HTML", same(Does(b"<html>404</html>")), LATER, ADMITTED, "CRL-LECTURE"),
    Row("ocsp", "révoqué", ocsp(status="revoked"), NEVER, NEVER),
    Row("ocsp", "inconnu", ocsp(status="unknown"), LATER, LATER),
    Row("ocsp", "répondeur délégué correct", by(), ADMITTED, ADMITTED),
    Row("ocsp", "non signée (octets altérés)", ocsp(altered=True), LATER, ADMITTED, "OCSP-SIGNATURE"),
    Row("ocsp", "répondeur d'une autre autorité", by(issuer="personnes"), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "une autre autorité signe", ocsp(signer=SISTER, delegates=[SISTER[0]]), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "le certificat signe pour lui-même", ocsp(signer=(LEAF, LEAF_KEY), delegates=[LEAF]), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "délégué sans OCSPSigning", by(eku=("server",)), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "délégué expiré", by(not_after=NOW - MINUTE), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "délégué qui est une AC", by(ca=True), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "délégué révoqué ou inconnu, sans nocheck", by(no_check=False), LATER, ADMITTED, "OCSP-DELEGUE"),
    Row("ocsp", "même numéro, autre émetteur", ocsp(certificate=TWIN, issuer=SISTER[0]), LATER, ADMITTED, "OCSP-CERTID"),
    Row("ocsp", "même numéro, dit par l'autre émetteur", ocsp(certificate=TWIN, issuer=SISTER[0], signer=SISTER), LATER, ADMITTED,
        "OCSP-REPONDEUR"),
    Row("ocsp", "nonce d'une autre question", ocsp(nonce=b"x" * 32), LATER, ADMITTED, "OCSP-NONCE"),
    Row("ocsp", "rejouée, sans nonce", ocsp(nonce=None, at=NOW - 25 * HOUR, life=90 * HOUR), LATER, ADMITTED, "OCSP-PERIMEE"),
    Row("ocsp", "du futur", lambda asked: Does(asked.good.but(at=asked.now + HOUR).der()), LATER, ADMITTED, "OCSP-DATE"),
    Row("ocsp", "signature SHA-1", ocsp(algorithm="sha1_rsa"), LATER, ADMITTED, "OCSP-ALGORITHME"),
    Row("ocsp", "refus du répondeur (unauthorized)", same(Does(b"\x30\x03\x0a\x01\x06")), LATER, ADMITTED, "OCSP-STATUT"),
    Row("ocsp", "malformée", same(Does(b"\x30\x80" * 100)), LATER, ADMITTED, "OCSP-LECTURE"),
]


@dataclass(slots=True)
class Site:
    """The web server. crl, ocsp: what it does now; visits: paths that nobody should have followed."""

    clock: FakeClock
    does: dict[str, Behaviour] = field(default_factory=dict)
    visits: list[str] = field(default_factory=list)
    port: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.strip("/")
        if kind not in self.does:
            self.visits.append(request.path)
            return web.Response(body=b"")
        raw = await request.read()
        does = self.does[kind](Asked(self.clock.now(), nonce_of(raw) if kind == "ocsp" else b""))
        if does.hangs:
            await self.over.wait()
        if does.endless:
            return await self._flood(request)
        return web.Response(body=does.body, status=does.status, headers={"Location": does.location} if does.location else {})

    async def _flood(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(60):
                await response.write(b"\x30" * 1_000_000)
        except ConnectionError:
            pass
        return response

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Noted(Evidence):
    """The journal, which tells what it was given."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.noted: list[JournalEvent] = []

    def write(self, event: JournalEvent) -> None:
        self.noted.append(event)
        super().write(event)


class Trust:
    """One life of the trust services against the site."""

    def __init__(self, site: Site, stores: Stores, folder: Path, executor: ThreadPoolExecutor, policy: str, *,
                 seconds: float = 20.0) -> None:
        self.policy, self.site = policy, site
        self.waited = 0.0
        self._evidence = Noted(stores, site.clock, Pseudonyms(b"k" * 32, "patient.mssante.fr"))
        snapshot = TrustSnapshot(IGC.anchors, CrlSet(), PeerPolicy(revocation=policy), DnMode.CN_OU, timedelta(days=3))
        self.state = TrustState(snapshot, site.clock)
        settings = KeeperSettings(f"{site.base}/list", folder / "list", 1 << 20, 3600.0, (f"{site.base}/crl",), folder / "crl",
                                  50_000_000, 900.0, IGC.signer_policy(), ListPolicy())
        fetcher = HttpFetcher(folder / "no-anchors.pem", seconds)
        self.keeper = TrustKeeper(self.state, stores, self._evidence, site.clock, executor, fetcher, settings)
        self.desk = RevocationDesk(
            OcspSettings(urls={ORGANISATIONS_CN: f"{site.base}/ocsp"}, seconds=seconds + 1),
            fetcher, site.clock, executor,
            crls=lambda: self.state.snapshot.crls, alarms=SourceAlarms(self._evidence))
        self.state.ask_at(self.desk)

    async def start(self) -> None:
        await self.keeper.adopt_list(signed_whitelist([("a.mssante.fr", LEAF)], NOW - HOUR))

    async def verdict(self) -> tuple[str, str]:
        """Refresh what the policy reads, then decide as a new session does; give the verdict and the text shown."""
        if self.policy != "ocsp":
            await self.keeper.refresh_crls()
        began = time.monotonic()
        waiting = self.state.prepare(der(LEAF))
        if waiting is not None:
            await waiting
        admitted = self.state.admit(der(LEAF))
        self.waited = time.monotonic() - began
        if isinstance(admitted, Refuse):
            assert admitted.reply.text.isascii()
            return str(admitted.reply.code), admitted.reply.text
        return ADMITTED, ""

    async def told(self) -> str:
        """Give the last rule that the administrator was told by the journal."""
        await self._evidence.flush()
        refused = [event for event in self._evidence.noted if event.kind in (JournalKind.CRL_REFUSED, JournalKind.OCSP_REFUSED)]
        return str(refused[-1].payload["rule"]) if refused else ""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(FakeClock(NOW))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    made.port = listener._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield made
    made.over.set()
    await runner.cleanup()


async def play(row: Row, site: Site, stage: tuple[Stores, Path, ThreadPoolExecutor], *, warm: bool,
               ) -> tuple[str, str, str, float]:
    """Give verdict, text, the administrator's rule and how long the session waited."""
    site.clock.set(NOW)
    trust = Trust(site, *stage, row.policy, seconds=HANG_SECONDS if row.name.endswith("muet") else 20.0)
    try:
        await trust.start()
        site.does = {"crl": crl(), "ocsp": ocsp()}
        if warm:
            assert await trust.verdict() == (ADMITTED, "")
            site.clock.advance(STEP)
        site.does = {"crl": row.does, "ocsp": row.does}
        verdict, text = await trust.verdict()
        return verdict, text, await trust.told(), trust.waited
    finally:
        await trust.desk.close()


async def test_every_cell_has_its_outcome(site: Site, tmp_path: Path) -> None:
    lines = ["| source | attaque | à froid | à chaud | règle notée | texte montré au pair (à froid) |", "|---|---|---|---|---|---|"]
    wrong, slowest = [], 0.0
    stores = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs")
    with ThreadPoolExecutor(2) as executor:
        for number, row in enumerate([*CELLS, *FURTHER]):
            found = []
            for warm in (False, True):
                found.append(await play(row, site, (stores, tmp_path / f"{number}{warm}", executor), warm=warm))
            (cold, text, rule, took), (warmed, _, rule_warm, took_warm) = found
            rule = rule or rule_warm
            slowest = max(slowest, took, took_warm)
            lines.append(f"| {row.policy.upper()} | {row.name} | {cold} | {warmed} | {rule or '-'} | {text or '-'} |")
            if (cold, warmed) != (row.cold, row.warm) or not rule.startswith(row.rule) or (not row.rule and rule):
                wrong.append((row.policy, row.name, cold, warmed, rule))
    stores.close()
    lines.append(f"\n{len(CELLS) * 2} cases de la figure 19 et {len(FURTHER) * 2} autres ; inattendues : {len(wrong)} ; "
                 f"attente la plus longue d'une session : {slowest:.2f} s, pour une limite de {HANG_SECONDS:.0f} s.")
    report("revocation.md", "\n".join(lines))
    assert wrong == []
    assert site.visits == [], "no redirect was followed"


# ---------------------------------------------------------------- both


BOTH = [  # (CRL, OCSP, verdict): the decision table of services.revocation
    ("good", "good", ADMITTED), ("revoked", "good", NEVER), ("revoked", "unknown", NEVER), ("good", "revoked", NEVER),
    ("unknown", "revoked", LATER), ("unknown", "good", LATER), ("good", "unknown", LATER), ("unknown", "unknown", LATER)]
SAYS_CRL: dict[str, Behaviour] = {"good": crl(), "revoked": crl(revoked=[LEAF]), "unknown": same(Does(status=404))}
SAYS_OCSP: dict[str, Behaviour] = {"good": ocsp(), "revoked": ocsp(status="revoked"), "unknown": same(Does(status=503))}


@pytest.mark.parametrize(("by_crl", "by_ocsp", "expected"), BOTH)
async def test_both(site: Site, tmp_path: Path, by_crl: str, by_ocsp: str, expected: str) -> None:
    await _decide(site, tmp_path, "both", (by_crl, by_ocsp, expected))


@pytest.mark.parametrize(("by_crl", "by_ocsp", "expected"), [
    ("unknown", "good", ADMITTED), ("revoked", "good", NEVER), ("good", "unknown", LATER), ("good", "revoked", NEVER)])
async def test_ocsp_alone_still_believes_a_crl_that_revokes(site: Site, tmp_path: Path, by_crl: str, by_ocsp: str,
                                                            expected: str) -> None:
    await _decide(site, tmp_path, "ocsp", (by_crl, by_ocsp, expected))


async def _decide(site: Site, folder: Path, policy: str, case: tuple[str, str, str]) -> None:
    with ThreadPoolExecutor(2) as executor:
        stores = open_stores(f"sqlite:///{folder}/store.db", folder / "blobs")
        trust = Trust(site, stores, folder, executor, policy)
        await trust.start()
        site.does = {"crl": SAYS_CRL[case[0]], "ocsp": SAYS_OCSP[case[1]]}
        await trust.keeper.refresh_crls()
        assert (await trust.verdict())[0] == case[2]
        await trust.desk.close()
        stores.close()


async def test_without_a_desk_the_policies_with_ocsp_admit_nobody(site: Site) -> None:
    snapshot = TrustSnapshot(IGC.anchors, IGC.crl_set(), PeerPolicy(), DnMode.CN_OU, timedelta(days=3))
    for policy in ("ocsp", "both"):
        state = TrustState(replace(snapshot, peer_policy=PeerPolicy(revocation=policy)), site.clock)
        assert state.prepare(der(LEAF)) is None
        refused = state.admit(der(LEAF))
        assert isinstance(refused, Refuse) and (refused.reply.code, refused.rule) == (454, "PEER-OCSP-STALE")
