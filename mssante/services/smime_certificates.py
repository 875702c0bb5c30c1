"""Certificates of correspondents: found to encrypt for them, learnt from their signed mail.

Finding: what an administrator put there, then the national directory (a port, empty before issue 5), then what was learnt; of one
source, the one that ends last first. A candidate serves when it is for encryption, for that address (one put there by hand
excepted), not refused by hand, and the trust in force admits it now, revocation included.

Learning: only from a message whose signature is VALID, for its author's address, and certificates that may be encrypted for;
at most `most` of one address, those seen last; written behind the reply, once a day for one already known. Nothing of citizens.

A source that fails is a source without answer, told in the log. Called by `sealing` and `opening`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.smime_trust import MailTrust
from mssante.smime.certificates import can_encrypt, load_certificate
from mssante.smime.keys import admitted_public_key, fingerprint
from mssante.smime.sender import is_for
from mssante.smime.values import SmimeCode, SmimeFault
from mssante.storage.interfaces import CertificateSource, KnownCertificate, Stores, Tx

log = structlog.get_logger("smime")
DIRECTORY_SECONDS = 5.0
AGAIN = timedelta(days=1)
MAX_REMEMBERED = 50_000
MAX_PENDING = 1000


class DirectoryCertificates(Protocol):
    """The national directory, as the finder sees it."""

    async def certificates_of(self, addresses: Sequence[str]) -> Mapping[str, Sequence[bytes]]:
        """Give the DER certificates that the directory holds for these addresses (lower-case). Raises MssFault."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that may serve for an address. given: put there by an administrator."""

    certificate: x509.Certificate
    given: bool


class CertificateFinder:
    """Finds candidates, and chooses among them."""

    def __init__(self, stores: Stores, trust: MailTrust, directory: DirectoryCertificates | None = None) -> None:
        self._stores = stores
        self._trust = trust
        self._directory = directory

    async def candidates(self, addresses: Sequence[str]) -> dict[str, list[Candidate]]:
        """Give what may serve for each of these addresses (lower-case), best first; addresses without any are absent."""
        wanted = list(dict.fromkeys(addresses))
        known = await self._stores.database.read(lambda tx: self._read(tx, wanted), quick=len(wanted) <= 10)
        found: dict[str, list[tuple[CertificateSource, bytes]]] = {}
        for one in known:
            if not one.refused:
                found.setdefault(one.address, []).append((one.source, one.der))
        if self._directory is not None:
            refused = {(one.address, one.der) for one in known if one.refused}
            without = [one for one in wanted if CertificateSource.LOCAL not in {source for source, _ in found.get(one, ())}]
            for address, ders in (await self._ask(self._directory, without)).items():
                fresh = [(CertificateSource.DIRECTORY, der) for der in ders if (address, der) not in refused]
                found[address] = [*fresh, *found.get(address, [])]
        return {address: loaded for address, pairs in found.items() if (loaded := _loaded(pairs))}

    def _read(self, tx: Tx, addresses: Sequence[str]) -> list[KnownCertificate]:
        return self._stores.smime.certificates(tx, addresses)

    async def _ask(self, directory: DirectoryCertificates, addresses: Sequence[str]) -> Mapping[str, Sequence[bytes]]:
        if not addresses:
            return {}
        try:
            async with asyncio.timeout(DIRECTORY_SECONDS):
                return await directory.certificates_of(addresses)
        except (MssFault, TimeoutError, OSError) as fault:
            log.warning("directory_certificates_failed", kind=type(fault).__name__, rule=getattr(fault, "rule", ""))
            return {}

    def choose(self, address: str, candidates: Sequence[Candidate], at: datetime) -> x509.Certificate | SmimeCode:
        """Give the certificate to encrypt to, or why none serves (NONE: there is none). Blocking: signatures are verified."""
        why = SmimeCode.NONE
        for one in candidates:
            code = self._judge(address, one, at)
            if code is SmimeCode.VALID:
                return one.certificate
            why = code if why is SmimeCode.NONE else why
        return why

    def _judge(self, address: str, candidate: Candidate, at: datetime) -> SmimeCode:
        certificate = candidate.certificate
        if not candidate.given and not is_for(certificate, address):
            return SmimeCode.SENDER
        if not can_encrypt(certificate):
            return SmimeCode.USAGE
        try:
            admitted_public_key(certificate)
        except SmimeFault as fault:
            return fault.code
        return self._trust.check_recipient(certificate, at)


def _loaded(pairs: Sequence[tuple[CertificateSource, bytes]]) -> list[Candidate]:
    found = []
    for source, der in pairs:
        certificate = load_certificate(der)
        if certificate is not None:
            found.append(Candidate(certificate, source is CertificateSource.LOCAL))
    return found


class Learner:
    """Remembers the certificates of those whose signed mail was valid."""

    def __init__(self, stores: Stores, clock: Clock, most: int, is_private: Callable[[str], bool] = lambda _: False) -> None:
        """most: certificates kept of one address; 0: nothing is learnt. is_private: of whom nothing is to be kept (citizens)."""
        self._is_private = is_private
        self._stores = stores
        self._clock = clock
        self._most = most
        self._written: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, address: str, certificates: Sequence[x509.Certificate]) -> None:
        """Note certificates of an author (lower-case address); nothing is awaited, nothing is raised."""
        if not self._most or not address or self._is_private(address) or len(self._tasks) >= MAX_PENDING:
            return
        now = self._clock.now()
        seen = []
        for one in certificates:
            mark = (address, fingerprint(one))
            last = self._written.get(mark)
            if not can_encrypt(one) or not is_for(one, address) or (last is not None and now - last < AGAIN):
                continue
            self._remember(mark, now)
            seen.append(KnownCertificate(address, mark[1], CertificateSource.LEARNT, one.public_bytes(Encoding.DER),
                                         one.not_valid_after_utc, now, now))
        if seen:
            task = asyncio.ensure_future(self._write(seen))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _remember(self, mark: tuple[str, str], now: datetime) -> None:
        self._written[mark] = now
        if len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)

    async def _write(self, seen: list[KnownCertificate]) -> None:
        try:
            await self._stores.database.write(lambda tx: self._learn(tx, seen))
        except MssFault as fault:
            for one in seen:
                self._written.pop((one.address, one.fingerprint), None)
            log.warning("certificate_not_learnt", rule=fault.rule)

    def _learn(self, tx: Tx, seen: Sequence[KnownCertificate]) -> None:
        known = {(one.address, one.fingerprint) for one in self._stores.smime.certificates(tx, [one.address for one in seen])}
        self._stores.smime.learn(tx, seen, most=self._most)
        self._stores.journal.append(tx, [
            JournalEvent(JournalKind.SMIME_CERTIFICATE, one.last_seen, "", one.address, {
                "action": "learnt", "certificate": one.fingerprint, "not_after": one.not_after.isoformat()})
            for one in seen if (one.address, one.fingerprint) not in known])

    async def flush(self) -> None:
        """Wait for what is being written (stop of the service, tests)."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
