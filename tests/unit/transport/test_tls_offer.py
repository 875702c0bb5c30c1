"""Sessions that we open: resumed with the peer judged again, never across pairs, never trusted for being resumed."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.smtp_receiver import Identity, Receiver, make_identity
from support.tls_memory import shake

from mssante.errors import PeerFault
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.outcome import Deferred, Delivered
from mssante.observability.metrics import REGISTRY
from mssante.protocol.smtp.replies import SmtpFault
from mssante.services.ports import RelayBatch
from mssante.transport.operators import OperatorPool, PoolSettings
from mssante.transport.smtp_connection import Endpoint, SmtpSession, SmtpTimeouts, open_session
from mssante.transport.tls_offer import MAX_SESSIONS, Offer, OutboundTls, outbound_tls

QUICK = SmtpTimeouts(connect=5, handshake=5, greeting=5, command=5, block=5, final=5, quit=1, transaction=10)


def batch(domain: str = "beta.test") -> RelayBatch:
    return RelayBatch(destination=domain, sender=MailAddress("claire", "alpha.test"), recipients=(Recipient(MailAddress("one", domain)),),
                      body=(b"Subject: s\r\n\r\nx\r\n",), size=20, trace_id="01T")


class Space:
    """alpha with two pairs, beta's receiver, and the trust of the test. One letter a session: each letter shakes hands."""

    def __init__(self, folder: Path, receiver: Receiver, pairs: list[Identity]) -> None:
        self.receiver = receiver
        self.contexts = [outbound_tls(one.certificate, one.key) for one in pairs]
        self.tls = OutboundTls(self.contexts[0])
        self.judged = 0
        self.refuses = False
        self.pools: list[OperatorPool] = []

    def pool(self, messages: int = 1) -> OperatorPool:
        routes = {name: Endpoint("127.0.0.1", self.receiver.port, "mx.beta.test") for name in ("beta.test", "gamma.test")}
        settings = PoolSettings("mx.alpha.test", routes=routes, timeouts=QUICK, messages_per_session=messages)
        self.pools.append(OperatorPool(settings, tls=self.tls, resolver=None, verify_peer=self.verify))  # type: ignore[arg-type]
        return self.pools[-1]

    def verify(self, leaf: bytes, domain: str) -> None:
        self.judged += 1
        assert leaf, "a resumed session shows the leaf of the first one"
        if self.refuses:
            raise PeerFault("revoked", rule="PEER-REVOKED")


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    folder = tmp_path_factory.mktemp("identities")
    return [make_identity(folder, name) for name in ("mx.beta.test", "mx.alpha.test", "mx.alpha2.test")]


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def space(identities: list[Identity], tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Space]:
    async with Receiver(identities[0], identities[1]) as receiver:
        receiver.context.maximum_version = request.param
        receiver.context.load_verify_locations(identities[2].certificate)
        made = Space(tmp_path, receiver, identities[1:])
        yield made
        for pool in made.pools:
            await pool.close()


def counts() -> list[float]:
    return [REGISTRY.get_sample_value("mssante_tls_sessions_total", {"side": "out", "kind": kind}) or 0.0 for kind in ("full", "resumed")]


async def kinds(space: Space, pool: OperatorPool, *domains: str) -> list[str]:
    """Deliver one letter to each domain in turn; give how each handshake was done."""
    found = []
    for domain in domains:
        before = counts()
        result = await pool.deliver(batch(domain))
        assert isinstance(result.outcomes[0], Delivered), result.outcomes
        full, resumed = (now - then for now, then in zip(counts(), before, strict=True))
        found.append({(1, 0): "full", (0, 1): "resumed"}[(full, resumed)])
    return found


async def test_the_second_session_is_resumed_and_judged(space: Space) -> None:
    assert await kinds(space, space.pool(), "beta.test", "beta.test", "beta.test") == ["full", "resumed", "resumed"]
    assert space.judged == 3
    assert space.receiver.leaves[0] and len(set(space.receiver.leaves)) == 1, "our identity is kept too"


async def test_each_domain_has_its_own_sessions(space: Space) -> None:
    assert await kinds(space, space.pool(), "beta.test", "gamma.test", "beta.test", "gamma.test") == ["full", "full", "resumed", "resumed"]


async def test_a_peer_refused_on_resumption_is_refused_and_forgotten(space: Space) -> None:
    pool = space.pool()
    await kinds(space, pool, "beta.test")
    space.refuses = True
    outcome = (await pool.deliver(batch())).outcomes[0]
    assert isinstance(outcome, Deferred) and outcome.rule == "PEER-REVOKED"
    assert [line[:4] for line in space.receiver.sealed].count("EHLO") == 1, "nothing was said to it"
    space.refuses = False
    assert await kinds(space, pool, "beta.test") == ["full"]


async def test_another_pair_is_shown_at_once_and_resumes_nothing(space: Space) -> None:
    pool = space.pool(messages=100)
    await pool.deliver(batch())
    await pool.deliver(batch())
    assert space.receiver.sessions == 1, "a session rests between two letters"
    space.tls.put(space.contexts[1])
    assert await kinds(space, pool, "beta.test") == ["full"]
    assert space.receiver.sessions == 2 and len(set(space.receiver.leaves)) == 2


async def test_a_trial_concerns_its_domains_alone(space: Space) -> None:
    pool = space.pool()
    space.tls.put(space.contexts[0], space.contexts[1], frozenset({"gamma.test"}))
    await kinds(space, pool, "beta.test", "gamma.test", "beta.test", "gamma.test")
    first, second = space.receiver.leaves[:2]
    assert space.receiver.leaves == [first, second, first, second] and first != second


async def test_a_session_that_breaks_the_handshake_is_tried_once_without(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = space.pool()
    await kinds(space, pool, "beta.test")
    tried = []

    async def fragile(endpoint: Endpoint, *, tls: Offer, **others: object) -> SmtpSession:
        tried.append(tls.session is not None)
        if tls.session is not None:
            raise SmtpFault("TLS handshake failed", rule="SMTP-TLS-HANDSHAKE")
        return await open_session(endpoint, tls=tls, **others)  # type: ignore[arg-type]

    monkeypatch.setattr("mssante.transport.operators.open_session", fragile)
    assert await kinds(space, pool, "beta.test") == ["full"] and tried == [True, False]
    assert space.receiver.sessions == 2


def test_sessions_are_bounded(identities: list[Identity]) -> None:
    context = outbound_tls(identities[1].certificate, identities[1].key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identities[0].certificate, identities[0].key)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = OutboundTls(context)
    done = shake(server, context).client
    for rank in range(MAX_SESSIONS + 10):
        handshake = tls.begin(f"mx{rank}", "beta.test")
        tls.keep(handshake, done)
        tls.done(handshake)
    assert not tls.begin("mx0", "beta.test").resuming and tls.begin(f"mx{MAX_SESSIONS + 9}", "beta.test").resuming


def test_no_session_is_kept_when_none_is_wanted(identities: list[Identity]) -> None:
    context = outbound_tls(identities[1].certificate, identities[1].key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identities[0].certificate, identities[0].key)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = OutboundTls(context, resumes=False)
    tls.keep(tls.begin("mx", "beta.test"), shake(server, context).client)
    assert not tls.begin("mx", "beta.test").resuming
