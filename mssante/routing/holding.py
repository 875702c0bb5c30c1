"""The causes for which mail is held: which failures mean which cause, what waits, what releases it, who must act.

    cause                      scope        dialled meanwhile   ends when
    list-too-old               everybody    no                  a usable list is in force
    crl-expired                everybody    now and then        a try passes, or fresh CRLs came
    peer-certificate-changed   one domain   now and then        a try passes
    domain-left-list           one domain   no                  the domain is listed again
    own-certificate            one domain   now and then        that peer accepts us (it had refused our certificate)
    own-certificate            everybody    no                  our certificate is in date
    manual                     as asked     no                  a human says so

The words for an administrator are here; `docs/holds.md` explains. Pure; called by `services.holds` and `cli.holds`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mssante.lang import say
from mssante.model.hold import Hold, HoldCause

_OURS = re.compile(r"\[(LB-CERTIFICAT|LB-LIAISON|LB-DOMAINE|PEER-[A-Z-]+)\]")
LIMIT_MARK = "limite atteinte"
RELEASE_MARK = "liberee a la main"
_UNKNOWN = re.compile(r"PEER-(?:CRL|OCSP|REVOCATION|ETAT)")  # revocation that could not be known, on whichever side
ORDER = (HoldCause.MANUAL, HoldCause.LIST_TOO_OLD, HoldCause.OWN_CERTIFICATE, HoldCause.CRL_EXPIRED, HoldCause.DOMAIN_LEFT,
         HoldCause.PEER_CERTIFICATE)


@dataclass(frozen=True, slots=True)
class CauseText:
    """rule: code of a held recipient; sender: ASCII French for the sender's notice; the rest: (French, English)."""

    rule: str
    sender: str
    why: tuple[str, str]
    release: tuple[str, str]
    who: tuple[str, str]


TEXTS = {
    HoldCause.LIST_TOO_OLD: CauseText(
        "RETENUE-LISTE", "la liste blanche de votre operateur est trop ancienne : aucun destinataire ne peut etre verifie",
        ("la liste en vigueur est trop ancienne", "the list in force is too old"),
        ("une liste fraîche est adoptée", "a fresh list is adopted"),
        ("nous : whitelist_url, réseau ; sinon l'ANS", "we: whitelist_url, network; else ANS")),
    HoldCause.CRL_EXPIRED: CauseText(
        "RETENUE-CRL", "la liste de revocation est perimee chez votre operateur : l'etat des certificats est inconnu",
        ("la révocation ne peut être vérifiée chez nous", "we cannot check revocation"),
        ("une CRL fraîche arrive, ou un essai passe", "a fresh CRL comes, or a try passes"),
        ("nous : crl_urls, réseau ; sinon l'IGC-Santé", "we: crl_urls, network; else IGC-Santé")),
    HoldCause.PEER_CERTIFICATE: CauseText(
        "RETENUE-PAIR", "l'operateur du destinataire presente un certificat qui n'est pas admis",
        ("le serveur du domaine présente un certificat non admis", "the domain's server shows a certificate not admitted"),
        ("un essai passe", "a try passes"),
        ("l'opérateur du domaine (SupportContact : mssante whitelist lookup DOMAINE)",
         "the domain's operator (SupportContact: mssante whitelist lookup DOMAIN)")),
    HoldCause.DOMAIN_LEFT: CauseText(
        "RETENUE-DOMAINE", "le domaine du destinataire a quitte la liste blanche",
        ("le domaine a quitté la liste blanche", "the domain left the white list"),
        ("le domaine revient dans la liste", "the domain is listed again"),
        ("l'ANS ou l'opérateur du domaine ; nous si la liste est fautive : mssante whitelist rollback",
         "ANS or the domain's operator; we when the list is wrong: mssante whitelist rollback")),
    HoldCause.OWN_CERTIFICATE: CauseText(
        "RETENUE-CERTIFICAT", "le certificat de votre operateur n'est pas accepte",
        ("notre certificat est expiré ou refusé", "our certificate expired or is refused"),
        ("le certificat est remplacé, ou un essai passe", "the certificate is replaced, or a try passes"),
        ("nous : mssante check ; inscription auprès de l'ANS", "we: mssante check; listing with ANS")),
    HoldCause.MANUAL: CauseText(
        "RETENUE-MANUELLE", "votre operateur a suspendu les envois vers ce destinataire",
        ("demandée par un administrateur", "asked by an administrator"),
        ("mssante hold release", "mssante hold release"), ("qui l'a demandée", "who asked for it")),
}


def dials(hold: Hold) -> bool:
    """Tell whether tries go on at a slow pace while it stands, to find out that all is well again."""
    return hold.cause in (HoldCause.CRL_EXPIRED, HoldCause.PEER_CERTIFICATE) or (
        hold.cause is HoldCause.OWN_CERTIFICATE and bool(hold.domain))


def cause_of_rule(rule: str) -> HoldCause | None:
    """Give the cause that a refusal of ours toward a peer means, by its rule; None when mail need not be held for it."""
    if _UNKNOWN.match(rule):
        return HoldCause.CRL_EXPIRED
    if rule == "LB-SERVEUR" or rule.startswith("PEER-"):
        return HoldCause.PEER_CERTIFICATE
    return HoldCause.LIST_TOO_OLD if rule == "LB-INDISPONIBLE" else None


def refuses_us(reply: str) -> str:
    """Give the rule under which a peer of the trust space refuses our certificate or domain, from its reply; else empty.

    Only operators that name their rules say so beyond doubt; another's `5.7.1` may be about the letter and is left alone.
    """
    found = _OURS.search(reply)
    return found[1] if found is not None and not _UNKNOWN.match(found[1]) else ""


def held_reply(hold: Hold) -> str:
    """Give the reason for the sender's notice: ASCII French, no value of a person."""
    return f"Retenu, rien n'est perdu : {TEXTS[hold.cause].sender}. Garde jusqu'au {hold.until:%Y-%m-%d %H:%M} UTC au plus"


def epitaph(hold: Hold) -> str:
    """Give the words of a failure that comes after a hold that ran out."""
    hours = max(int((hold.until - hold.since).total_seconds() // 3600), 0)
    return f"Retenu {hours} h puis abandonne : {TEXTS[hold.cause].sender}"


def words(hold: Hold) -> tuple[str, str, str]:
    """Give (why, what releases it, who must act) for an administrator."""
    text = TEXTS[hold.cause]
    return say(*text.why), say(*text.release), say(*text.who)
