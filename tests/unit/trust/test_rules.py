"""The catalogue of rules: every identifier that the code gives stands in it, nothing else does, and its page is in sync."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mssante.lang import set_language
from mssante.services.peerrules import PEER_RULES
from mssante.trust.rules import FAMILIES, RULES, Stage, Who, document, find_rule, stage_name, who_name

ROOT = Path(__file__).resolve().parents[3]
IDENTIFIER = re.compile(r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+\Z")
NUMBER = re.compile(r"-\d\d\Z")  # findings of `check` have numbers, not rules
# identifiers of other trades: the lab, imports, documents and indexes tell their own words to who typed the command
OTHERS = frozenset({"ABSENCE", "ALIAS", "API", "CARDDAV", "CDA", "CFG", "DECOUVERTE", "DELEGATION", "EXTRACTION", "FHIR", "FINESS", "HEADER", "IMPORT", "INDEX", "LAB", "LDAP", "LDAPSYNC", "LIFE", "LTR", "MAIL", "MDN", "MIROIR", "NOM", "PREFLIGHT", "PUB", "RPPS", "SCIM", "SIEVE", "SUB", "SYNC", "TITULAIRE", "VCARD", "VIE", "XDM", "XDS", "ZIP", "DOSSIER", "HL7", "N1", "PDF", "REMISE", "REPRISE", "TWIN", "WEBHOOK"})
NOT_RULES = frozenset({"INS-KEY"})  # a code of documents


def sources() -> dict[str, str]:
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in sorted((ROOT / "mssante").rglob("*.py"))
            if not file.name.startswith("rules")}


SOURCES = sources()


def literals(text: str) -> set[str]:
    """Every string constant of a module, docstrings apart."""
    return {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


WORDS = {name: literals(text) for name, text in SOURCES.items()}


def test_every_rule_of_the_code_stands_in_the_catalogue() -> None:
    missing = {word: name for name, words in WORDS.items() for word in words
               if IDENTIFIER.match(word) and not NUMBER.search(word) and word.partition("-")[0] in FAMILIES
               and word not in NOT_RULES and find_rule(word) is None}
    assert not missing, f"add a row to mssante/trust/rules_*.py: {missing}"


def test_every_family_of_rules_is_known() -> None:
    given = {word for text in SOURCES.values() for word in re.findall(r'rule="([A-Z][A-Z0-9]*)[-"]', text)}
    assert given <= FAMILIES | OTHERS | {"RFC"}, "a new family: rows in the catalogue, or a line in OTHERS"


def test_nothing_stands_in_the_catalogue_that_the_code_never_says() -> None:
    said = {word for words in WORDS.values() for word in words}
    heads = {word.partition("-")[0] + "-" for word in said if IDENTIFIER.match(word)} | {word for word in said if word.endswith("-")}
    dead = [rule.id for rule in RULES if not rule.id.endswith("*") and rule.id not in said]
    dead += [rule.id for rule in RULES if rule.id.endswith("*") and not any(one.startswith(rule.id[:-1]) for one in heads | said)]
    assert not dead


def test_a_rule_is_whole() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert all(text.strip() and text[0] == text[0].upper() and text.rstrip().endswith((".", "FR.", ")")) for text in rule.meaning), rule
        assert all(text.strip() for text in rule.remedy), rule
        assert rule.meaning[0] != rule.meaning[1]


def test_a_family_answers_for_its_members() -> None:
    exact, family = find_rule("dns-nxdomain"), find_rule("DNS-SERVFAIL")
    assert exact is not None and exact.id == "DNS-NXDOMAIN"
    assert family is not None and family.id == "DNS-*" and family.who is Who.US
    assert find_rule("SMTP-INTERNAL-KEYERROR") is not None
    assert find_rule("RIEN-DU-TOUT") is None and find_rule("") is None and find_rule("-") is None


def test_words_follow_the_language() -> None:
    try:
        assert (stage_name(Stage.BINDING), who_name(Who.PEER)) == ("liaison domaine-certificat", "l'autre opérateur")
        set_language("en")
        assert (stage_name(Stage.BINDING), who_name(Who.PEER)) == ("domain-certificate binding", "the other operator")
        assert all(stage_name(stage) for stage in Stage) and all(who_name(who) for who in Who)
    finally:
        set_language("fr")


def test_the_page_is_what_the_catalogue_says() -> None:
    written = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert written == document(), "run: python -m mssante.trust.rules > docs/rules.md"


@pytest.mark.parametrize("rule", ["LB-LIAISON", "PEER-ISSUER", "CRL-EXPIREE", "BOITE-INCONNUE", "TLS-POIGNEE"])
def test_rules_that_peers_meet_most_have_their_stage(rule: str) -> None:
    found = find_rule(rule)
    assert found is not None and found.stage not in (Stage.SYSTEM, Stage.ADMIN)


def test_numbers_of_the_peer_check_have_no_hole() -> None:
    assert list(PEER_RULES) == [f"P-{rank:02d}" for rank in range(1, len(PEER_RULES) + 1)]
    assert all(rule.title[0] and rule.title[1] and rule.remedy[0] and rule.remedy[1] and rule.source for rule in PEER_RULES.values())
