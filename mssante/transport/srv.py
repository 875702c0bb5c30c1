"""Asks DNS for SRV records, for checks by hand: what a domain publishes for its mail clients."""

from __future__ import annotations

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver

from mssante.config.base import split_hostport
from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.services.discovery import SrvRecord

SECONDS = 5.0


async def ask_srv(owner: str, servers: Sequence[str] = ()) -> list[SrvRecord]:
    """Give the SRV records of a name, none when there are none. servers: `host:port`, the system's when empty.

    Raises OperatorFault `DNS-INJOIGNABLE`.
    """
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*split_hostport(one)) for one in servers]
    try:
        answer = await resolver.resolve(owner, "SRV", lifetime=SECONDS)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError) as exc:
        raise OperatorFault(say("le DNS ne répond pas", "DNS does not answer"), detail=type(exc).__name__, rule="DNS-INJOIGNABLE",
                            remedy="relay.dns_servers") from exc
    return [SrvRecord(owner, one.priority, one.port, str(one.target).rstrip(".")) for one in answer]
