"""The stable catalogue of rules: what each identifier in brackets means, who must fix it, and how, in French and in English.

- Every refusal, journal event and alarm names one rule; a rule, once published, keeps its meaning. Rules are added, never reused.
- `find_rule` gives the row of an identifier; some stand for a family (`DNS-*`: identifiers made from the name of a fault).
- `FAMILIES` are the first words whose identifiers must all be here: a test reads the code and checks it, both ways.
- Pure data and look-ups. Called by `services.explain`, `mssante explain --rule` and `docs/rules.md`, which is
  `python -m mssante.trust.rules`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from mssante.lang import say
from mssante.trust.rules_mail import MAIL_ROWS
from mssante.trust.rules_signin import SIGNIN_ROWS
from mssante.trust.rules_state import STATE_ROWS
from mssante.trust.rules_trust import TRUST_ROWS, Row


class Who(StrEnum):
    """Who must fix it."""

    US = "us"
    PEER = "peer"
    ANS = "ans"
    SENDER = "sender"
    NOBODY = "nobody"


class Stage(StrEnum):
    """The step of a decision at which a rule speaks, in the order in which they are taken."""

    DNS = "dns"
    TLS = "tls"
    CERTIFICATE = "certificate"
    ISSUER = "issuer"
    DATES = "dates"
    USAGES = "usages"
    KEY = "key"
    REVOCATION = "revocation"
    LIST = "list"
    SESSION = "session"
    SENDER = "sender"
    BINDING = "binding"
    RECIPIENT = "recipient"
    CONTENT = "content"
    SMIME = "smime"
    RELAY = "relay"
    SOURCE = "source"
    SYSTEM = "system"
    ADMIN = "admin"


_WHO = {Who.US: ("nous", "us"), Who.PEER: ("l'autre opérateur", "the other operator"), Who.ANS: ("l'ANS", "ANS"),
        Who.SENDER: ("l'expéditeur", "the sender"), Who.NOBODY: ("personne", "nobody")}
_STAGES = {
    Stage.DNS: ("DNS", "DNS"), Stage.TLS: ("TLS", "TLS"), Stage.CERTIFICATE: ("certificat", "certificate"),
    Stage.ISSUER: ("autorité émettrice", "issuing authority"), Stage.DATES: ("dates", "dates"),
    Stage.USAGES: ("usages", "usages"), Stage.KEY: ("clé", "key"),
    Stage.REVOCATION: ("révocation", "revocation"), Stage.LIST: ("liste en vigueur", "list in force"),
    Stage.SESSION: ("session", "session"), Stage.SENDER: ("expéditeur", "sender"),
    Stage.BINDING: ("liaison domaine-certificat", "domain-certificate binding"), Stage.RECIPIENT: ("destinataire", "recipient"),
    Stage.CONTENT: ("contenu", "content"), Stage.SMIME: ("S/MIME", "S/MIME"), Stage.RELAY: ("remise", "delivery"),
    Stage.SOURCE: ("sources de confiance", "sources of trust"), Stage.SYSTEM: ("notre machine", "our machine"),
    Stage.ADMIN: ("administration", "administration"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. id: the identifier, or `X-*` for a family; meaning and remedy: (French, English)."""

    id: str
    stage: Stage
    who: Who
    meaning: tuple[str, str]
    remedy: tuple[str, str]

    @property
    def family(self) -> str:
        """The first word of the identifier."""
        return self.id.partition("-")[0]


def _rule(row: Row) -> Rule:
    identifier, stage, who, meaning_fr, remedy_fr, meaning_en, remedy_en = row
    return Rule(identifier, Stage(stage), Who(who), (meaning_fr, meaning_en), (remedy_fr, remedy_en))


RULES: tuple[Rule, ...] = tuple(_rule(row) for row in (*TRUST_ROWS, *STATE_ROWS, *SIGNIN_ROWS, *MAIL_ROWS))
_BY_ID = MappingProxyType({rule.id: rule for rule in RULES})
FAMILIES = frozenset(rule.family for rule in RULES)


def find_rule(identifier: str) -> Rule | None:
    """Give the rule of an identifier (any case), its own or its family's, or None when nothing is known of it."""
    wanted = identifier.strip().upper()
    found = _BY_ID.get(wanted)
    while found is None and "-" in wanted:
        wanted = wanted.rpartition("-")[0]
        found = _BY_ID.get(f"{wanted}-*")
    return found


def who_name(who: Who) -> str:
    """Give who must fix it, in the current language."""
    return say(*_WHO[who])


def stage_name(stage: Stage) -> str:
    """Give the name of a step, in the current language."""
    return say(*_STAGES[stage])


def document() -> str:
    """Give `docs/rules.md`: all rules by stage, French with English beside."""
    lines = ["# Règles", "",
             "Écrit par `python -m mssante.trust.rules`. Le mot entre crochets d'un refus, du journal ou d'une alarme ; "
             "`mssante explain --rule X` en donne la ligne. (The word in brackets of a refusal, a journal event, an alarm.)", ""]
    for stage in Stage:
        rows = [rule for rule in RULES if rule.stage is stage]
        if not rows:
            continue
        french, english = _STAGES[stage]
        title = french if french == english else f"{french} ({english})"
        lines += [f"## {title[0].upper()}{title[1:]}", "", "| Règle | Sens | Qui corrige | Remède |", "|---|---|---|---|"]
        lines += [f"| `{rule.id}` | {_both(rule.meaning)} | {_both(_WHO[rule.who])} | {_both(rule.remedy)} |" for rule in rows]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _both(texts: tuple[str, str]) -> str:
    french, english = (text.replace("|", "\\|") for text in texts)
    return french if french == english else f"{french}<br>*{english}*"


if __name__ == "__main__":
    sys.stdout.write(document())
