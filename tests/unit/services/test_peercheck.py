"""Judging a door: each rule says fail for what breaks it and for nothing else; what was not seen is never said to be well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.pki import build_igc, der, dn_text

from mssante.services.explainhistory import CrlShelf
from mssante.services.peercheck import Judges, Level, PeerFinding, judge, redact
from mssante.services.peervalues import Door, Observed, Said, Talk, TlsSeen
from mssante.services.truststate import TrustSnapshot
from mssante.trust.names import DnMode, parse_dn
from mssante.trust.peer import PeerPolicy
from mssante.trust.rules import find_rule
from mssante.trust.whitelist import WhitelistEntry, build_whitelist

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DOMAIN, HOST = "pair.mssante.fr", "mta.pair.mssante.fr"
HELLO = (HOST, "PIPELINING", "SIZE 30000000", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES")


def said(command: str, code: int, text: str = "", fault: str = "", lines: tuple[str, ...] = (), seconds: float = 0.1) -> Said:
    return Said(command, code, text or f"{code} ok", seconds, fault, lines)


def opening(*more: Said) -> tuple[Said, ...]:
    return (said("greeting", 220), said("EHLO a.test", 250, lines=(*HELLO, "STARTTLS")), *more)


def tls(*chain: bytes, version: str = "TLSv1.3") -> TlsSeen:
    return TlsSeen(version, "TLS_AES_256_GCM_SHA384", chain, 0.1)


def refused(reason: str = "SSLV3_ALERT_HANDSHAKE_FAILURE") -> Talk:
    return Talk(0.1, opening(said("STARTTLS", 220)), TlsSeen(reason=reason))


def sound(leaf: Any = None) -> Observed:
    """A door that does all that is asked."""
    leaf = leaf or build_igc().leaf(HOST)[0]
    shown = tls(der(leaf), der(build_igc().organisations.certificate))
    inside = (said("EHLO a.test", 250, lines=HELLO), said("MAIL FROM:<>", 250), said("RSET", 250),
              said("MAIL FROM:<postmaster@chez-nous.fr>", 250), said("RSET", 250), said("QUIT", 221))
    stranger = Talk(0.1, opening(said("STARTTLS", 220)), shown, (said("EHLO a.test", 554, "554 5.7.1 no [PEER-ABSENT]"),))
    good = Talk(0.1, opening(said("STARTTLS", 220)), shown, (said("EHLO a.test", 250, lines=HELLO),))
    talks = {
        "plain": Talk(0.1, opening(said("MAIL FROM:<>", 530), said("QUIT", 221))),
        "ours": Talk(0.1, opening(said("STARTTLS", 220)), shown, inside),
        "injection": Talk(0.1, opening(said("STARTTLS+NOOP", 220)), shown, (said("EHLO+QUIT", 250), said("second", 221))),
        "without": stranger, "foreign": refused("TLSV1_ALERT_UNKNOWN_CA"), "tls1.3": good, "tls1.2": good, "tls1.1": refused(),
        "tls1.0": refused(), "cbc": refused(), "rsa": refused()}
    door = Door(HOST, "192.0.2.9", 25, 0.1)
    return Observed(DOMAIN, "mx", (door,), door=door, talks=talks, seconds=1.0)


@pytest.fixture
def judges() -> Judges:
    return make_judges(dn_text(build_igc().leaf(HOST)[0]))


def make_judges(listed: str, **policy: Any) -> Judges:
    igc = build_igc()
    whitelist = build_whitelist([WhitelistEntry(DOMAIN, "", parse_dn(listed), "", None)], NOW, "ab" * 32)
    snapshot = TrustSnapshot(igc.anchors, igc.crl_set(), PeerPolicy(**policy), DnMode.CN_OU, timedelta(days=10), whitelist)
    return Judges(snapshot, CrlShelf([igc.crl()], igc.anchors, NOW), NOW)


def levels(seen: Observed, judges: Judges) -> dict[str, PeerFinding]:
    found = judge(seen, judges)
    for one in found:
        assert not one.code or find_rule(one.code) is not None, one.code
    return {one.rule.number: one for one in found}


def with_talk(seen: Observed, **talks: Talk) -> Observed:
    return replace(seen, talks={**seen.talks, **talks})


def test_a_sound_door_passes_every_rule(judges: Judges) -> None:
    assert {number: one.level for number, one in levels(sound(), judges).items() if one.level is not Level.OK} == {}


def only(seen: Observed, judges: Judges, **expected: str) -> dict[str, PeerFinding]:
    """Check that these rules, and no other, are not ok."""
    found = levels(seen, judges)
    assert {number: one.level.value for number, one in found.items() if one.level not in (Level.OK, Level.SKIP)} == {
        name.replace("_", "-"): level for name, level in expected.items()}
    return found


def test_before_tls(judges: Judges) -> None:
    seen = sound()
    clear = seen.talks["plain"].clear
    only(with_talk(seen, plain=Talk(0.1, (*clear[:2], said("MAIL FROM:<>", 250)))), judges, P_07="fail")
    only(with_talk(seen, plain=Talk(0.1, (*clear[:2], said("MAIL FROM:<>", 451)))), judges, P_07="warn")
    silent = (said("greeting", 220), said("EHLO a.test", 250, lines=HELLO), clear[2])
    only(with_talk(seen, plain=Talk(0.1, silent)), judges, P_06="fail")


def test_injection(judges: Judges) -> None:
    seen = sound()
    ran = replace(seen.talks["injection"], inside=(said("EHLO+QUIT", 250), said("second", 250), said("third", 221)))
    only(with_talk(seen, injection=ran), judges, P_08="fail")
    for kept in (Talk(0.1, opening(said("STARTTLS+NOOP", 554))), Talk(0.1, opening(said("STARTTLS+NOOP", 0, fault="SMTP-CLOSED")))):
        only(with_talk(seen, injection=kept), judges)


def test_weak_offers(judges: Judges) -> None:
    seen = sound()
    weak = Talk(0.1, opening(said("STARTTLS", 220)), tls(version="TLSv1"))
    only(with_talk(seen, **{"tls1.0": weak, "tls1.1": weak, "cbc": weak, "rsa": weak}), judges,
         P_12="fail", P_13="fail", P_14="fail", P_15="fail")
    only(with_talk(seen, **{"tls1.2": refused(), "tls1.3": refused()}), judges, P_10="warn", P_11="warn")
    found = levels(with_talk(seen, **{"tls1.0": refused("timeout")}), judges)
    assert found["P-13"].level is Level.SKIP, "a server that hangs has refused nothing"


@pytest.mark.parametrize(("how", "number", "code"), [
    ({"issuer": "personnes"}, "P-17", "PEER-ISSUER"), ({"issuer": "foreign"}, "P-17", "PEER-ISSUER"),
    ({"not_after": datetime(2026, 1, 1, tzinfo=UTC)}, "P-18", "PEER-EXPIRED"),
    ({"usage": ("key_encipherment",)}, "P-19", "PEER-USAGE"), ({"key_bits": 1024}, "P-19", "PEER-KEY"),
    ({"ou": "399999999999999"}, "P-21", "LB-SERVEUR"),
])
def test_its_certificate(how: dict[str, Any], number: str, code: str, judges: Judges) -> None:
    found = levels(sound(build_igc().leaf(HOST, **how)[0]), judges)
    assert (found[number].level, found[number].code) == (Level.FAIL, code)
    assert "vu " in found[number].evidence
    order = ["P-17", "P-18", "P-19", "P-20"]
    if number in order:
        assert all(found[after].level is not Level.OK for after in order[order.index(number) + 1:]), "nothing after it was judged"


def test_revoked_and_unknown() -> None:
    igc = build_igc()
    leaf = igc.leaf(HOST)[0]
    judges = make_judges(dn_text(leaf))
    revoked = replace(judges, snapshot=replace(judges.snapshot, crls=igc.crl_set([leaf])),
                      shelf=CrlShelf([igc.crl([leaf])], igc.anchors, NOW))
    found = levels(sound(leaf), revoked)["P-20"]
    assert (found.level, found.code) == (Level.FAIL, "PEER-REVOKED") and "révoqué le" in found.evidence
    from mssante.trust.crl import CrlSet

    blind = replace(judges, snapshot=replace(judges.snapshot, crls=CrlSet()), shelf=CrlShelf([], igc.anchors, NOW))
    assert levels(sound(leaf), blind)["P-20"].level is Level.WARN, "we do not know: that is ours, not theirs"


def test_soon_expired_and_chain(judges: Judges) -> None:
    leaf = build_igc().leaf(HOST, not_after=NOW + timedelta(days=10))[0]
    assert levels(sound(leaf), judges)["P-18"].level is Level.WARN
    seen = sound()
    alone = replace(seen.talks["ours"], tls=tls(der(build_igc().leaf(HOST)[0])))
    only(with_talk(seen, ours=alone), judges, P_16="warn")
    nothing = levels(with_talk(seen, ours=replace(alone, tls=tls())), judges)
    assert nothing["P-16"].code == "SMTP-TLS-PEER"
    junk = levels(with_talk(seen, ours=replace(alone, tls=tls(b"rien"))), judges)
    assert junk["P-16"].code == junk["P-17"].code == "PEER-PARSE"


@pytest.mark.parametrize("name", ["without", "foreign"])
def test_strangers(name: str, judges: Judges) -> None:
    number = {"without": "P-24", "foreign": "P-25"}[name]
    seen = sound()
    let_in = replace(seen.talks["without"], inside=(said("EHLO a.test", 250, lines=HELLO), said("MAIL FROM:<>", 250)))
    assert levels(with_talk(seen, **{name: let_in}), judges)[number].level is Level.FAIL
    for kept in (refused(), replace(let_in, inside=(said("EHLO a.test", 0, fault="SMTP-TLS-HANDSHAKE"),)),
                 replace(let_in, inside=(said("EHLO a.test", 250, lines=HELLO), said("MAIL FROM:<>", 454)))):
        assert levels(with_talk(seen, **{name: kept}), judges)[number].level is Level.OK
    for unseen in (refused("timeout"), Talk(0.0, fault="SMTP-CONNECT"),
                   replace(let_in, inside=(said("EHLO a.test", 0, fault="SMTP-TIMEOUT"),))):
        assert levels(with_talk(seen, **{name: unseen}), judges)[number].level is Level.SKIP


def test_how_we_are_received(judges: Judges) -> None:
    seen = sound()
    ours = seen.talks["ours"]
    away = replace(ours, inside=(said("EHLO a.test", 554, "554 5.7.1 Le certificat … [LB-CERTIFICAT]"),))
    found = levels(with_talk(seen, ours=away), judges)
    assert found["P-26"].level is Level.FAIL and "LB-CERTIFICAT" in found["P-26"].evidence and found["P-27"].level is Level.SKIP
    half = replace(ours, inside=(ours.inside[0], said("MAIL FROM:<>", 250), said("RSET", 250), said("MAIL FROM:<p@a.fr>", 550)))
    only(with_talk(seen, ours=half), judges, P_27="fail")
    found = levels(with_talk(seen, ours=refused("TLSV1_ALERT_CERTIFICATE_REVOKED")), judges)
    assert found["P-26"].level is Level.FAIL and found["P-09"].level in (Level.OK, Level.FAIL)


def test_extensions(judges: Judges) -> None:
    seen = sound()
    ours = seen.talks["ours"]
    bare = replace(ours, inside=(said("EHLO a.test", 250, lines=("autre.test", "SIZE 1000", "STARTTLS")), *ours.inside[1:]))
    only(with_talk(seen, ours=bare), judges, P_22="warn", P_28="warn", P_29="warn", P_30="fail", P_31="fail", P_32="warn", P_33="warn")


def test_names_routes_and_doors(judges: Judges) -> None:
    seen = sound()
    other = replace(seen, door=Door("smtp.autre.fr", "192.0.2.9", 25))
    assert levels(other, judges)["P-23"].level is Level.WARN
    assert levels(replace(seen, route="given"), judges)["P-02"].level is Level.SKIP
    lost = Observed(DOMAIN, "mx", dns_fault="DNS-NXDOMAIN", dns_text="no such domain")
    found = levels(lost, judges)
    assert found["P-02"].level is Level.FAIL and {one.level for number, one in found.items() if number > "P-03"} == {Level.SKIP}
    closed = Observed(DOMAIN, "mx", (Door(HOST, "192.0.2.9", 25, 1.0, "SMTP-CONNECT"),))
    assert levels(closed, judges)["P-03"].code == "SMTP-CONNECT"
    assert levels(replace(seen, domain="autre.fr"), judges)["P-01"].code == "LB-DOMAINE"
    bare = replace(judges, snapshot=replace(judges.snapshot, whitelist=None))
    assert levels(seen, bare)["P-01"].code == "LB-INDISPONIBLE"


def test_slow_answers(judges: Judges) -> None:
    seen = sound()
    slow = (said("greeting", 220, seconds=9.0), *seen.talks["plain"].clear[1:])
    only(with_talk(seen, plain=Talk(0.1, slow)), judges, P_34="warn")


def test_evidence_is_harmless_and_names_nobody(judges: Judges) -> None:
    words = "250 bonjour claire.martin@hopital.fr \x1b[31m " + "x" * 5000
    clear = (said("greeting", 220, words), *sound().talks["plain"].clear[1:])
    found = levels(with_talk(sound(), plain=Talk(0.1, clear)), judges)["P-04"]
    assert "claire" not in found.evidence and "…@hopital.fr" in found.evidence
    assert "\x1b" not in found.evidence and len(found.evidence) < 600
    assert redact("<185019930200112@patient.mssante.fr>") == "<…@patient.mssante.fr>"


def test_nothing_seen_at_all(judges: Judges) -> None:
    found = levels(Observed(DOMAIN, "mx"), judges)
    assert {one.level for number, one in found.items() if number > "P-02"} == {Level.SKIP}
