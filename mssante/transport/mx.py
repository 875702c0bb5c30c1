"""Where mail for a domain goes, by DNS (RFC 5321 §5.1, RFC 7505): dnspython, asynchronous.

Guarantees
- Hosts come in order of preference, shuffled among equals (RFC 5321 §5.1): of at most 50 the first 10, with at most 8
  addresses each, IPv4 before IPv6.
- NXDOMAIN and the null MX refuse for good; SERVFAIL, timeouts and odd answers wait: a broken resolver bounces nothing.
- A failure is a value (`Deferred`, `Refused`), never an exception.

Never: connects to a mail server, judges addresses (the pool refuses private ones), logs a name.
Called by `transport/operators.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from mssante.model.outcome import Deferred, Refused
from mssante.services.ports import Target

MAX_HOSTS = 50
MAX_ADDRESSES = 8
MAX_LOOKUPS = 10  # hosts whose addresses are looked up: the pool tries no more


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """nameservers: (address literal, port) in order, empty: those of the system; seconds for one question and in all.

    port: where SMTP servers listen; srv: ask `_smtp._tcp.<host>` for the port first (laboratories without port 25).
    """

    nameservers: tuple[tuple[str, int], ...] = ()
    question_seconds: float = 3.0
    total_seconds: float = 10.0
    port: int = 25
    srv: bool = False
    cache_entries: int = 1_000


class _NoName(Exception):
    """The name does not exist."""


class _NoRecord(Exception):
    """The name exists without such a record."""


def _shuffle(items: list[Any]) -> None:
    SystemRandom().shuffle(items)


class DnsResolver:
    """The `Resolver` of services/ports.py. One per process; keeps answers for their TTL."""

    def __init__(self, settings: DnsSettings, *, shuffle: Callable[[list[Any]], None] = _shuffle) -> None:
        self._settings = settings
        self._shuffle = shuffle
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.nameservers)
        if settings.nameservers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(address, port) for address, port in settings.nameservers]
        self._resolver.timeout = settings.question_seconds
        self._resolver.lifetime = settings.total_seconds
        self._resolver.cache = dns.resolver.LRUCache(settings.cache_entries)

    async def mail_targets(self, domain: str) -> tuple[Target, ...] | Deferred | Refused:
        """Give the hosts that take mail for `domain` (A-label form), at least one with its addresses, or why none.

        Refused 5.1.2: no such domain, null MX (RFC 7505), neither MX nor address. Deferred: the DNS does not answer.
        """
        try:
            hosts = await self._hosts(domain)
        except _NoName:
            return Refused("512 5.1.2 the destination domain does not exist in the DNS", status="5.1.2",
                           rule="DNS-NXDOMAIN")
        except dns.exception.DNSException as exc:
            return _deferred(exc)
        if hosts is None:  # F2.13: 512 stands in the table of error codes, 556 does not
            return Refused("512 5.1.2 the destination domain takes no mail (null MX)", status="5.1.2",
                           rule="DNS-NULL-MX")
        targets: list[Target] = []
        failure: Deferred | Refused | None = None
        for host in hosts[:MAX_LOOKUPS]:
            found = await self.addresses(host)
            if isinstance(found, tuple):
                targets.append(Target(host, found, await self._port(host)))
            elif failure is None or isinstance(found, Deferred):
                failure = found
        if targets:
            return tuple(targets)
        if isinstance(failure, Refused) and hosts != [domain]:  # MX that name nothing: their mistake, maybe mended soon
            return Deferred("no mail host of the destination has an address", rule="DNS-MX-ADDRESS")
        return failure or Deferred("no mail host found", rule="DNS-MX-ADDRESS")

    async def addresses(self, host: str) -> tuple[str, ...] | Deferred | Refused:
        """Give the address literals of `host`, IPv4 first, at least one; Refused 5.1.2 when it has none."""
        found: list[str] = []
        failure: dns.exception.DNSException | None = None
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                found += [record.address for record in await self._records(host, kind)]
            except _NoName:
                break
            except _NoRecord:
                continue
            except dns.exception.DNSException as exc:
                failure = exc
        if found:
            return tuple(found[:MAX_ADDRESSES])
        if failure is not None:
            return _deferred(failure)
        return Refused("512 5.1.2 the destination has no address in the DNS", status="5.1.2", rule="DNS-NO-ADDRESS")

    async def _hosts(self, domain: str) -> list[str] | None:
        """Give the mail hosts in the order to try; [domain] when there is no MX (RFC 5321 §5.1); None for null MX."""
        try:
            records = (await self._records(domain, dns.rdatatype.MX))[:MAX_HOSTS]
        except _NoRecord:
            return [domain]
        if len(records) == 1 and str(records[0].exchange) == ".":
            return None
        self._shuffle(records)
        records.sort(key=lambda record: int(record.preference))  # stable: the shuffle decides among equals
        hosts = [str(record.exchange).rstrip(".").lower() for record in records]
        return list(dict.fromkeys(host for host in hosts if host)) or None

    async def _port(self, host: str) -> int:
        if not self._settings.srv:
            return self._settings.port
        try:
            records = await self._records(f"_smtp._tcp.{host}", dns.rdatatype.SRV)
        except (_NoName, _NoRecord, dns.exception.DNSException):
            return self._settings.port
        return int(records[0].port)

    async def _records(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any]:
        """Give the records of one kind. Raises _NoName, _NoRecord, or another DNSException for what may pass."""
        try:
            answer = await self._resolver.resolve(f"{name}.", kind, search=False)
        except dns.resolver.NXDOMAIN as exc:
            raise _NoName from exc
        except dns.resolver.NoAnswer as exc:
            raise _NoRecord from exc
        return list(answer)


def _deferred(exc: dns.exception.DNSException) -> Deferred:
    return Deferred("the DNS does not answer for the destination", rule=f"DNS-{type(exc).__name__.upper()}")
