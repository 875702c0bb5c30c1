"""Whose a TLS client certificate is: applicative mailboxes (APP) log in by ORG AUTH_CLI certificate (F6.4, spec §3.3).

- TLS proves that the client holds the key; everything else is judged here, because a certificate that is unknown, expired or
  foreign must not break the handshake of somebody who then logs in by password (docs/adr/0018).
- By name: the subject is linked to an account (`mssante identity link`). The issuer must be one of ours (its key decides), the
  profile ORG AUTH_CLI (clientAuth and not serverAuth), the dates good, the category admitted, and a CRL in force must clear it:
  an unknown state refuses.
- By fingerprint: `[login.certificates]` names this very certificate, of an authority of `login.client_anchors`; path, dates and
  usage are checked, a known revocation refuses.
- Links are read every `REFRESH_SECONDS`; a judgement is remembered 60 s at most and never across changes of trust or links.
- A certificate that opens nothing is told once in the log and the journal, with its rule; the client is not offered EXTERNAL.
Called by the doors (`login_of`) and by `app.py` (`run`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256

import structlog
from cryptography import x509

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault, PeerFault
from mssante.model.journal import JournalKind
from mssante.services.evidence import Evidence
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.storage.identities import DN
from mssante.storage.interfaces import Stores, Tx
from mssante.trust.anchors import READ_FAULTS, read_der
from mssante.trust.clientname import subject_key
from mssante.trust.crl import RevocationStatus, distribution_points
from mssante.trust.names import printable
from mssante.trust.path import PathRules, Purpose, validate_path
from mssante.trust.peer import MAX_LEAF_OCTETS, prove
from mssante.trust.profiles import Offer, recognise

log = structlog.get_logger("login")
REFRESH_SECONDS = 5.0
KEEP = timedelta(seconds=60)
MAX_KEPT = 2_000
MAX_LINKS = 20_000
PAGE = 1_000


class CertificateReason(StrEnum):
    """Why a certificate opens nothing; a reason of the path (`CHEMIN-…`) or of peers (`PEER-…`) stands as it is."""

    UNREADABLE = "EXTERNE-ILLISIBLE"
    NAME = "EXTERNE-NOM"
    UNKNOWN = "EXTERNE-INCONNU"
    OFFER = "EXTERNE-OFFRE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """login: empty when it opens nothing; then rule and detail tell why."""

    login: str = ""
    rule: str = ""
    detail: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """fingerprints: logins by SHA-256 (64 hex digits); anchors: gives the authorities of those, read again with the links (raises
    MssFault, OSError: the last good ones stay)."""

    fingerprints: Mapping[str, str]
    anchors: Callable[[], Sequence[x509.Certificate]]


class ClientCertificates:
    """Judges the certificates that clients show."""

    def __init__(self, settings: CertificateSettings, trust: TrustState, stores: Stores, *, clock: Clock,
                 evidence: Evidence) -> None:
        self._settings = settings
        self._trust = trust
        self._stores = stores
        self._clock = clock
        self._evidence = evidence
        self._links: dict[str, str] = {}
        self._anchors: Sequence[x509.Certificate] = ()
        self._kept: dict[str, tuple[object, Verdict]] = {}
        self._snapshot: TrustSnapshot | None = None
        self._told: set[str] = set()

    # ------------------------------------------------------------------------------------------ links

    async def run(self) -> None:
        """Read links and authorities for ever."""
        while True:
            try:
                await self.refresh()
            except (MssFault, OSError) as fault:
                log.warning("identities_not_read", rule=getattr(fault, "rule", ""), fault=type(fault).__name__)
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Read links and authorities once."""
        links = await self._stores.database.read(self._read)
        if links != self._links:
            self._links, self._kept = links, {}
        if self._settings.fingerprints:
            anchors = await asyncio.to_thread(self._settings.anchors)
            if list(anchors) != list(self._anchors):
                self._anchors, self._kept = anchors, {}

    def _read(self, tx: Tx) -> dict[str, str]:
        links: dict[str, str] = {}
        after = ""
        while len(links) < MAX_LINKS:
            page = self._stores.identities.of_kind(tx, DN, limit=PAGE, after=after)
            links.update((one.value, one.login) for one in page)
            if len(page) < PAGE:
                break
            after = page[-1].value
        return links

    # ------------------------------------------------------------------------------------------ judgement

    def login_of(self, der: bytes, peer: str = "") -> str:
        """Give whose certificate this is, empty when it opens nothing; never raises for what it holds."""
        now, snapshot = self._clock.now(), self._trust.snapshot
        if snapshot is not self._snapshot:
            self._snapshot, self._kept = snapshot, {}
        fingerprint = sha256(der).hexdigest()
        kept = self._kept.get(fingerprint)
        if kept is not None and kept[0] <= now < kept[0] + KEEP:  # type: ignore[operator]
            return kept[1].login
        verdict = self.judge(der)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[fingerprint] = (now, verdict)
        if not verdict.login:
            self._tell(fingerprint, verdict, peer)
        return verdict.login

    def judge(self, der: bytes) -> Verdict:
        """Judge a certificate now."""
        if len(der) > MAX_LEAF_OCTETS:
            return Verdict(rule=CertificateReason.UNREADABLE, detail="size")
        try:
            leaf = read_der(der)
        except READ_FAULTS:
            return Verdict(rule=CertificateReason.UNREADABLE)
        pinned = self._settings.fingerprints.get(sha256(der).hexdigest())
        return self._pinned(leaf, pinned) if pinned else self._named(der, leaf)

    def _pinned(self, leaf: x509.Certificate, login: str) -> Verdict:
        """Judge a certificate that the configuration names."""
        rules = PathRules(purpose=Purpose.CLIENT, status=self._not_revoked)
        found = validate_path(leaf, (), self._anchors, self._clock.now(), rules=rules)
        return Verdict(login) if found.valid else Verdict(rule=found.code.value, detail=found.detail)

    def _not_revoked(self, certificate: x509.Certificate, issuer: x509.Certificate, at: object) -> RevocationStatus:
        """A certificate named one by one is admitted unless a CRL that we hold revokes it: its authority may publish none."""
        status = self._trust.snapshot.crls.status(certificate.serial_number, issuer, self._clock.now(),
                                                  points=distribution_points(certificate))
        return status if status is RevocationStatus.REVOKED else RevocationStatus.GOOD

    def _named(self, der: bytes, leaf: x509.Certificate) -> Verdict:
        """Judge a certificate by its subject; the issuer comes first: of a stranger nothing else is believed."""
        snapshot = self._trust.snapshot
        policy = replace(snapshot.peer_policy, eku="client", revocation="crl")
        try:
            prove(der, snapshot.anchors, snapshot.crls, self._clock.now(), policy)
            subject = subject_key(leaf.subject)
        except PeerFault as fault:
            return Verdict(rule=fault.rule, detail=fault.detail)
        except InputFault as fault:
            return Verdict(rule=CertificateReason.NAME, detail=fault.public)
        profile = recognise(leaf)
        if profile.offer is not Offer.ORG_AUTH_CLI or profile.extended is None:
            return Verdict(rule=CertificateReason.OFFER, detail=profile.offer.value, subject=subject)
        login = self._links.get(subject, "")
        return Verdict(login, subject=subject) if login else Verdict(rule=CertificateReason.UNKNOWN, subject=subject)

    def _tell(self, fingerprint: str, verdict: Verdict, peer: str) -> None:
        """Log and journal a certificate that opens nothing, once for each rule: programs come back every few seconds."""
        mark = f"{fingerprint} {verdict.rule}"
        if mark in self._told:
            return
        if len(self._told) >= MAX_KEPT:
            self._told.clear()
        self._told.add(mark)
        log.info("client_certificate_refused", rule=str(verdict.rule), certificate=fingerprint, peer=peer)
        self._evidence.write(self._evidence.event(JournalKind.CERTIFICATE_REFUSED, fingerprint, {
            "rule": str(verdict.rule), "detail": printable(verdict.detail, 200), "dn": verdict.subject[:1024], "peer": peer}))
