"""The trust decisions in force: one immutable snapshot, swapped as a whole by the trust keeper.

- A transaction reads the snapshot once; what it decides is recorded with the list's generation date.
- No usable list, or one past its maximum age: no traffic between operators (451), never "accept all".
- Certificates proven are cached by fingerprint for at most 60 s and never across snapshots, so a revocation takes effect at
  the next MAIL of a session, new or open, as soon as its CRL is adopted or its OCSP answer has come.
- Decisions never wait. When OCSP must be asked first, `prepare` gives what to await before the decision; with the policy
  `crl`, or an answer at hand, it gives None and costs one comparison.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from mssante.clock import Clock
from mssante.errors import PeerFault
from mssante.model import replies
from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.trust import decisions
from mssante.trust.anchors import TrustAnchors
from mssante.trust.crl import CrlSet
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy, Proven, UnknownRevocation, prove
from mssante.trust.whitelist import Whitelist

KEEP_IDENTITY = timedelta(seconds=60)
MAX_IDENTITIES = 5000


@dataclass(frozen=True, slots=True)
class TrustSnapshot:
    """All that a decision reads. whitelist None: none adopted yet."""

    anchors: TrustAnchors
    crls: CrlSet
    peer_policy: PeerPolicy
    mode: DnMode
    max_age: timedelta
    whitelist: Whitelist | None = None


class OcspDesk(Protocol):
    """`services.revocation.RevocationDesk`."""

    def prepare(self, proven: Proven) -> Awaitable[None] | None:
        """Give what to await before `check`, or None."""
        ...

    def check(self, proven: Proven) -> None:
        """Raises PeerFault when the certificate is revoked, or not known not to be."""
        ...


@lru_cache(maxsize=4)  # said of every message, and the same for days
def _dates(instant: datetime) -> tuple[str, str]:
    return f"{instant:%Y-%m-%d}", f"{instant:%Y-%m-%dT%H:%M:%SZ}"


class TrustState:
    """Holder of the snapshot in force, shared by reception, submission, relay and console."""

    def __init__(self, snapshot: TrustSnapshot, clock: Clock) -> None:
        self.snapshot = snapshot
        self._clock = clock
        self._proven: dict[str, tuple[datetime, Proven]] = {}
        self._desk: OcspDesk | None = None
        self.seen: Callable[[bytes, str, str, str], None] = lambda *_: None  # set by `certificates_setup`: `peerwatch` counts
        self.keeps_new_mail: Callable[[], bool] = lambda: False  # set by `services.holds`: mail may wait for a fresh list

    def swap(self, snapshot: TrustSnapshot) -> None:
        """Put a new snapshot in force (event loop thread)."""
        self.snapshot = snapshot
        self._proven = {}

    def ask_at(self, desk: OcspDesk) -> None:
        """Give the desk where OCSP is asked; without it the policies `ocsp` and `both` admit nobody."""
        self._desk = desk

    def usable_list(self) -> Whitelist | None:
        """Give the list in force unless it is absent or too old (`whitelist_max_age_hours`)."""
        current = self.snapshot.whitelist
        if current is None or self._clock.now() - current.generated_at > self.snapshot.max_age:
            return None
        return current

    def list_date(self) -> str:
        """Give the day of the list in force for reply texts, or `aucune`."""
        current = self.snapshot.whitelist
        return _dates(current.generated_at)[0] if current else "aucune"

    def list_instant(self) -> str:
        """Give the generation instant of the list in force for the journal (ISO 8601, UTC), or an empty string."""
        current = self.snapshot.whitelist
        return _dates(current.generated_at)[1] if current else ""

    def prepare(self, leaf_der: bytes) -> Awaitable[None] | None:
        """Give what to await before a decision about this certificate, None when it can be taken now. Awaiting never raises."""
        if self.snapshot.peer_policy.revocation == "crl" or self._desk is None:
            return None
        try:
            return self._desk.prepare(self._prove(leaf_der))
        except PeerFault:  # the decision meets it again, and says it
            return None

    def identify(self, leaf_der: bytes) -> OperatorIdentity:
        """Give the identity that a certificate proves now (spec §2.2 steps 2-3), after `prepare`. Raises PeerFault."""
        proven = self._prove(leaf_der)
        if self.snapshot.peer_policy.revocation != "crl":
            if self._desk is None:
                raise UnknownRevocation("Etat de revocation inconnu, reessayez : OCSP n'est pas en service",
                                        rule="PEER-OCSP-STALE")
            self._desk.check(proven)
        return proven.identity

    def _prove(self, leaf_der: bytes) -> Proven:
        now = self._clock.now()
        snapshot, kept_ones = self.snapshot, self._proven  # of one instant: what an old snapshot proved is kept nowhere
        fingerprint = hashlib.sha256(leaf_der).hexdigest()
        kept = kept_ones.get(fingerprint)
        if kept is not None and now < kept[0] <= now + KEEP_IDENTITY:  # the second: a clock set back forgets
            return kept[1]
        proven = prove(leaf_der, snapshot.anchors, snapshot.crls, now, snapshot.peer_policy)
        if len(kept_ones) >= MAX_IDENTITIES:
            kept_ones.clear()
        kept_ones[fingerprint] = (min(now + KEEP_IDENTITY, proven.identity.not_after), proven)
        return proven

    def admit(self, leaf_der: bytes) -> OperatorIdentity | Refuse:
        """Decide a session from its certificate (spec §2.2 steps 2-4)."""
        try:
            identity = self.identify(leaf_der)
        except PeerFault as fault:
            code, enhanced = (454, "4.7.0") if fault.temporary else (554, "5.7.1")
            return Refuse(SmtpReply(code, enhanced, f"{fault.public} [{fault.rule}]", fault.rule), fault.detail)
        current = self.usable_list()
        if current is None:
            return Refuse(replies.TRUST_NOT_READY)
        decision = decisions.admit_session(identity, current, self.snapshot.mode)
        return decision if isinstance(decision, Refuse) else identity

    def may_send(self, identity: OperatorIdentity, domain: str | None) -> Decision:
        """Decide MAIL: the identity must be bound to the sender's domain (spec §2.2 step 5)."""
        current = self.usable_list()
        if current is None:
            return Refuse(replies.TRUST_NOT_READY)
        return decisions.may_send(identity, domain, current, self.snapshot.mode)

    def may_relay_to(self, domain: str) -> Decision:
        """Decide whether a domain is in the trust space."""
        current = self.usable_list()
        if current is None:
            return Refuse(replies.TRUST_NOT_READY)
        if current.knows_domain(domain):
            return Allow()
        return replies.outside_trust_space(domain, self.list_date())

    def may_queue_for(self, domain: str) -> Decision:
        """Decide whether one of our users may write to a domain: as `may_relay_to`, but against the last list known while mail
        can be held until a fresh one comes. Nothing leaves before that."""
        last = self.snapshot.whitelist
        if last is None or self.usable_list() is not None or not self.keeps_new_mail():
            return self.may_relay_to(domain)
        return Allow() if last.knows_domain(domain) else replies.outside_trust_space(domain, self.list_date())

    def verify_server(self, leaf_der: bytes, domain: str) -> Awaitable[None] | None:
        """Check a server that we dialled for `domain` (spec §2.2 outbound). Raises PeerFault (temporary: defer, then bounce).

        Gives None when that is decided, or what to await, which raises the same.
        """
        waiting = self.prepare(leaf_der)
        if waiting is not None:
            return self._verify_after(waiting, leaf_der, domain)
        self._verify(leaf_der, domain)
        return None

    async def _verify_after(self, waiting: Awaitable[None], leaf_der: bytes, domain: str) -> None:
        await waiting
        self._verify(leaf_der, domain)

    def _verify(self, leaf_der: bytes, domain: str) -> None:
        try:
            self._match(leaf_der, domain)
        except PeerFault as fault:
            self.seen(leaf_der, domain, "out", fault.rule)
            raise
        self.seen(leaf_der, domain, "out", "")

    def _match(self, leaf_der: bytes, domain: str) -> None:
        identity = self.identify(leaf_der)
        current = self.usable_list()
        decision = (Refuse(replies.TRUST_NOT_READY) if current is None else
                    decisions.server_matches(identity, domain, current, self.snapshot.mode))
        if isinstance(decision, Refuse):
            raise PeerFault(decision.reply.text, detail=decision.detail, rule=decision.rule)
