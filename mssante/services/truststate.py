"""The trust decisions in force: one immutable snapshot, swapped as a whole by the trust keeper.

- A transaction reads the snapshot once; what it decides is recorded with the list's generation date.
- No usable list, or one past its maximum age: no traffic between operators (451), never "accept all".
- Identities are cached by certificate fingerprint for at most 60 s and never across snapshots, so a revocation takes
  effect at the next command of a new session as soon as its CRL is adopted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from mssante.clock import Clock
from mssante.errors import PeerFault
from mssante.model import replies
from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.trust import decisions
from mssante.trust.anchors import TrustAnchors
from mssante.trust.crl import CrlSet
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy, identify
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


class TrustState:
    """Holder of the snapshot in force, shared by reception, submission, relay and console."""

    def __init__(self, snapshot: TrustSnapshot, clock: Clock) -> None:
        self.snapshot = snapshot
        self._clock = clock
        self._identities: dict[str, tuple[datetime, OperatorIdentity]] = {}

    def swap(self, snapshot: TrustSnapshot) -> None:
        """Put a new snapshot in force (event loop thread)."""
        self.snapshot = snapshot
        self._identities = {}

    def usable_list(self) -> Whitelist | None:
        """Give the list in force unless it is absent or too old (`whitelist_max_age_hours`)."""
        current = self.snapshot.whitelist
        if current is None or self._clock.now() - current.generated_at > self.snapshot.max_age:
            return None
        return current

    def list_date(self) -> str:
        """Give the day of the list in force for reply texts, or `aucune`."""
        current = self.snapshot.whitelist
        return f"{current.generated_at:%Y-%m-%d}" if current else "aucune"

    def identify(self, leaf_der: bytes) -> OperatorIdentity:
        """Give the identity that a certificate proves now (spec §2.2 steps 2-3). Raises PeerFault."""
        now = self._clock.now()
        fingerprint = hashlib.sha256(leaf_der).hexdigest()
        kept = self._identities.get(fingerprint)
        if kept is not None and now < kept[0] <= now + KEEP_IDENTITY:  # the second: a clock set back forgets
            return kept[1]
        snapshot = self.snapshot
        identity = identify(leaf_der, snapshot.anchors, snapshot.crls, now, snapshot.peer_policy)
        if len(self._identities) >= MAX_IDENTITIES:
            self._identities.clear()
        self._identities[fingerprint] = (min(now + KEEP_IDENTITY, identity.not_after), identity)
        return identity

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

    def verify_server(self, leaf_der: bytes, domain: str) -> None:
        """Check a server that we dialled for `domain` (spec §2.2 outbound). Raises PeerFault (temporary: defer, then bounce)."""
        identity = self.identify(leaf_der)
        current = self.usable_list()
        decision = (Refuse(replies.TRUST_NOT_READY) if current is None else
                    decisions.server_matches(identity, domain, current, self.snapshot.mode))
        if isinstance(decision, Refuse):
            raise PeerFault(decision.reply.text, detail=decision.detail, rule=decision.rule)
