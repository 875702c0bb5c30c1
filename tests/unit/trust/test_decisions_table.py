"""Decisions of trust as a table: who may open a session, send, receive; which list may replace which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.pki import build_igc, der, dn_text, whitelist_xml

from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse
from mssante.protocol.xml import parse_xml
from mssante.trust.decisions import ListPolicy, admit_list, admit_session, may_relay_to, may_send, server_matches
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy, identify
from mssante.trust.whitelist import Whitelist, parse_whitelist

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IGC = build_igc()
MODE = DnMode.CN_OU


def who(cn: str, ou: str = "1", o: str = "A") -> OperatorIdentity:
    return identify(der(IGC.leaf(cn, ou=ou, o=o)[0]), IGC.anchors, IGC.crl_set(), NOW, PeerPolicy())


def listed(*rows: tuple[str, str], at: datetime = NOW - timedelta(hours=1), sha256: str = "") -> Whitelist:
    return parse_whitelist(parse_xml(whitelist_xml(rows, at), max_bytes=1 << 20), sha256)


ONE, TWO, NOBODY = who("mx.a.fr"), who("mx.b.fr", "2"), who("mx.c.fr")
RENAMED, OTHER_ENTITY = who("MX.A.fr", o="Renommee"), who("mx.a.fr", "9")
LIST = listed(("a.mssante.fr", dn_text(IGC.leaf("mx.a.fr", ou="1", o="A")[0])),
              ("b.mssante.fr", dn_text(IGC.leaf("mx.b.fr", ou="2", o="B")[0])))


def told(decision: Decision) -> tuple[int, str]:
    """Give (0, "") for Allow, else code and rule; checks the form of the reply."""
    if isinstance(decision, Allow):
        return 0, ""
    reply = decision.reply
    assert reply.text.isascii() and reply.text.rstrip().endswith(f"[{decision.rule}]")
    assert all(len(line) <= 512 and line.strip(b"\r\n").isascii() for line in reply.encode().splitlines(keepends=True))
    assert reply.enhanced[0] == str(reply.code)[0]
    return reply.code, decision.rule


@pytest.mark.parametrize(("identity", "wanted"), [
    (ONE, (0, "")), (TWO, (0, "")), (RENAMED, (0, "")), (OTHER_ENTITY, (554, "LB-CERTIFICAT")), (NOBODY, (554, "LB-CERTIFICAT"))])
def test_session(identity: OperatorIdentity, wanted: tuple[int, str]) -> None:
    assert told(admit_session(identity, LIST, MODE)) == wanted


@pytest.mark.parametrize(("identity", "domain", "wanted"), [
    (ONE, "a.mssante.fr", (0, "")),
    (ONE, None, (0, "")),
    (ONE, "b.mssante.fr", (550, "LB-LIAISON")),
    (ONE, "x.a.mssante.fr", (550, "LB-DOMAINE")),
    (ONE, "mssante.fr", (550, "LB-DOMAINE")),
    (ONE, "gmail.com", (550, "LB-DOMAINE")),
    (RENAMED, "a.mssante.fr", (0, "")),
    (OTHER_ENTITY, "a.mssante.fr", (550, "LB-LIAISON")),
    (NOBODY, None, (554, "LB-CERTIFICAT")),
    (NOBODY, "a.mssante.fr", (550, "LB-LIAISON")),
])
def test_send(identity: OperatorIdentity, domain: str | None, wanted: tuple[int, str]) -> None:
    assert told(may_send(identity, domain, LIST, MODE)) == wanted


def test_modes() -> None:
    assert told(may_send(RENAMED, "a.mssante.fr", LIST, DnMode.STRICT)) == (550, "LB-LIAISON")
    assert told(may_send(OTHER_ENTITY, "a.mssante.fr", LIST, DnMode.CN)) == (0, "")


def test_relay_and_server() -> None:
    assert told(may_relay_to("a.mssante.fr", LIST)) == (0, "")
    assert told(may_relay_to("gmail.com", LIST)) == (550, "LB-DOMAINE")
    assert told(server_matches(ONE, "a.mssante.fr", LIST, MODE)) == (0, "")
    assert told(server_matches(TWO, "a.mssante.fr", LIST, MODE)) == (454, "LB-SERVEUR")


def test_a_refusal_tells_what_was_compared_and_nothing_breaks_its_lines() -> None:
    decision = may_send(TWO, "a.mssante.fr", LIST, MODE)
    assert isinstance(decision, Refuse)
    assert "mx.b.fr" in decision.reply.text and "a.mssante.fr" in decision.reply.text and "2026-03-01" in decision.reply.text
    assert "mx.b.fr" in decision.detail
    hostile = who("mx\u202e\x07é" + "x" * 50)
    assert told(admit_session(hostile, LIST, MODE)) == (554, "LB-CERTIFICAT")
    assert told(may_send(ONE, "x" * 200 + ".fr", LIST, MODE)) == (550, "LB-DOMAINE")


TEN = [(f"d{n}.mssante.fr", "CN=mx.a.fr,OU=1") for n in range(10)]
CURRENT = listed(*TEN, at=NOW - timedelta(hours=5), sha256="aa")
POLICY = ListPolicy(shrink_percent=10, max_age=timedelta(days=3))


def renamed(count: int) -> list[tuple[str, str]]:
    return [(f"new{n}.mssante.fr" if n < count else domain, dn) for n, (domain, dn) in enumerate(TEN)]


@pytest.mark.parametrize(("new", "current", "plain", "forced"), [
    (listed(*TEN), CURRENT, (0, ""), (0, "")),
    (listed(*TEN), None, (0, ""), (0, "")),
    (listed(*TEN, at=CURRENT.generated_at), CURRENT, (0, ""), (0, "")),
    (listed(*TEN[:9]), CURRENT, (0, ""), (0, "")),
    (listed(*TEN[:8]), CURRENT, (451, "LB-REDUCTION"), (0, "")),
    (listed(*renamed(2)), CURRENT, (451, "LB-REDUCTION"), (0, "")),
    (listed(TEN[0]), None, (0, ""), (0, "")),
    (listed(*TEN, at=CURRENT.generated_at - timedelta(seconds=1)), CURRENT, (451, "LB-RECUL"), (0, "")),
    (listed(*TEN, at=NOW + timedelta(hours=23)), CURRENT, (0, ""), (0, "")),
    (listed(*TEN, at=NOW + timedelta(days=1, seconds=1)), CURRENT, (451, "LB-FUTUR"), (451, "LB-FUTUR")),
    (listed(*TEN, at=NOW + timedelta(days=2)), None, (451, "LB-FUTUR"), (451, "LB-FUTUR")),
    (listed(*TEN, at=NOW - timedelta(days=3)), None, (0, ""), (0, "")),
    (listed(*TEN, at=NOW - timedelta(days=3, seconds=1)), None, (451, "LB-AGE"), (0, "")),
])
def test_admission(new: Whitelist, current: Whitelist | None, plain: tuple[int, str], forced: tuple[int, str]) -> None:
    assert told(admit_list(new, current, NOW, POLICY)) == plain
    assert told(admit_list(new, current, NOW, ListPolicy(10, timedelta(days=3), force=True))) == forced
