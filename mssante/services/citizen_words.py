"""What is said about messages to and from citizens: SMTP refusals, and the causes for which a message comes back.

- Refusals are ASCII French, end with the rule in brackets, hold no address, matricule, name or subject. Each rule has a row in
  `mssante.trust.rules_mail` (`mssante explain --rule CITOYEN-…`).
- Causes are the four of spec F9.7 as a professional can act on them, and `other` for what no pattern knows.
Pure. Called by `services/citizen*.py`, `cli/citizen.py`.
"""

from __future__ import annotations

from enum import StrEnum

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.reply import Refuse, SmtpReply


class Cause(StrEnum):
    """Why a message to a citizen came back."""

    CLOSED = "closed"  # box closed, or never opened
    UNKNOWN = "unknown"  # patient not found, or address invalid
    TOO_BIG = "too_big"
    NO_EXCHANGE = "no_exchange"  # exchange not opened, or closed by FIN
    OTHER = "other"


_TEXTS: dict[str, tuple[int, str, str]] = {
    "CITOYEN-EXPEDITEUR": (550, "5.7.1", "Cette sorte de boite n'ecrit pas aux usagers ici : envoyez depuis une boite admise, ou "
                                         "demandez a votre administrateur (citizen.senders)"),
    "CITOYEN-PROFESSIONNELS": (550, "5.7.1", "Un usager n'ecrit qu'aux professionnels : retirez cette adresse"),
    "CITOYEN-SANS-ECHANGE": (550, "5.7.1",
                             "Aucun echange n'est ouvert avec ce correspondant : c'est au professionnel d'ecrire le "
                                           "premier"),
    "CITOYEN-FIN": (550, "5.7.1", "Le professionnel a clos cet echange : il n'attend plus de reponse. Prenez contact autrement"),
    "CITOYEN-INCONNU": (550, "5.1.1", "Usager inconnu ici : verifiez son identite et reprenez l'adresse de l'INS qualifiee"),
    "CITOYEN-FERME": (550, "5.2.1",
                      "L'espace de cet usager est ferme, ou n'a jamais ete ouvert : remettez le document autrement"),
    "CITOYEN-CHIFFRE": (554, "5.6.1", "Message chiffre ou signe opaque : un usager ne peut pas l'ouvrir. Renvoyez-le sans S/MIME "
                                      "ni PGP"),
    "CITOYEN-REPLY-TO": (554, "5.7.1",
                         "Reply-To doit porter une seule adresse MSSante, de professionnel ou de service, ouverte : "
                                       "l'usager y repondra"),
    "CITOYEN-AUTRE-PATIENT": (554, "5.7.1", "Le document n'est pas celui de l'usager destinataire : l'adresse doit etre faite de "
                                            "l'INS du patient lui-meme, mineur compris"),
    "CITOYEN-DEUX-PATIENTS": (554, "5.7.1", "Les documents joints concernent plusieurs patients : un message structure n'en "
                                            "concerne qu'un"),
    "CITOYEN-INS-NON-QUALIFIE": (554, "5.7.1", "Le document ne porte pas d'INS qualifie du patient (matricule, OID et traits) : "
                                               "qualifiez l'identite avant d'ecrire a l'usager"),
}


def refusal(rule: str) -> Refuse:
    """Give the refusal of a rule of this module. Raises KeyError for any other."""
    code, enhanced, text = _TEXTS[rule]
    return Refuse(SmtpReply(code, enhanced, f"{text} [{rule}]", rule))


def refusal_rules() -> tuple[str, ...]:
    """Give the rules that `refusal` knows."""
    return tuple(_TEXTS)


def not_a_citizen() -> InputFault:
    """Give the fault of a command about a mailbox that is not here, or not a citizen's; the address typed is not repeated."""
    return InputFault(say("cette boîte n'est pas ici, ou n'est pas celle d'un usager",
                          "this mailbox is not here, or not a citizen's"),
                      rule="CITOYEN-INCONNU", remedy="mssante mailbox list")


def cause_title(cause: Cause) -> str:
    """Give a cause in a few words."""
    return {
        Cause.CLOSED: say("espace fermé, ou jamais ouvert", "space closed, or never opened"),
        Cause.UNKNOWN: say("usager introuvable, ou adresse fausse", "person not found, or wrong address"),
        Cause.TOO_BIG: say("message trop gros", "message too big"),
        Cause.NO_EXCHANGE: say("échange non ouvert, ou clos", "exchange not opened, or closed"),
        Cause.OTHER: say("cause non reconnue", "cause not recognised"),
    }[cause]


def cause_text(cause: Cause, most_megabytes: int) -> str:
    """Give what happened and what to do, for the professional who wrote; no name, address nor subject in it."""
    return {
        Cause.CLOSED: say(
            "L'usager n'a pas d'espace ouvert : il l'a fermé, ou ne l'a jamais activé. Votre message ne sera pas lu.\n"
            "À faire : remettez le document au patient autrement (papier, main propre), et demandez-lui s'il souhaite ouvrir son "
            "espace. Inutile de renvoyer le message.",
            "The person has no open space: it was closed, or never opened. Your message will not be read.\n"
            "To do: hand the document over in another way, and ask whether the person wants to open the space. "
            "Do not send again."),
        Cause.UNKNOWN: say(
            "Le service national ne connaît pas l'usager destinataire, ou l'adresse est fausse.\n"
            "À faire : vérifiez l'identité du patient par l'INSi et reprenez l'adresse de l'INS qualifiée (15 caractères, clé "
            "comprise). Pour un enfant, c'est sa propre INS, jamais celle du parent.",
            "The national service does not know the person, or the address is wrong.\n"
            "To do: check the identity by INSi and take the address from the qualified INS (15 characters with the key). A child "
            "has an INS of its own, never the parent's."),
        Cause.TOO_BIG: say(
            f"Votre message dépasse ce que le service des usagers accepte ({most_megabytes} Mo en tout).\n"
            "À faire : réduisez ou séparez les pièces jointes, puis renvoyez.",
            f"Your message is larger than the citizens' service takes ({most_megabytes} MB in all).\n"
            "To do: make the attachments smaller or split them, then send again."),
        Cause.NO_EXCHANGE: say(
            "Le service des usagers a refusé le message parce que l'échange n'est pas ouvert, ou qu'il est clos (FIN).\n"
            "À faire : écrivez un nouveau message à l'usager, sans FIN, pour rouvrir l'échange.",
            "The citizens' service refused the message because the exchange is not open, or is closed (FIN).\n"
            "To do: write a new message, without FIN, to open the exchange again."),
        Cause.OTHER: say(
            "Le service des usagers a rendu le message sans cause reconnue. Sa réponse est dans votre boîte, telle "
            "qu'elle est venue.\n"
            "À faire : lisez-la, et montrez-la à votre administrateur s'il le faut (citizen.bounces).",
            "The citizens' service returned the message for no known cause. Its answer is in your mailbox as it came.\n"
            "To do: read it, and show it to your administrator if needed (citizen.bounces)."),
    }[cause]
