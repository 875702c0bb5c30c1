"""The decisions table: who may connect, send, be relayed to, which list replaces which; on values, then on real certificates
and lists read from their files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.pki import build_igc, der, dn_text, whitelist_xml

from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse
from mssante.protocol.xml import parse_xml
from mssante.trust.decisions import ListPolicy, admit_list, admit_session, may_relay_to, may_send, server_matches
from mssante.trust.names import DnMode, parse_dn
from mssante.trust.peer import PeerPolicy, identify
from mssante.trust.whitelist import Whitelist, WhitelistEntry, build_whitelist, parse_whitelist

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


# ---------------------------------------------------------------- real certificates, lists read from files

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IGC = build_igc()
MODE = DnMode.CN_OU


def proven(cn: str, ou: str = "1", o: str = "A") -> OperatorIdentity:
    return identify(der(IGC.leaf(cn, ou=ou, o=o)[0]), IGC.anchors, IGC.crl_set(), NOW, PeerPolicy())


def listed(*rows: tuple[str, str], at: datetime = NOW - timedelta(hours=1), sha256: str = "") -> Whitelist:
    return parse_whitelist(parse_xml(whitelist_xml(rows, at), max_bytes=1 << 20), sha256)


ONE, TWO, NOBODY = proven("mx.a.fr"), proven("mx.b.fr", "2"), proven("mx.c.fr")
RENAMED_PEER, OTHER_ENTITY_PEER = proven("MX.A.fr", o="Renommee"), proven("mx.a.fr", "9")
REAL_LIST = listed(("a.mssante.fr", dn_text(IGC.leaf("mx.a.fr", ou="1", o="A")[0])),
              ("b.mssante.fr", dn_text(IGC.leaf("mx.b.fr", ou="2", o="B")[0])))


def code_and_rule(decision: Decision) -> tuple[int, str]:
    """Give (0, "") for Allow, else code and rule; checks the form of the reply."""
    if isinstance(decision, Allow):
        return 0, ""
    reply = decision.reply
    assert reply.text.isascii() and reply.text.rstrip().endswith(f"[{decision.rule}]")
    assert all(len(line) <= 512 and line.strip(b"\r\n").isascii() for line in reply.encode().splitlines(keepends=True))
    assert reply.enhanced[0] == str(reply.code)[0]
    return reply.code, decision.rule


@pytest.mark.parametrize(("identity", "wanted"), [
    (ONE, (0, "")), (TWO, (0, "")), (RENAMED_PEER, (0, "")), (OTHER_ENTITY_PEER, (554, "LB-CERTIFICAT")), (NOBODY, (554, "LB-CERTIFICAT"))])
def test_session_of_a_certificate(identity: OperatorIdentity, wanted: tuple[int, str]) -> None:
    assert code_and_rule(admit_session(identity, REAL_LIST, MODE)) == wanted


@pytest.mark.parametrize(("identity", "domain", "wanted"), [
    (ONE, "a.mssante.fr", (0, "")),
    (ONE, None, (0, "")),
    (ONE, "b.mssante.fr", (550, "LB-LIAISON")),
    (ONE, "x.a.mssante.fr", (550, "LB-DOMAINE")),
    (ONE, "mssante.fr", (550, "LB-DOMAINE")),
    (ONE, "gmail.com", (550, "LB-DOMAINE")),
    (RENAMED_PEER, "a.mssante.fr", (0, "")),
    (OTHER_ENTITY_PEER, "a.mssante.fr", (550, "LB-LIAISON")),
    (NOBODY, None, (554, "LB-CERTIFICAT")),
    (NOBODY, "a.mssante.fr", (550, "LB-LIAISON")),
])
def test_sender_of_a_certificate(identity: OperatorIdentity, domain: str | None, wanted: tuple[int, str]) -> None:
    assert code_and_rule(may_send(identity, domain, REAL_LIST, MODE)) == wanted


def test_modes() -> None:
    assert code_and_rule(may_send(RENAMED_PEER, "a.mssante.fr", REAL_LIST, DnMode.STRICT)) == (550, "LB-LIAISON")
    assert code_and_rule(may_send(OTHER_ENTITY_PEER, "a.mssante.fr", REAL_LIST, DnMode.CN)) == (0, "")


def test_relay_and_server() -> None:
    assert code_and_rule(may_relay_to("a.mssante.fr", REAL_LIST)) == (0, "")
    assert code_and_rule(may_relay_to("gmail.com", REAL_LIST)) == (550, "LB-DOMAINE")
    assert code_and_rule(server_matches(ONE, "a.mssante.fr", REAL_LIST, MODE)) == (0, "")
    assert code_and_rule(server_matches(TWO, "a.mssante.fr", REAL_LIST, MODE)) == (454, "LB-SERVEUR")


def test_a_refusal_tells_what_was_compared_and_nothing_breaks_its_lines() -> None:
    decision = may_send(TWO, "a.mssante.fr", REAL_LIST, MODE)
    assert isinstance(decision, Refuse)
    assert "mx.b.fr" in decision.reply.text and "a.mssante.fr" in decision.reply.text and "2026-03-01" in decision.reply.text
    assert "mx.b.fr" in decision.detail
    hostile = proven("mx\u202e\x07é" + "x" * 50)
    assert code_and_rule(admit_session(hostile, REAL_LIST, MODE)) == (554, "LB-CERTIFICAT")
    assert code_and_rule(may_send(ONE, "x" * 200 + ".fr", REAL_LIST, MODE)) == (550, "LB-DOMAINE")


TEN = [(f"d{n}.mssante.fr", "CN=mx.a.fr,OU=1") for n in range(10)]
TEN_IN_FORCE = listed(*TEN, at=NOW - timedelta(hours=5), sha256="aa")
TEN_POLICY = ListPolicy(shrink_percent=10, max_age=timedelta(days=3))


def renamed(count: int) -> list[tuple[str, str]]:
    return [(f"new{n}.mssante.fr" if n < count else domain, dn) for n, (domain, dn) in enumerate(TEN)]


@pytest.mark.parametrize(("new", "current", "plain", "forced"), [
    (listed(*TEN), TEN_IN_FORCE, (0, ""), (0, "")),
    (listed(*TEN), None, (0, ""), (0, "")),
    (listed(*TEN, at=TEN_IN_FORCE.generated_at), TEN_IN_FORCE, (0, ""), (0, "")),
    (listed(*TEN[:9]), TEN_IN_FORCE, (0, ""), (0, "")),
    (listed(*TEN[:8]), TEN_IN_FORCE, (451, "LB-REDUCTION"), (0, "")),
    (listed(*renamed(2)), TEN_IN_FORCE, (451, "LB-REDUCTION"), (0, "")),
    (listed(TEN[0]), None, (0, ""), (0, "")),
    (listed(*TEN, at=TEN_IN_FORCE.generated_at - timedelta(seconds=1)), TEN_IN_FORCE, (451, "LB-RECUL"), (0, "")),
    (listed(*TEN, at=NOW + timedelta(hours=23)), TEN_IN_FORCE, (0, ""), (0, "")),
    (listed(*TEN, at=NOW + timedelta(days=1, seconds=1)), TEN_IN_FORCE, (451, "LB-FUTUR"), (451, "LB-FUTUR")),
    (listed(*TEN, at=NOW + timedelta(days=2)), None, (451, "LB-FUTUR"), (451, "LB-FUTUR")),
    (listed(*TEN, at=NOW - timedelta(days=3)), None, (0, ""), (0, "")),
    (listed(*TEN, at=NOW - timedelta(days=3, seconds=1)), None, (451, "LB-AGE"), (0, "")),
])
def test_lists_read_from_files(new: Whitelist, current: Whitelist | None, plain: tuple[int, str], forced: tuple[int, str]) -> None:
    assert code_and_rule(admit_list(new, current, NOW, TEN_POLICY)) == plain
    assert code_and_rule(admit_list(new, current, NOW, ListPolicy(10, timedelta(days=3), force=True))) == forced
