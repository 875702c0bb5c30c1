"""What a revocation check costs one session, by policy: nothing known, answer at hand, responder dead or silent.

    python bench/revocation_cost.py [--rounds 2000]

The real trust state, desk and HTTP client; the responder is the lab's, in this process, on 127.0.0.1 (so the CPU of the
question and of the answer are both in the figure). A round is what a new session does: `prepare`, await if need be,
`identify`. Prints medians in microseconds. The authority's key is RSA-4096, as the real one; the CRL has 5,000 entries.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.clock import SystemClock
from mssante.errors import PeerFault
from mssante.lab import igc
from mssante.lab.revocation import CrlIssue, answer_ocsp, build_crl
from mssante.services.revocation import OcspSettings, RevocationDesk
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.transport.http import HttpFetcher
from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.names import DnMode
from mssante.trust.ocsp import OcspPolicy, build_question, verify_answer
from mssante.trust.peer import PeerPolicy, prove

REVOKED = 5000
SILENT_SECONDS = 1.0


class NoAlarm:
    """An alarm that nobody hears."""

    def ring(self, *_: Any, **__: Any) -> None:
        """Take it."""

    def well(self, *_: Any, **__: Any) -> None:
        """Take it."""


@dataclass(slots=True)
class Site:
    """The responder, and what the figures are about."""

    authority: igc.Authority
    anchors: TrustAnchors
    leaf: bytes
    crls: CrlSet
    base: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one question."""
        body = answer_ocsp(await request.read(), (self.authority,), {}, now=datetime.now(UTC).replace(microsecond=0))
        return web.Response(body=body, content_type="application/ocsp-response")

    async def silent(self, request: web.Request) -> web.Response:
        """Never answer in time."""
        await asyncio.sleep(3 * SILENT_SECONDS)
        return web.Response(status=503)


def build_site() -> Site:
    """Make authority, leaf and CRL."""
    now = datetime.now(UTC).replace(microsecond=0)
    keys = igc.generate_keys({"root": 2048, "organisations": igc.CA_KEY_BITS, "personnes": 2048, "foreign": 2048, "leaf": 2048})
    at = igc.Publication("http://127.0.0.1:9", "http://127.0.0.1:9/")
    tree = igc.build_hierarchy(keys, at, now=now)
    order = igc.LeafOrder(igc.Offer.SERV_SSL, igc.Subject("mx.bench.test", "318751275100020", "BENCH"), keys["leaf"],
                          now - timedelta(days=1), now + timedelta(days=1))
    leaf = igc.issue_leaf(tree.organisations, order, at).public_bytes(Encoding.DER)
    anchors = load_anchors([igc.certificate_pem(tree.root.certificate, tree.organisations.certificate)], [igc.ORGANISATIONS_NAME])
    crl = build_crl(tree.organisations, dict.fromkeys(range(1, REVOKED + 1), now), CrlIssue(1, now, now + timedelta(days=1)))
    return Site(tree.organisations, anchors, leaf, CrlSet().admit(parse_any_crl(crl, anchors, now)))


@dataclass(slots=True)
class Bench:
    """One trust state against the site."""

    site: Site
    executor: ThreadPoolExecutor
    folder: Path

    def state(self, revocation: str, path: str = "/") -> TrustState:
        """Give a trust state that knows nothing yet. path: what it asks."""
        snapshot = TrustSnapshot(self.site.anchors, self.site.crls, PeerPolicy(revocation=revocation), DnMode.CN_OU,
                                 timedelta(days=1))
        state, clock = TrustState(snapshot, SystemClock()), SystemClock()
        url = path if path.startswith("http") else self.site.base + path
        settings = OcspSettings(urls={igc.ORGANISATIONS_NAME: url}, seconds=SILENT_SECONDS)
        state.ask_at(RevocationDesk(settings, HttpFetcher(self.folder / "none.pem", SILENT_SECONDS), clock, self.executor,
                                    crls=lambda: snapshot.crls, alarms=NoAlarm()))  # type: ignore[arg-type]
        return state

    async def session(self, state: TrustState) -> bool:
        """Do what a new session does; tell whether it was admitted."""
        waiting = state.prepare(self.site.leaf)
        if waiting is not None:
            await waiting
        try:
            state.identify(self.site.leaf)
        except PeerFault:
            return False
        return True


async def median(rounds: int, action: Callable[[], Awaitable[object]], before: Callable[[], object] = lambda: None) -> float:
    """Give the median of an action in microseconds; `before` is not counted."""
    found = []
    for _ in range(rounds):
        before()
        began = time.perf_counter()
        await action()
        found.append((time.perf_counter() - began) * 1e6)
    return statistics.median(found)


async def sessions(bench: Bench, rounds: int) -> None:
    """Print the cost of a session by policy and by what is known."""
    for policy in ("crl", "ocsp", "both"):
        state = bench.state(policy)
        if not await bench.session(state):
            raise SystemExit(f"{policy}: the certificate is not admitted")
        known = await median(rounds, lambda state=state: bench.session(state))  # type: ignore[misc]
        forgotten = await median(rounds, lambda state=state: bench.session(state),  # type: ignore[misc]
                                 lambda state=state: state.swap(state.snapshot))  # type: ignore[misc]
        print(f"{policy:5} certificate seen within a minute: {known:8.1f}   certificate to check anew: {forgotten:8.1f}", end="")
        if policy != "crl":
            states = [bench.state(policy) for _ in range(max(rounds // 10, 20))]
            asked = await median(len(states), lambda states=states: bench.session(states.pop()))  # type: ignore[misc]
            print(f"   OCSP to ask: {asked:8.1f}", end="")
        print(" µs")


async def unwell(bench: Bench, rounds: int) -> None:
    """Print what a responder that does not answer costs the first session, and the next ones."""
    for name, path in (("refuses the connection", "http://127.0.0.1:1/"), ("silent", "/silent")):
        state = bench.state("ocsp", path)
        began = time.perf_counter()
        await bench.session(state)
        first = time.perf_counter() - began
        after = await median(min(rounds, 500), lambda state=state: bench.session(state))  # type: ignore[misc]
        print(f"responder {name}: first session {first * 1000:8.1f} ms (limit {SILENT_SECONDS:.0f} s), next ones {after:8.1f} µs")


async def parts(bench: Bench, rounds: int) -> None:
    """Print the cost of the pure parts."""
    site = bench.site
    proven = prove(site.leaf, site.anchors, site.crls, datetime.now(UTC), PeerPolicy())
    question = build_question(proven.leaf, proven.issuer, bytes(32))
    now = datetime.now(UTC).replace(microsecond=0)
    raw = answer_ocsp(question.der, (site.authority,), {}, now=now)

    async def ask() -> None:
        build_question(proven.leaf, proven.issuer, bytes(32))

    async def verify() -> None:
        verify_answer(raw, question, crls=site.crls, now=now, policy=OcspPolicy())

    print(f"pure parts: question {await median(rounds, ask):.1f} µs, answer verified {await median(rounds, verify):.1f} µs "
          f"({len(question.der)} and {len(raw)} octets)")


async def run(rounds: int) -> None:
    """Measure."""
    site = build_site()
    application = web.Application()
    application.router.add_post("/", site.answer)
    application.router.add_post("/silent", site.silent)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    site.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    with ThreadPoolExecutor(2) as executor, tempfile.TemporaryDirectory() as folder:
        bench = Bench(site, executor, Path(folder))
        await sessions(bench, rounds)
        await unwell(bench, rounds)
        await parts(bench, rounds)
    await runner.cleanup()


def main() -> None:
    """Read the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
