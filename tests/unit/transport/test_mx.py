"""DNS resolution against a real UDP server on loopback that answers from a table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from mssante.model.outcome import Deferred, Refused
from mssante.services.ports import Resolver, Target
from mssante.transport.mx import DnsResolver, DnsSettings


class Zone(asyncio.DatagramProtocol):
    """records[(name, type)] is a list of texts, an rcode, or None (no answer at all); unknown names are NXDOMAIN."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str] | dns.rcode.Rcode | None] = {}
        self.asked: list[tuple[str, str]] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: object) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        found = self.records.get((name, kind), [])
        if found is None:
            return
        if isinstance(found, dns.rcode.Rcode):
            response.set_rcode(found)
        elif found:
            response.answer.append(dns.rrset.from_text_list(question.name, 300, "IN", kind, found))
        elif not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        assert self.transport is not None
        self.transport.sendto(response.to_wire(), addr)


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Zone, local_addr=("127.0.0.1", 0))
    yield protocol
    transport.close()


def resolver(zone: Zone, **options: object) -> DnsResolver:
    assert zone.transport is not None
    port = zone.transport.get_extra_info("sockname")[1]
    values: dict[str, object] = {"question_seconds": 0.2, "total_seconds": 0.4, **options}
    settings = DnsSettings(nameservers=(("127.0.0.1", port),), **values)  # type: ignore[arg-type]
    return DnsResolver(settings, shuffle=lambda items: items.sort(key=lambda item: str(item.exchange), reverse=True))


async def test_order_of_preference_with_addresses(zone: Zone) -> None:
    zone.records = {
        ("beta.test", "MX"): ["20 mx3.beta.test.", "10 mx1.beta.test.", "10 mx2.beta.test."],
        ("mx1.beta.test", "A"): ["192.0.2.1"], ("mx2.beta.test", "A"): ["192.0.2.2"],
        ("mx3.beta.test", "AAAA"): ["2001:db8::3"],
    }
    found: Resolver = resolver(zone)
    targets = await found.mail_targets("beta.test")
    assert targets == (
        Target("mx2.beta.test", ("192.0.2.2",), 25), Target("mx1.beta.test", ("192.0.2.1",), 25),
        Target("mx3.beta.test", ("2001:db8::3",), 25))  # the shuffle given here puts the last names first


async def test_no_mx_means_the_host_itself(zone: Zone) -> None:
    zone.records = {("beta.test", "A"): ["192.0.2.1"]}
    assert await resolver(zone).mail_targets("beta.test") == (Target("beta.test", ("192.0.2.1",), 25),)


@pytest.mark.parametrize(
    ("records", "rule"),
    [
        ({}, "DNS-NXDOMAIN"),
        ({("beta.test", "MX"): ["0 ."]}, "DNS-NULL-MX"),
        ({("beta.test", "TXT"): ["x"]}, "DNS-NO-ADDRESS"),
    ],
)
async def test_definite_answers_refuse(zone: Zone, records: dict[tuple[str, str], list[str]], rule: str) -> None:
    zone.records = dict(records)
    found = await resolver(zone).mail_targets("beta.test")
    assert isinstance(found, Refused)
    assert (found.status, found.rule) == ("5.1.2", rule)


@pytest.mark.parametrize("answer", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, None])
async def test_what_may_pass_waits(zone: Zone, answer: dns.rcode.Rcode | None) -> None:
    zone.records = {("beta.test", "MX"): answer}
    assert isinstance(await resolver(zone).mail_targets("beta.test"), Deferred)
    zone.records = {("beta.test", "MX"): ["10 mx.beta.test."], ("mx.beta.test", "A"): answer,
                    ("mx.beta.test", "AAAA"): answer}
    assert isinstance(await resolver(zone).mail_targets("beta.test"), Deferred)


async def test_mx_that_name_nothing_wait(zone: Zone) -> None:
    zone.records = {("beta.test", "MX"): ["10 nowhere.beta.test."]}
    found = await resolver(zone).mail_targets("beta.test")
    assert isinstance(found, Deferred)
    assert found.rule == "DNS-MX-ADDRESS"


async def test_one_good_mx_among_bad_ones_is_enough(zone: Zone) -> None:
    zone.records = {
        ("beta.test", "MX"): ["10 nowhere.beta.test.", "20 broken.beta.test.", "30 mx.beta.test."],
        ("broken.beta.test", "A"): dns.rcode.SERVFAIL, ("broken.beta.test", "AAAA"): dns.rcode.SERVFAIL,
        ("mx.beta.test", "A"): ["192.0.2.1"]}
    assert await resolver(zone).mail_targets("beta.test") == (Target("mx.beta.test", ("192.0.2.1",), 25),)


async def test_swarm_of_mx_is_capped(zone: Zone) -> None:
    hosts = [f"mx{index:03d}.b.test" for index in range(60)]
    zone.records = {("b.test", "MX"): [f"{index} {host}." for index, host in enumerate(hosts)]}
    zone.records.update({(host, "A"): [f"192.0.2.{index}" for index in range(1, 31)] for host in hosts})
    found = await resolver(zone).mail_targets("b.test")
    assert isinstance(found, tuple)
    assert len(found) == 10
    assert all(len(target.addresses) == 8 for target in found)


async def test_nameserver_that_is_silent_gives_way_to_the_next(zone: Zone) -> None:
    zone.records = {("beta.test", "MX"): ["10 mx.beta.test."], ("mx.beta.test", "A"): ["192.0.2.1"]}
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    assert zone.transport is not None
    servers = tuple(("127.0.0.1", item.get_extra_info("sockname")[1]) for item in (transport, zone.transport))
    found = await DnsResolver(
        DnsSettings(nameservers=servers, question_seconds=0.1, total_seconds=2.0)).mail_targets("beta.test")
    transport.close()
    assert isinstance(found, tuple)


async def test_port_by_srv_where_asked(zone: Zone) -> None:
    zone.records = {
        ("beta.test", "MX"): ["10 mx.beta.test.", "20 plain.beta.test."], ("mx.beta.test", "A"): ["127.0.0.1"],
        ("plain.beta.test", "A"): ["127.0.0.1"], ("_smtp._tcp.mx.beta.test", "SRV"): ["0 0 20200 mx.beta.test."]}
    found = await resolver(zone, srv=True, port=2525).mail_targets("beta.test")
    assert isinstance(found, tuple)
    assert [target.port for target in found] == [20200, 2525]


async def test_answers_are_kept_for_their_time(zone: Zone) -> None:
    zone.records = {("beta.test", "MX"): ["10 mx.beta.test."], ("mx.beta.test", "A"): ["192.0.2.1"]}
    found = resolver(zone)
    await found.mail_targets("beta.test")
    count = len(zone.asked)
    await found.mail_targets("beta.test")
    assert len(zone.asked) - count <= 1  # only the missing AAAA may be asked again
