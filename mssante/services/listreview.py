"""What a new white list changes here, told when it is adopted or held back: difference, consequences, alarms.

- The difference is computed once, outside the event loop; its headline goes to the journal with the adoption, each alarm is an
  event of its own, and the alarm gauge `whitelist-shape` stays up until a list without alarm is adopted.
- A list that waits for a human is kept as `waiting.xml` (its signature was good), so that `mssante whitelist diff current
  waiting` can show what is asked.

Called by `services.trustkeeper`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.model.journal import JournalEvent, JournalKind
from mssante.observability.metrics import TRUST_ALARM
from mssante.services.evidence import Evidence
from mssante.trust.listdiff import Consequences, Interest, ListDiff, consequences, diff_lists
from mssante.trust.listshape import ShapeAlarm, ShapePolicy, shape_alarms
from mssante.trust.liststory import headline
from mssante.trust.whitelist import Whitelist

WAITING = "waiting.xml"
HUMAN_RULES = frozenset({"LB-REDUCTION", "LB-NOTRE-DOMAINE"})  # signature good, but a human must say yes


@dataclass(frozen=True, slots=True)
class ListReview:
    """A new list beside the one in force."""

    diff: ListDiff
    effect: Consequences
    alarms: tuple[ShapeAlarm, ...]

    @property
    def stopping(self) -> ShapeAlarm | None:
        """The first alarm that wants a human, or None."""
        return next((one for one in self.alarms if one.stops), None)


def review_list(new: Whitelist, current: Whitelist, interest: Interest, policy: ShapePolicy) -> ListReview:
    """Compare (pure; some tens of milliseconds for the national list)."""
    diff = diff_lists(current, new)
    effect = consequences(diff, current, new, interest)
    return ListReview(diff, effect, shape_alarms(new, current, (diff, effect), policy))


def adoption_facts(review: ListReview | None) -> dict[str, str | int | float | bool | None]:
    """Give what the journal says of an adoption beyond its dates."""
    if review is None:
        return {}
    return {"joined": len(review.diff.joined), "left": len(review.diff.left), "rebound": len(review.diff.rebound),
            "severity": review.effect.severity.value, "story": headline(review.diff, review.effect)}


def alarm_events(review: ListReview | None, evidence: Evidence, subject: str) -> list[JournalEvent]:
    """Set the gauge; give one event for each alarm."""
    alarms = review.alarms if review is not None else ()
    TRUST_ALARM.labels("whitelist-shape").set(1 if alarms else 0)
    return [evidence.event(JournalKind.WHITELIST_ALARM, subject, {"rule": one.rule, "text": one.text, "stops": one.stops})
            for one in alarms]
