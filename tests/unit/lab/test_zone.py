"""DNS answers of the lab."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from mssante.lab.zone import Zone, answer_query, lab_zone


@pytest.fixture(scope="module")
def zone() -> Zone:
    return lab_zone(20000)


def ask(zone: Zone, name: str, kind: str, *, datagram: bool = True) -> dns.message.Message:
    wire = answer_query(dns.message.make_query(name, kind).to_wire(), zone, datagram=datagram)
    assert wire is not None
    return dns.message.from_wire(wire)


@pytest.mark.parametrize("domain", ["alpha.mssante.test", "patient.mssante.test", "gamma.mssante.test",
                                    "unlisted.mssante.test"])
def test_mx_and_its_address(zone: Zone, domain: str) -> None:
    answer = ask(zone, domain, "MX")
    assert answer.rcode() == dns.rcode.NOERROR and answer.flags & dns.flags.AA
    assert [str(one) for one in answer.answer[0]] == [f"10 mta.{domain}."]
    assert [str(one) for one in answer.additional[0]] == ["127.0.0.1"]
    assert [str(one) for one in ask(zone, f"mta.{domain}", "A").answer[0]] == ["127.0.0.1"]


@pytest.mark.parametrize(("service", "port"), [("_submission", 20101), ("_submissions", 20102), ("_imap", 20103),
                                               ("_imaps", 20104)])
def test_srv(zone: Zone, service: str, port: int) -> None:
    answer = ask(zone, f"{service}._tcp.alpha.mssante.test", "SRV", datagram=False)
    assert [str(one) for one in answer.answer[0]] == [f"0 1 {port} mta.alpha.mssante.test."]


def test_smtp_port_of_a_host(zone: Zone) -> None:
    assert [str(one) for one in ask(zone, "_smtp._tcp.mta.beta.mssante.test", "SRV").answer[0]] == [
        "0 1 20110 mta.beta.mssante.test."]
    assert [str(one) for one in ask(zone, "_smtp._tcp.mta.gamma.mssante.test", "SRV").answer[0]] == [
        "0 1 20900 mta.gamma.mssante.test."]


def test_case_does_not_matter(zone: Zone) -> None:
    assert ask(zone, "ALPHA.MSSante.TEST", "MX").answer


@pytest.mark.parametrize(("name", "kind", "rcode"), [
    ("mta.alpha.mssante.test", "AAAA", dns.rcode.NOERROR), ("_tcp.alpha.mssante.test", "SRV", dns.rcode.NOERROR),
    ("nobody.mssante.test", "MX", dns.rcode.NXDOMAIN), ("example.org", "A", dns.rcode.NXDOMAIN)])
def test_negative_answers_carry_the_soa(zone: Zone, name: str, kind: str, rcode: dns.rcode.Rcode) -> None:
    answer = ask(zone, name, kind)
    assert answer.rcode() == rcode and not answer.answer
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


def test_rubbish_is_dropped(zone: Zone) -> None:
    assert answer_query(b"", zone, datagram=True) is None
    assert answer_query(b"\x00" * 11, zone, datagram=True) is None
    assert answer_query(b"\xff" * 5000, zone, datagram=False) is None
    answer = dns.message.make_response(dns.message.make_query("alpha.mssante.test", "MX"))
    assert answer_query(answer.to_wire(), zone, datagram=True) is None


def test_other_operations_are_refused(zone: Zone) -> None:
    query = dns.message.make_query("alpha.mssante.test", "MX")
    query.set_opcode(dns.opcode.NOTIFY)
    wire = answer_query(query.to_wire(), zone, datagram=True)
    assert wire is not None and dns.message.from_wire(wire).rcode() == dns.rcode.NOTIMP


def test_long_udp_answer_is_cut(zone: Zone) -> None:
    owner = dns.name.from_text("long.mssante.test")
    long = Zone({owner: {dns.rdatatype.TXT: tuple(f'"{"x" * 200}{n}"' for n in range(20))}}, zone.soa)
    cut = ask(long, "long.mssante.test", "TXT")
    assert cut.flags & dns.flags.TC and not cut.answer
    assert len(ask(long, "long.mssante.test", "TXT", datagram=False).answer[0]) == 20
