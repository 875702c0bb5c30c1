"""The pool: routes, peer checks, outcomes, reuse, limits; against real loopback receivers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
from support.smtp_receiver import Identity, Receiver, make_identity

from mssante.errors import PeerFault
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.services.ports import Body, Mailer, RelayBatch, Target
from mssante.transport.operators import OperatorPool, PoolSettings, is_public
from mssante.transport.smtp_connection import Endpoint, SmtpTimeouts
from mssante.transport.tls_offer import OutboundTls, outbound_tls

QUICK = SmtpTimeouts(connect=5, handshake=5, greeting=5, command=5, block=5, final=5, quit=1, transaction=10)
SECRET = b"Subject: s\r\n\r\nresultat-secret\r\n"


class Names:
    """A resolver from tables."""

    def __init__(self) -> None:
        self.targets: dict[str, tuple[Target, ...] | Deferred | Refused] = {}
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.asked: list[str] = []

    async def mail_targets(self, domain: str) -> tuple[Target, ...] | Deferred | Refused:
        self.asked.append(domain)
        return self.targets[domain]

    async def addresses(self, host: str) -> tuple[str, ...] | Deferred | Refused:
        return self.hosts.get(host) or Refused("512 5.1.2 no address", status="5.1.2", rule="DNS-NO-ADDRESS")


class Space:
    """alpha's pool, beta's receiver, and what verify_peer was asked."""

    def __init__(self, alpha: Identity, beta: Identity) -> None:
        self.alpha = alpha
        self.beta = beta
        self.names = Names()
        self.verified: list[str] = []
        self.pools: list[OperatorPool] = []

    def verify(self, leaf: bytes, domain: str) -> None:
        self.verified.append(domain)
        if leaf != self.beta.der or domain != "beta.test":
            raise PeerFault("certificate is not the operator's", rule="TRUST-DN")

    def tls(self) -> OutboundTls:
        return OutboundTls(outbound_tls(self.alpha.certificate, self.alpha.key))

    def pool(self, receiver: Receiver | None = None, **options: object) -> OperatorPool:
        routes = {"beta.test": Endpoint("127.0.0.1", receiver.port)} if receiver else {}
        settings = PoolSettings("mx.alpha.test", **{"routes": routes, "timeouts": QUICK, **options})  # type: ignore[arg-type]
        pool = OperatorPool(settings, tls=self.tls(), resolver=self.names, verify_peer=self.verify)  # type: ignore[arg-type]
        self.pools.append(pool)
        return pool


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Identity]:
    folder = tmp_path_factory.mktemp("identities")
    return make_identity(folder, "mx.alpha.test"), make_identity(folder, "mx.beta.test")


@pytest.fixture
async def space(identities: tuple[Identity, Identity]) -> AsyncIterator[Space]:
    found = Space(*identities)
    yield found
    for pool in found.pools:
        await pool.close()


@pytest.fixture
async def receiver(identities: tuple[Identity, Identity]) -> AsyncIterator[Receiver]:
    async with Receiver(identities[1], identities[0]) as found:
        yield found


def batch(*names: str, domain: str = "beta.test", body: Body = (SECRET,), **options: object) -> RelayBatch:
    boxes = tuple(Recipient(MailAddress(name, domain)) for name in names or ("one",))
    values: dict[str, object] = {
        "destination": domain, "sender": MailAddress("claire", "alpha.test"), "recipients": boxes, "body": body,
        "size": len(SECRET), "trace_id": "01T", **options}
    return RelayBatch(**values)  # type: ignore[arg-type]


def rules(outcomes: tuple[Outcome, ...]) -> list[tuple[str, str]]:
    return [(type(outcome).__name__, getattr(outcome, "rule", "")) for outcome in outcomes]


async def test_delivers_by_static_route_and_keeps_evidence(space: Space, receiver: Receiver) -> None:
    pool: Mailer = space.pool(receiver)
    result = await pool.deliver(batch())
    assert result.outcomes == (
        Delivered("250 2.0.0 taken", remote=f"127.0.0.1[127.0.0.1]:{receiver.port}", dsn_relayed=True),)
    assert result.tls.startswith("TLSv1.3")
    assert len(result.certificate) == 64
    assert receiver.contents == [SECRET]
    assert space.verified == ["beta.test"]
    assert space.names.asked == []


async def test_mixed_replies_give_each_recipient_its_outcome(space: Space, receiver: Receiver) -> None:
    answers = {"one": "250 2.1.5 ok", "two": "550 5.1.1 unknown", "three": "452 4.2.2 full", "four": "550 no"}
    receiver.on["RCPT"] = lambda line: answers[line.split("<")[1].split("@")[0]]
    result = await space.pool(receiver).deliver(batch("one", "two", "three", "four"))
    remote = result.remote
    assert result.outcomes == (
        Delivered("250 2.0.0 taken", remote=remote, dsn_relayed=True),
        Refused("550 5.1.1 unknown", status="5.1.1", remote=remote),
        Deferred("452 4.2.2 full", remote=remote),
        Refused("550 no", status="5.1.1", remote=remote),
    )


async def test_sessions_are_reused_then_retired(space: Space, receiver: Receiver) -> None:
    pool = space.pool(receiver, messages_per_session=3)
    for _ in range(4):
        await pool.deliver(batch())
    assert receiver.sessions == 2
    await pool.close()
    assert receiver.sealed.count("QUIT") == 2


async def test_idle_session_quits_by_itself(space: Space, receiver: Receiver) -> None:
    gone = asyncio.Event()

    def bye(line: str) -> str:
        gone.set()
        return "221 bye"

    receiver.on["QUIT"] = bye
    pool = space.pool(receiver, idle_seconds=0.0)
    await pool.deliver(batch())
    await asyncio.wait_for(gone.wait(), 5)


async def test_stale_session_is_replaced_in_the_same_attempt(space: Space, receiver: Receiver) -> None:
    pool = space.pool(receiver)
    await pool.deliver(batch())
    answers = iter([None, "250 ok"])
    receiver.on["MAIL"] = lambda line: next(answers)
    result = await pool.deliver(batch())
    assert rules(result.outcomes) == [("Delivered", "")]
    assert receiver.sessions == 2
    assert receiver.contents == [SECRET, SECRET]


async def test_certificate_of_a_stranger_defers_and_nothing_leaves(space: Space, tmp_path: Path) -> None:
    async with Receiver(make_identity(tmp_path, "mx.beta.test")) as receiver:
        result = await space.pool(receiver).deliver(batch("one", "two"))
    assert rules(result.outcomes) == [("Deferred", "TRUST-DN")] * 2
    assert receiver.sealed == []


async def test_certificate_is_checked_against_the_destination(space: Space, receiver: Receiver) -> None:
    pool = space.pool(routes={"gamma.test": Endpoint("127.0.0.1", receiver.port)})
    result = await pool.deliver(batch(domain="gamma.test"))
    assert rules(result.outcomes) == [("Deferred", "TRUST-DN")]
    assert space.verified == ["gamma.test"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"starttls": "strip"}, ("Deferred", "SMTP-NO-STARTTLS")),
        ({"starttls": "refuse"}, ("Deferred", "SMTP-NO-STARTTLS")),
        ({"starttls": "inject"}, ("Deferred", "SMTP-STARTTLS-INJECTION")),
        ({"starttls": "clear"}, ("Deferred", "SMTP-TLS-HANDSHAKE")),
        ({"greeting": "421 busy"}, ("Deferred", "SMTP-GREETING")),
        ({"greeting": "554 no service"}, ("Deferred", "SMTP-GREETING")),
        ({"greeting": "hello"}, ("Deferred", "SMTP-REPLY-SYNTAX")),
        ({"extensions": ("SIZE 10",)}, ("Refused", "SMTP-SIZE")),
    ],
)
async def test_hostile_or_limited_receivers(
    space: Space, receiver: Receiver, change: dict[str, object], expected: tuple[str, str],
) -> None:
    for name, value in change.items():
        setattr(receiver, name, value)
    result = await space.pool(receiver).deliver(batch("one", "two"))
    assert rules(result.outcomes) == [expected] * 2
    assert receiver.contents == []


@pytest.mark.parametrize(
    ("verb", "reply", "expected"),
    [
        (".", None, ("Deferred", "SMTP-OUTCOME-UNKNOWN")),
        (".", "451 4.3.0 later", ("Deferred", "")),
        (".", "554 5.6.0 no", ("Refused", "")),
        (".", "421 4.3.2 stopping", ("Deferred", "SMTP-ENDED")),
        ("MAIL", "421 4.3.2 stopping", ("Deferred", "SMTP-ENDED")),
        ("MAIL", None, ("Deferred", "SMTP-CLOSED")),
        ("MAIL", "550 5.7.1 not on the list", ("Refused", "")),
        ("DATA", "451 4.3.0 disk", ("Deferred", "")),
        ("DATA", "354 go\r\n250 2.0.0 taken", ("Deferred", "SMTP-UNSOLICITED")),
    ],
)
async def test_failures_in_the_transaction(
    space: Space, receiver: Receiver, verb: str, reply: str | None, expected: tuple[str, str],
) -> None:
    receiver.on[verb] = reply
    result = await space.pool(receiver).deliver(batch("one", "two"))
    assert rules(result.outcomes) == [expected] * 2
    assert receiver.sessions == 1


async def test_many_recipients_go_in_several_transactions(space: Space, receiver: Receiver) -> None:
    opened = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        yield SECRET

    receiver.on["RCPT"] = lambda line: "550 5.1.1 no" if "<box205@" in line else "250 ok"
    result = await space.pool(receiver).deliver(batch(*(f"box{index}" for index in range(230)), body=body))
    assert [index for index, outcome in enumerate(result.outcomes) if isinstance(outcome, Refused)] == [205]
    assert len(result.outcomes) == 230
    assert opened == len(receiver.contents) == 3
    assert receiver.sessions == 1


async def test_session_lost_between_transactions_defers_the_rest(space: Space, receiver: Receiver) -> None:
    answers = iter(["250 2.0.0 taken", None])
    receiver.on["."] = lambda line: next(answers)
    result = await space.pool(receiver).deliver(batch(*(f"box{index}" for index in range(230))))
    found = rules(result.outcomes)
    assert found[:100] == [("Delivered", "")] * 100
    assert found[100:200] == [("Deferred", "SMTP-OUTCOME-UNKNOWN")] * 100
    assert found[200:] == [("Deferred", "SMTP-CLOSED")] * 30


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\r.\r\nMAIL FROM:<x@y.test>\r\n"])
async def test_bare_octets_are_refused_for_good(space: Space, receiver: Receiver, content: bytes) -> None:
    result = await space.pool(receiver).deliver(batch(body=(content,)))
    assert isinstance(result.outcomes[0], Refused)
    assert result.outcomes[0].status == "5.6.0"
    assert receiver.contents == []


async def test_command_injection_does_not_even_dial(space: Space, receiver: Receiver) -> None:
    result = await space.pool(receiver).deliver(batch("x>\r\nRCPT TO:<y"))
    assert rules(result.outcomes) == [("Refused", "SMTP-ADDRESS")]
    assert receiver.sessions == 0


async def test_content_that_cannot_be_read_waits(space: Space, receiver: Receiver) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 40 + b"\r\n"
        raise OSError("disk")

    result = await space.pool(receiver).deliver(batch(body=body))
    assert rules(result.outcomes) == [("Deferred", "SMTP-BODY")]
    assert receiver.contents == []


async def test_fault_of_ours_waits(space: Space, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    pool = space.pool()  # no route, and the table of names lacks the domain: KeyError inside
    result = await pool.deliver(batch())
    assert rules(result.outcomes) == [("Deferred", "SMTP-INTERNAL-KEYERROR")]
    assert "one@" not in caplog.text


# --- by DNS ----------------------------------------------------------------------------------------------------------

async def test_next_mx_takes_over(space: Space, receiver: Receiver, tmp_path: Path) -> None:
    async with Receiver(make_identity(tmp_path, "mx.beta.test")) as stranger, Receiver(space.beta) as busy:
        busy.greeting = "421 busy"
        space.names.targets["beta.test"] = (
            Target("mx1.beta.test", ("127.0.0.1",), stranger.port), Target("mx2.beta.test", ("127.0.0.1",), busy.port),
            Target("mx3.beta.test", ("127.0.0.1",), receiver.port))
        result = await space.pool(allow_private=True).deliver(batch())
    assert rules(result.outcomes) == [("Delivered", "")]
    assert result.remote == f"mx3.beta.test[127.0.0.1]:{receiver.port}"
    assert stranger.sealed == []


async def test_most_telling_reason_is_kept(space: Space, tmp_path: Path) -> None:
    async with Receiver(space.beta) as gone:
        pass
    async with Receiver(make_identity(tmp_path, "mx.beta.test")) as stranger:
        space.names.targets["beta.test"] = (
            Target("mx1.beta.test", ("127.0.0.1",), gone.port), Target("mx2.beta.test", ("127.0.0.1",), stranger.port),
            Target("mx3.beta.test", ("127.0.0.1",), gone.port))
        result = await space.pool(allow_private=True).deliver(batch())
    assert rules(result.outcomes) == [("Deferred", "TRUST-DN")]


async def test_private_addresses_from_dns_are_refused(space: Space, receiver: Receiver) -> None:
    space.names.targets["beta.test"] = (Target("mx.beta.test", ("127.0.0.1", "10.0.0.1", "::1"), receiver.port),)
    result = await space.pool().deliver(batch())
    assert rules(result.outcomes) == [("Deferred", "DNS-PRIVATE")]
    assert receiver.sessions == 0


@pytest.mark.parametrize("answer", [Deferred("no", rule="DNS-X"), Refused("512 5.1.2 no", status="5.1.2", rule="DNS-Y")])
async def test_dns_failures_are_outcomes(space: Space, answer: Deferred | Refused) -> None:
    space.names.targets["beta.test"] = answer
    result = await space.pool().deliver(batch("one", "two"))
    assert result.outcomes == (answer, answer)


async def test_static_route_by_name(space: Space, receiver: Receiver) -> None:
    space.names.hosts["relay.beta.test"] = ("127.0.0.1",)
    pool = space.pool(routes={"beta.test": Endpoint("relay.beta.test", receiver.port)})
    assert rules((await pool.deliver(batch())).outcomes) == [("Delivered", "")]
    pool = space.pool(routes={"beta.test": Endpoint("nowhere.beta.test", receiver.port)})
    assert rules((await pool.deliver(batch())).outcomes) == [("Refused", "DNS-NO-ADDRESS")]


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("2001:4860:4860::8888", True), ("127.0.0.1", False), ("10.1.2.3", False), ("0.0.0.0", False),
     ("169.254.1.1", False), ("100.64.0.1", False), ("192.168.1.1", False), ("224.0.0.1", False), ("::1", False),
     ("::ffff:127.0.0.1", False), ("fe80::1", False), ("fd00::1", False), ("2002:7f00:1::", False), ("::", False),
     ("not an address", False)])
def test_what_counts_as_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_context_offers_only_modern_tls(identities: tuple[Identity, Identity]) -> None:
    context = outbound_tls(identities[0].certificate, identities[0].key)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["name"].startswith(("TLS_", "ECDHE-")), cipher["name"]


# --- limits ----------------------------------------------------------------------------------------------------------

class Gate:
    """Holds every final dot until opened; counts how many wait."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0
        self.reached = asyncio.Event()

    async def __call__(self, line: str) -> str:
        self.waiting += 1
        self.reached.set()
        await self.opened.wait()
        return "250 2.0.0 taken"


async def test_concurrency_starts_small_and_grows_with_success(space: Space, receiver: Receiver) -> None:
    gate = Gate()
    receiver.on["."] = gate
    pool = space.pool(receiver, first_concurrency=2, max_concurrency=3)
    tasks = [asyncio.create_task(pool.deliver(batch())) for _ in range(8)]
    await gate.reached.wait()
    gate.opened.set()
    results = await asyncio.gather(*tasks)
    assert all(isinstance(result.outcomes[0], Delivered) for result in results)
    assert receiver.sessions <= 3
    assert pool.concurrency("beta.test") == 3


async def test_places_are_not_exceeded_and_a_cancelled_waiter_keeps_none(space: Space, receiver: Receiver) -> None:
    gate = Gate()
    receiver.on["."] = gate
    pool = space.pool(receiver, first_concurrency=1, max_concurrency=1)
    first = asyncio.create_task(pool.deliver(batch()))
    await gate.reached.wait()
    second, third = (asyncio.create_task(pool.deliver(batch())) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert gate.waiting == 1
    gate.opened.set()
    await asyncio.gather(first, third)
    assert len(receiver.contents) == 2
    assert receiver.sessions == 1


async def test_failures_shrink_concurrency_to_one(space: Space, receiver: Receiver) -> None:
    receiver.greeting = "421 busy"
    pool = space.pool(receiver, first_concurrency=8)
    for expected in (4, 2, 1, 1):
        await pool.deliver(batch())
        assert pool.concurrency("beta.test") == expected
    assert pool.concurrency("other.test") == 8


async def test_destinations_do_not_wait_for_each_other(space: Space, receiver: Receiver) -> None:
    gate = Gate()
    receiver.on["."] = gate
    pool = space.pool(receiver, first_concurrency=1, max_concurrency=1)
    held = asyncio.create_task(pool.deliver(batch()))
    await gate.reached.wait()
    space.names.targets["gone.test"] = Refused("512 5.1.2 no", status="5.1.2")
    assert isinstance((await pool.deliver(batch(domain="gone.test"))).outcomes[0], Refused)
    gate.opened.set()
    await held


class Asked:
    """verify_peer that has to ask first. refuse: raised when the answer is there."""

    def __init__(self) -> None:
        self.refuse: PeerFault | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    def verify(self, leaf: bytes, domain: str) -> Awaitable[None]:
        return self._ask()

    async def _ask(self) -> None:
        self.waiting.set()
        await self.gate.wait()
        if self.refuse is not None:
            raise self.refuse


async def test_a_check_that_has_to_ask_is_awaited_before_any_command_and_before_a_session_is_used_again(
        space: Space, receiver: Receiver) -> None:
    asked = Asked()
    space.verify = asked.verify  # type: ignore[method-assign, assignment]
    pool = space.pool(receiver)
    for _ in range(2):
        assert rules((await pool.deliver(batch())).outcomes) == [("Delivered", "")]
    assert receiver.sessions == 1
    asked.refuse = PeerFault("Certificat revoque", rule="PEER-REVOKED")
    outcomes = (await pool.deliver(batch())).outcomes
    assert rules(outcomes) == [("Deferred", "PEER-REVOKED")]
    assert receiver.sessions == 2 and len(receiver.contents) == 2, "the rested session was cut, a new one refused before EHLO"
    asked.refuse = None
    assert rules((await pool.deliver(batch())).outcomes) == [("Delivered", "")]


async def test_a_delivery_given_up_while_a_rested_session_is_checked_cuts_it(space: Space, receiver: Receiver) -> None:
    asked = Asked()
    space.verify = asked.verify  # type: ignore[method-assign, assignment]
    pool = space.pool(receiver)
    await pool.deliver(batch())
    asked.gate.clear()
    asked.waiting.clear()
    delivery = asyncio.ensure_future(pool.deliver(batch()))
    await asked.waiting.wait()
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    asked.gate.set()
    assert rules((await pool.deliver(batch())).outcomes) == [("Delivered", "")]
    assert receiver.sessions == 2
