"""The decisions table: who may connect, send, be relayed to, and which list replaces which."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse
from mssante.trust.decisions import ListPolicy, admit_list, admit_session, may_relay_to, may_send, server_matches
from mssante.trust.names import DnMode, parse_dn
from mssante.trust.whitelist import Whitelist, WhitelistEntry, build_whitelist

AT = datetime(2026, 11, 22, 8, tzinfo=UTC)
A = "CN=mta.a.fr,OU=1,O=A,ST=Paris (75),C=FR"
B = "CN=mta.b.fr,OU=2,O=B,ST=Paris (75),C=FR"


def make(rows: list[tuple[str, str]], at: datetime = AT, sha256: str = "") -> Whitelist:
    return build_whitelist([WhitelistEntry(domain, "", parse_dn(dn), "", None) for domain, dn in rows], at, sha256)


LIST = make([("a.mssante.fr", A), ("b.mssante.fr", B), ("both.mssante.fr", A), ("both.mssante.fr", B)])


def who(dn: str) -> OperatorIdentity:
    return OperatorIdentity(parse_dn(dn), "issuer", 1, "f" * 64, (), AT)


def told(decision: Decision) -> str:
    """Give the rule of a refusal (empty: allowed), after a look at its reply."""
    if isinstance(decision, Allow):
        return ""
    reply = decision.reply
    assert reply.text.endswith(f"[{reply.rule}]") and decision.rule == reply.rule
    wire = reply.encode()
    assert b"?" not in reply.text.replace("x?", "").encode() and all(len(line) <= 510 for line in wire.split(b"\r\n"))
    assert all(line[:4] in (f"{reply.code}-".encode(), f"{reply.code} ".encode()) for line in wire.split(b"\r\n")[:-1])
    assert reply.enhanced[0] == str(reply.code)[0]
    return reply.rule


STRANGER = "CN=mta.x.fr,OU=9,C=FR"
RENAMED = "CN=MTA.A.fr,OU=1,O=Renamed,ST=Lyon,C=FR"
OTHER_ENTITY = "CN=mta.a.fr,OU=9,O=A,ST=Paris (75),C=FR"


@pytest.mark.parametrize(("dn", "mode", "rule"), [
    (A, DnMode.STRICT, ""), (A, DnMode.CN_OU, ""), (A, DnMode.CN, ""),
    (RENAMED, DnMode.STRICT, "LB-CERTIFICAT"), (RENAMED, DnMode.CN_OU, ""), (RENAMED, DnMode.CN, ""),
    (OTHER_ENTITY, DnMode.STRICT, "LB-CERTIFICAT"), (OTHER_ENTITY, DnMode.CN_OU, "LB-CERTIFICAT"), (OTHER_ENTITY, DnMode.CN, ""),
    (STRANGER, DnMode.CN, "LB-CERTIFICAT"), ("OU=1,C=FR", DnMode.CN, "LB-CERTIFICAT"),
])
def test_session(dn: str, mode: DnMode, rule: str) -> None:
    decision = admit_session(who(dn), LIST, mode)
    assert told(decision) == rule
    if isinstance(decision, Refuse):
        assert (decision.reply.code, decision.reply.enhanced) == (554, "5.7.1")


@pytest.mark.parametrize(("dn", "domain", "code", "rule"), [
    (A, "a.mssante.fr", 0, ""), (A, "both.mssante.fr", 0, ""), (B, "both.mssante.fr", 0, ""), (RENAMED, "a.mssante.fr", 0, ""),
    (A, None, 0, ""), (STRANGER, None, 554, "LB-CERTIFICAT"),
    (A, "b.mssante.fr", 550, "LB-LIAISON"), (OTHER_ENTITY, "a.mssante.fr", 550, "LB-LIAISON"),
    (A, "c.mssante.fr", 550, "LB-DOMAINE"), (A, "x.a.mssante.fr", 550, "LB-DOMAINE"), (A, "mssante.fr", 550, "LB-DOMAINE"),
])
def test_sender(dn: str, domain: str | None, code: int, rule: str) -> None:
    decision = may_send(who(dn), domain, LIST, DnMode.CN_OU)
    assert told(decision) == rule
    if isinstance(decision, Refuse):
        assert decision.reply.code == code
        assert domain is None or f'"{domain}"' in decision.reply.text
        assert "2026-11-22" in decision.reply.text


def test_words_of_a_refusal() -> None:
    decision = may_send(who(A), "c.mssante.fr", LIST, DnMode.CN_OU)
    assert isinstance(decision, Refuse)
    assert decision.reply.encode() == (
        b'550 5.7.1 Domaine "c.mssante.fr" absent de la liste blanche du 2026-11-22 : verifiez l\'adresse, '
        b"ou faites inscrire le domaine aupres de l'ANS [LB-DOMAINE]\r\n")
    decision = may_send(who(A), "b.mssante.fr", LIST, DnMode.CN_OU)
    assert isinstance(decision, Refuse)
    assert "CN=mta.a.fr,OU=1" in decision.reply.text and "CN=mta.b.fr,OU=2" in decision.reply.text


def test_long_values_keep_lines_short() -> None:
    long = make([("d" * 60 + ".mssante.fr", "CN=" + "y" * 200 + ",OU=" + "2" * 30 + ",C=FR")])
    name = who("CN=" + "z" * 200 + ",OU=3,C=FR")
    domain = "d" * 60 + ".mssante.fr"
    for decision in (may_send(name, domain, long, DnMode.CN_OU), server_matches(name, domain, long, DnMode.CN_OU),
                     admit_session(name, long, DnMode.CN_OU), may_relay_to("e" * 250 + ".fr", long)):
        assert told(decision)


def test_control_characters_do_not_reach_the_wire() -> None:
    evil = replace(who(STRANGER), subject=parse_dn("CN=mta\x00\x1b[31m,OU=9,C=FR"))
    decision = admit_session(evil, LIST, DnMode.CN_OU)
    assert isinstance(decision, Refuse) and decision.reply.text.isprintable() and "CN=mta??[31m" in decision.reply.text


@pytest.mark.parametrize(("domain", "rule"), [("a.mssante.fr", ""), ("x.mssante.fr", "LB-DOMAINE"), ("gmail.com", "LB-DOMAINE")])
def test_relay(domain: str, rule: str) -> None:
    assert told(may_relay_to(domain, LIST)) == rule


@pytest.mark.parametrize(("dn", "domain", "code", "rule"), [
    (A, "a.mssante.fr", 0, ""), (B, "both.mssante.fr", 0, ""), (B, "a.mssante.fr", 454, "LB-SERVEUR"),
    (STRANGER, "a.mssante.fr", 454, "LB-SERVEUR"), (A, "x.mssante.fr", 550, "LB-DOMAINE")])
def test_server(dn: str, domain: str, code: int, rule: str) -> None:
    decision = server_matches(who(dn), domain, LIST, DnMode.CN_OU)
    assert told(decision) == rule
    assert not isinstance(decision, Refuse) or decision.reply.code == code


HOUR = timedelta(hours=1)
HUNDRED = [(f"d{n}.mssante.fr", A) for n in range(100)]
CURRENT = make(HUNDRED, AT, "a" * 64)


@pytest.mark.parametrize(("new", "forced", "plain"), [
    (make(HUNDRED, AT + HOUR, "b" * 64), "", ""),
    (make(HUNDRED, AT, "b" * 64), "", ""),
    (make(HUNDRED, AT - HOUR, "b" * 64), "", "LB-RECUL"),
    (make(HUNDRED[10:], AT + HOUR, "b" * 64), "", ""),
    (make(HUNDRED[11:], AT + HOUR, "b" * 64), "", "LB-REDUCTION"),
    (make([(f"e{n}.mssante.fr", A) for n in range(200)], AT + HOUR, "b" * 64), "", "LB-REDUCTION"),
    (make(HUNDRED, AT + 26 * HOUR, "b" * 64), "LB-FUTUR", "LB-FUTUR"),
    (make(HUNDRED, AT - 250 * HOUR, "b" * 64), "", "LB-AGE"),
    (make(HUNDRED, AT - 999 * HOUR, "a" * 64), "", ""),  # the same file: nothing to decide
])
def test_lists(new: Whitelist, forced: str, plain: str) -> None:
    now = AT + HOUR
    assert told(admit_list(new, CURRENT, now, ListPolicy())) == plain
    assert told(admit_list(new, CURRENT, now, ListPolicy(force=True))) == forced


def test_the_first_list_and_settings() -> None:
    now = AT + HOUR
    assert told(admit_list(CURRENT, None, now, ListPolicy())) == ""
    assert told(admit_list(CURRENT, None, now + 10 * 24 * HOUR, ListPolicy())) == "LB-AGE"
    smaller = make(HUNDRED[:50], AT + HOUR)
    assert told(admit_list(smaller, CURRENT, now, ListPolicy(shrink_percent=50))) == ""
    assert told(admit_list(smaller, CURRENT, now, ListPolicy(shrink_percent=49))) == "LB-REDUCTION"
    assert told(admit_list(make(HUNDRED[:1], AT + HOUR), CURRENT, now, ListPolicy(shrink_percent=100))) == ""
