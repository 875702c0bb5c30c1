"""The DNS of the lab: every MSSanté domain's MX, A and SRV records, and the answers to queries about them.

- Each domain has `MX 10 mta.<domain>`, each MX host `A 127.0.0.1` and, since a lab cannot listen on 25, an SRV record
  `_smtp._tcp.<host>` with its port; each operator has the SRV records of RFC 6186 and RFC 8314 (F6.6, ECO.1.1.9).
- The lab's world holds nothing else: any other name gets NXDOMAIN.
- Pure: bytes in, bytes out. A query that does not parse is dropped; one that is not a plain IN query gets NOTIMP.
  Called by `mssante.lab.infra` for UDP and TCP.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from mssante.lab.plan import HOST, OPERATORS, PEERS

TTL = 5
MAX_QUERY = 4096
MAX_UDP = 1232  # what fits without fragments (RFC 9715 §3.1)
_SRV_DOORS = {"_submission._tcp": "submission", "_submissions._tcp": "submissions", "_imap._tcp": "imap",
              "_imaps._tcp": "imaps", "_sieve._tcp": "managesieve",
              "_ldaps._tcp": "ldaps"}


@dataclass(frozen=True, slots=True)
class Zone:
    """Records by owner name, then by type; values in master-file form."""

    records: dict[dns.name.Name, dict[dns.rdatatype.RdataType, tuple[str, ...]]]
    soa: dns.rrset.RRset

    def find(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        """Give the record set of that owner and type, or None."""
        texts = self.records.get(name, {}).get(kind)
        return dns.rrset.from_text_list(name, TTL, dns.rdataclass.IN, kind, texts) if texts else None


def lab_zone(base_port: int) -> Zone:
    """Give the records of a lab whose ports start at `base_port`."""
    records: dict[dns.name.Name, dict[dns.rdatatype.RdataType, tuple[str, ...]]] = {}

    def put(owner: str, kind: dns.rdatatype.RdataType, text: str) -> None:
        types = records.setdefault(dns.name.from_text(owner), {})
        types[kind] = (*types.get(kind, ()), text)

    for plan in OPERATORS:
        put(plan.domain, dns.rdatatype.MX, f"10 {plan.host}.")
        put(plan.host, dns.rdatatype.A, HOST)
        put(f"_smtp._tcp.{plan.host}", dns.rdatatype.SRV, f"0 1 {plan.port(base_port, 'smtp')} {plan.host}.")
        for service, door in _SRV_DOORS.items():
            put(f"{service}.{plan.domain}", dns.rdatatype.SRV, f"0 1 {plan.port(base_port, door)} {plan.host}.")
    for peer in PEERS:
        put(peer.domain, dns.rdatatype.MX, f"10 {peer.host}.")
        put(peer.host, dns.rdatatype.A, HOST)
        put(f"_smtp._tcp.{peer.host}", dns.rdatatype.SRV, f"0 1 {base_port + peer.offset} {peer.host}.")
    soa = dns.rrset.from_text(".", TTL, dns.rdataclass.IN, dns.rdatatype.SOA,
                              f"localhost. hostmaster.lab.invalid. 1 3600 600 86400 {TTL}")
    return Zone(records, soa)


def _fill(response: dns.message.Message, zone: Zone, question: dns.rrset.RRset) -> None:
    """Put the answer, the addresses of what it names, or the negative answer (RFC 1034 §4.3.2, RFC 2308 §2)."""
    found = zone.find(question.name, question.rdtype)
    if found is None:
        known = any(name.is_subdomain(question.name) for name in zone.records)  # empty non-terminals exist too
        response.set_rcode(dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN)
        response.authority.append(zone.soa)
        return
    response.answer.append(found)
    for record in found:
        target = getattr(record, "exchange", None) or getattr(record, "target", None)
        glue = zone.find(target, dns.rdatatype.A) if target is not None else None
        if glue is not None:
            response.additional.append(glue)


def answer_query(wire: bytes, zone: Zone, *, datagram: bool) -> bytes | None:
    """Give the answer to one query (at most 4096 octets), or None when it must be dropped.

    datagram: True over UDP, where a longer answer is cut and marked TC (RFC 1035 §4.2.1).
    """
    if len(wire) > MAX_QUERY:
        return None
    try:
        query = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    if query.flags & dns.flags.QR:  # never answer an answer
        return None
    response = dns.message.make_response(query, recursion_available=True)
    question = query.question[0] if len(query.question) == 1 else None
    if query.opcode() != dns.opcode.QUERY or question is None or question.rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.NOTIMP)
        return response.to_wire()
    response.flags |= dns.flags.AA
    _fill(response, zone, question)
    if not datagram:
        return response.to_wire()
    limit = min(max(query.payload, 512), MAX_UDP)
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        short = dns.message.make_response(query, recursion_available=True)
        short.flags |= dns.flags.TC
        return short.to_wire()
