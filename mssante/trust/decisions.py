"""Decisions of trust, as pure functions of values and `now` (spec §2.2, §1.6, RQ-SWAP, RQ-REV).

Reply texts are ASCII French: what is refused, the values seen, the rule in brackets.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mssante.model.identity import DistinguishedName, OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.trust.names import DnMode
from mssante.trust.whitelist import Whitelist

FUTURE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ListPolicy:
    """shrink_percent: share of domains that a new list may lose; force: a human accepts rollback and shrinkage."""

    shrink_percent: int = 10
    max_age: timedelta = timedelta(days=10)
    force: bool = False


def _refuse(code: int, enhanced: str, text: str, rule: str, detail: str = "") -> Refuse:
    return Refuse(SmtpReply(code, enhanced, f"{text} [{rule}]", rule), detail)


def _shown(name: DistinguishedName) -> str:
    """Give a subject as a reply may show it: CN and OU, ASCII."""
    cn, ou = name.value("CN"), name.value("OU")
    return f"CN={cn},OU={ou}".encode("ascii", "replace").decode()[:160]


def admit_session(identity: OperatorIdentity, whitelist: Whitelist, mode: DnMode) -> Decision:
    """The certificate must be listed for at least one domain (spec §2.2 step 4)."""
    if whitelist.knows_name(identity.subject, mode):
        return Allow()
    text = (f"Le certificat {_shown(identity.subject)} n'est lie a aucun domaine de la liste blanche du "
            f"{whitelist.generated_at:%Y-%m-%d}")
    return _refuse(554, "5.7.1", text, "LB-CERTIFICAT", identity.subject.text)


def may_send(identity: OperatorIdentity, domain: str | None, whitelist: Whitelist, mode: DnMode) -> Decision:
    """The sender's domain must be listed and bound to the certificate; the null sender needs the session rule only."""
    if domain is None:
        return admit_session(identity, whitelist, mode)
    if not whitelist.knows_domain(domain):
        text = f"Domaine expediteur {domain} absent de la liste blanche du {whitelist.generated_at:%Y-%m-%d}"
        return _refuse(550, "5.7.1", text, "LB-DOMAINE", domain)
    if whitelist.binds(domain, identity.subject, mode):
        return Allow()
    text = f"Le certificat {_shown(identity.subject)} n'est pas celui que la liste blanche lie au domaine {domain}"
    return _refuse(550, "5.7.1", text, "LB-LIAISON", f"{domain} <- {identity.subject.text}")


def may_relay_to(domain: str, whitelist: Whitelist) -> Decision:
    """A recipient's domain must be listed (F2.9)."""
    if whitelist.knows_domain(domain):
        return Allow()
    text = f"Domaine {domain} absent de la liste blanche du {whitelist.generated_at:%Y-%m-%d}"
    return _refuse(550, "5.7.1", text, "LB-DOMAINE", domain)


def server_matches(identity: OperatorIdentity, domain: str, whitelist: Whitelist, mode: DnMode) -> Decision:
    """The server that we dialled must present a certificate bound to the recipient's domain (spec §2.2 outbound)."""
    if whitelist.binds(domain, identity.subject, mode):
        return Allow()
    text = f"Le serveur presente {_shown(identity.subject)}, que la liste blanche ne lie pas au domaine {domain}"
    return _refuse(454, "4.7.1", text, "LB-SERVEUR", f"{domain} <- {identity.subject.text}")


def admit_list(new: Whitelist, current: Whitelist | None, now: datetime, policy: ListPolicy) -> Decision:
    """A new list must not come from the future, be too old, go back in time or lose too many domains (F1.20, RQ-SWAP)."""
    if new.generated_at > now + FUTURE:
        return _refuse(451, "4.7.1", f"Liste datee du futur : {new.generated_at:%Y-%m-%dT%H:%M:%SZ}", "LB-FUTUR")
    if policy.force:
        return Allow()
    if now - new.generated_at > policy.max_age:
        return _refuse(451, "4.7.1", f"Liste trop ancienne : {new.generated_at:%Y-%m-%d}", "LB-AGE")
    if current is None:
        return Allow()
    if new.generated_at < current.generated_at:
        text = f"Liste plus ancienne ({new.generated_at:%Y-%m-%dT%H:%M:%SZ}) que celle en vigueur " \
               f"({current.generated_at:%Y-%m-%dT%H:%M:%SZ})"
        return _refuse(451, "4.7.1", text, "LB-RECUL")
    lost = len(current.domains() - new.domains())
    if lost * 100 > current.domain_count * policy.shrink_percent:
        text = f"Liste amputee de {lost} domaines sur {current.domain_count} : un administrateur doit confirmer"
        return _refuse(451, "4.7.1", text, "LB-REDUCTION")
    return Allow()
