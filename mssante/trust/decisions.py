"""Decisions of trust, as pure functions of values and `now` (spec §2.2, §1.6, RQ-SWAP, RQ-REV).

- Reply texts are ASCII French: what is refused, the values seen, the remedy, the rule in brackets as the last word.
- A decision never falls back to "accept": what the list does not say is refused.
- Called by `services.truststate` (sessions, mail) and `services.trustkeeper` (new lists).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime, timedelta

from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.trust.names import DnMode, printable, show_name
from mssante.trust.whitelist import Whitelist

FUTURE = timedelta(days=1)
MAX_LINE = 440  # RFC 5321 §4.5.3.1.5: 512 octets with codes and CRLF


@dataclass(frozen=True, slots=True)
class ListPolicy:
    """shrink_percent: share of domains that a new list may lose; force: a human accepts rollback and shrinkage."""

    shrink_percent: int = 10
    max_age: timedelta = timedelta(days=10)
    force: bool = False


def _refuse(code: int, enhanced: str, text: str, rule: str, detail: str = "") -> Refuse:
    return Refuse(SmtpReply(code, enhanced, "\n".join(textwrap.wrap(f"{text} [{rule}]", MAX_LINE)), rule), detail)


def _domain(domain: str) -> str:
    return f'"{printable(domain, 253)}"'


def _absent(domain: str, whitelist: Whitelist) -> Refuse:
    text = (f"Domaine {_domain(domain)} absent de la liste blanche du {whitelist.generated_at:%Y-%m-%d} : "
            "verifiez l'adresse, ou faites inscrire le domaine aupres de l'ANS")
    return _refuse(550, "5.7.1", text, "LB-DOMAINE", domain)


def admit_session(identity: OperatorIdentity, whitelist: Whitelist, mode: DnMode) -> Decision:
    """Decide a connection: its certificate must be listed for at least one domain (spec §2.2 step 4).

    Gives Allow, or Refuse 554 5.7.1 `LB-CERTIFICAT`.
    """
    if whitelist.knows_name(identity.subject, mode):
        return Allow()
    text = (f"Le certificat {show_name(identity.subject)} n'est lie a aucun domaine de la liste blanche du "
            f"{whitelist.generated_at:%Y-%m-%d} : faites inscrire ce DN aupres de l'ANS")
    return _refuse(554, "5.7.1", text, "LB-CERTIFICAT", identity.subject.text)


def may_send(identity: OperatorIdentity, domain: str | None, whitelist: Whitelist, mode: DnMode) -> Decision:
    """Decide MAIL: the sender's domain (lower-case A-labels) must be listed and bound to the certificate; the null sender
    (None) needs the session rule only (spec §2.2 step 5).

    Gives Allow, or Refuse 550 5.7.1 `LB-DOMAINE`, `LB-LIAISON`, 554 `LB-CERTIFICAT`.
    """
    if domain is None:
        return admit_session(identity, whitelist, mode)
    if not whitelist.knows_domain(domain):
        return _absent(domain, whitelist)
    if whitelist.binds(domain, identity.subject, mode):
        return Allow()
    listed = "; ".join(show_name(name) for name in whitelist.dns_for(domain)[:2])
    text = (f"Le certificat {show_name(identity.subject)} n'est pas celui que la liste blanche du "
            f"{whitelist.generated_at:%Y-%m-%d} lie au domaine {_domain(domain)} ({listed}) : "
            "envoyez avec le certificat inscrit, ou faites inscrire celui-ci")
    return _refuse(550, "5.7.1", text, "LB-LIAISON", f"{domain} <- {identity.subject.text}")


def may_relay_to(domain: str, whitelist: Whitelist) -> Decision:
    """Decide whether mail may go to a domain: it must be listed (F2.9). Gives Allow, or Refuse 550 5.7.1 `LB-DOMAINE`."""
    return Allow() if whitelist.knows_domain(domain) else _absent(domain, whitelist)


def server_matches(identity: OperatorIdentity, domain: str, whitelist: Whitelist, mode: DnMode) -> Decision:
    """Decide whether the server that we dialled may take mail for a domain: its certificate must be bound to it (spec §2.2
    outbound; otherwise defer, then bounce).

    Gives Allow, or Refuse 550 `LB-DOMAINE`, 454 4.7.1 `LB-SERVEUR`.
    """
    if not whitelist.knows_domain(domain):
        return _absent(domain, whitelist)
    if whitelist.binds(domain, identity.subject, mode):
        return Allow()
    text = (f"Le serveur presente {show_name(identity.subject)}, que la liste blanche du "
            f"{whitelist.generated_at:%Y-%m-%d} ne lie pas au domaine {_domain(domain)} : nouvel essai plus tard")
    return _refuse(454, "4.7.1", text, "LB-SERVEUR", f"{domain} <- {identity.subject.text}")


def admit_list(new: Whitelist, current: Whitelist | None, now: datetime, policy: ListPolicy) -> Decision:
    """Decide whether a verified list may replace the one in force (F1.20, RQ-SWAP): the same file always may; a list must
    not come from the future (even forced), be too old, go back in time or lose too many domains.

    Gives Allow, or Refuse 451 `LB-FUTUR`, `LB-AGE`, `LB-RECUL`, `LB-REDUCTION`; the list in force then stays.
    """
    if current is not None and new.sha256 and new.sha256 == current.sha256:
        return Allow()
    if new.generated_at > now + FUTURE:
        return _refuse(451, "4.7.1", f"Liste datee du futur ({new.generated_at:%Y-%m-%dT%H:%M:%SZ}) : verifiez l'horloge",
                       "LB-FUTUR")
    if policy.force:
        return Allow()
    if now - new.generated_at > policy.max_age:
        text = f"Liste trop ancienne ({new.generated_at:%Y-%m-%d}) : {policy.max_age.total_seconds() / 3600:.0f} h au plus"
        return _refuse(451, "4.7.1", text, "LB-AGE")
    return Allow() if current is None else _admit_successor(new, current, policy)


def _admit_successor(new: Whitelist, current: Whitelist, policy: ListPolicy) -> Decision:
    """Anti-rollback (F1.20) and shrink guard (RQ-SWAP), which only a human overrides."""
    if new.generated_at < current.generated_at:
        text = (f"Liste plus ancienne ({new.generated_at:%Y-%m-%dT%H:%M:%SZ}) que celle en vigueur "
                f"({current.generated_at:%Y-%m-%dT%H:%M:%SZ}) : un administrateur doit confirmer")
        return _refuse(451, "4.7.1", text, "LB-RECUL")
    lost = len(current.domains() - new.domains())
    if lost * 100 > current.domain_count * policy.shrink_percent:
        text = (f"Liste amputee de {lost} domaines sur {current.domain_count} ({policy.shrink_percent} % au plus) : "
                "un administrateur doit confirmer")
        return _refuse(451, "4.7.1", text, "LB-REDUCTION")
    return Allow()
