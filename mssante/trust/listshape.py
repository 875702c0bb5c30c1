"""Alarms on the shape of a new white list: what a good signature does not tell (RQ-SWAP, F1.7).

- A list that takes our own domain away, or binds it to another certificate, waits for a human (unless the setting says warn):
  our peers would refuse us, and the mistake is more likely the publisher's or ours than meant.
- The others warn and do not stop: many certificates changed at once, many domains joined, the citizen domain gone, a jump of
  the generation date, another signer, another content under the same date.
- Shrinkage and going back in time are `decisions.admit_list`'s.
- Pure: called by `services.trustkeeper` with the difference at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from mssante.lang import say
from mssante.trust.listdiff import Consequences, ListDiff
from mssante.trust.whitelist import Whitelist


@dataclass(frozen=True, slots=True)
class ShapePolicy:
    """Shares are of the domains of the list in force; 100 percent never alarms. own_stops: losing our domain stops adoption."""

    changed_percent: int = 20
    joined_percent: int = 20
    gap: timedelta = timedelta(days=7)
    own_stops: bool = True


@dataclass(frozen=True, slots=True)
class ShapeAlarm:
    """One abnormal thing. stops: the list waits for a human."""

    rule: str
    text: str
    stops: bool = False


def shape_alarms(new: Whitelist, current: Whitelist, seen: tuple[ListDiff, Consequences], policy: ShapePolicy,
                 ) -> tuple[ShapeAlarm, ...]:
    """Give what is abnormal in `new` after `current`; those that stop come first.

    Codes: `LB-NOTRE-DOMAINE`, `LB-CITOYEN`, `LB-CHANGEMENTS`, `LB-ENTREES`, `LB-SAUT`, `LB-SIGNATAIRE-CHANGE`, `LB-MEME-DATE`.
    """
    diff, effect = seen
    total = max(diff.domains_before, 1)
    found: list[ShapeAlarm] = []
    if effect.own_lost:
        names = ", ".join(effect.own_lost)
        found.append(ShapeAlarm("LB-NOTRE-DOMAINE", say(
            f"la nouvelle liste retire {names}, ou ne le lie plus à notre certificat",
            f"the new list takes {names} away, or no longer binds it to our certificate"), policy.own_stops))
    if effect.citizen_lost:
        found.append(ShapeAlarm("LB-CITOYEN", say("le domaine citoyen n'est plus dans la liste",
                                                  "the citizen domain is no longer in the list")))
    rebound = len(diff.rebound)
    if rebound * 100 > total * policy.changed_percent:
        found.append(ShapeAlarm("LB-CHANGEMENTS", say(
            f"{rebound} domaines sur {diff.domains_before} changent de certificat ({policy.changed_percent} % attendus au plus)",
            f"{rebound} domains of {diff.domains_before} change certificate (at most {policy.changed_percent} % expected)")))
    if len(diff.joined) * 100 > total * policy.joined_percent:
        found.append(ShapeAlarm("LB-ENTREES", say(
            f"{len(diff.joined)} domaines entrent, {diff.domains_before} avant ({policy.joined_percent} % attendus au plus)",
            f"{len(diff.joined)} domains join, {diff.domains_before} before (at most {policy.joined_percent} % expected)")))
    found += _dates(new, current, policy)
    if current.signer and new.signer and current.signer != new.signer:
        found.append(ShapeAlarm("LB-SIGNATAIRE-CHANGE", say(
            f"le signataire change : {current.signer} -> {new.signer}", f"the signer changed: {current.signer} -> {new.signer}")))
    return tuple(sorted(found, key=lambda one: not one.stops))


def _dates(new: Whitelist, current: Whitelist, policy: ShapePolicy) -> list[ShapeAlarm]:
    step = new.generated_at - current.generated_at
    if step > policy.gap:
        days = step.days
        return [ShapeAlarm("LB-SAUT", say(
            f"{days} jours entre deux listes ({current.generated_at:%Y-%m-%d} puis {new.generated_at:%Y-%m-%d})",
            f"{days} days between two lists ({current.generated_at:%Y-%m-%d} then {new.generated_at:%Y-%m-%d})"))]
    if not step and new.sha256 != current.sha256:
        return [ShapeAlarm("LB-MEME-DATE", say("même date de génération, autre contenu",
                                               "same generation date, other content"))]
    return []
