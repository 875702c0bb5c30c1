"""The pure part of explanations: facts of a certificate, both values, steps around a rule, what looks alike."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support.pki import SERVER, build_igc, der

from mssante.lang import set_language
from mssante.trust import explain
from mssante.trust.explain import CertificateFacts, Shown, State
from mssante.trust.names import DnMode, parse_dn
from mssante.trust.peer import PeerPolicy
from mssante.trust.rules import Stage
from mssante.trust.whitelist import Whitelist, WhitelistEntry, build_whitelist

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def entry(domain: str, text: str) -> WhitelistEntry:
    return WhitelistEntry(domain, "", parse_dn(text), "", None)


@pytest.fixture
def listed() -> Whitelist:
    return build_whitelist([
        entry("hopital.mssante.fr", "CN=mta.hopital.fr,OU=310000000000001,O=HOPITAL NORD,ST=Nord (59),C=FR"),
        entry("clinique.mssante.fr", "CN=smtp.clinique.fr,OU=110000001,O=CLINIQUE,ST=Nord (59),C=FR"),
        entry("hopital.mssante.fr", "CN=mta2.hopital.fr,OU=310000000000001,O=HOPITAL NORD,ST=Nord (59),C=FR"),
    ], NOW, "ab" * 32)


def test_facts_of_a_leaf() -> None:
    leaf, _ = build_igc().leaf("mta.hopital.fr", ou="310000000000001", category=0x82, eku=(SERVER,))
    facts = explain.read_facts(der(leaf))
    assert isinstance(facts, CertificateFacts)
    assert facts.subject.value("CN") == "mta.hopital.fr" and facts.serial == leaf.serial_number
    assert (facts.key, facts.category, facts.extended) == ("RSA 2048", "82", ("serverAuth",))
    assert facts.usages == ("digitalSignature", "keyEncipherment") and facts.names == ("mta.hopital.fr",)
    assert explain.usage_text(facts) == "digitalSignature, keyEncipherment, serverAuth, F3.11 82"


@pytest.mark.parametrize("raw", [b"", b"rien", b"\x30\x82\xff\xff", b"\x30" * 20000, b"\x00" * 100])
def test_what_is_no_certificate_has_no_facts(raw: bytes) -> None:
    assert explain.read_facts(raw) is None


def test_a_truncated_certificate_has_no_facts() -> None:
    raw = der(build_igc().leaf("mta.hopital.fr")[0])
    assert [size for size in range(0, len(raw), 37) if explain.read_facts(raw[:size]) is not None] == []


def test_texts_of_others_cannot_draw_on_the_screen() -> None:
    hostile = "CN=a\x1b[2J\r\nok    faux"
    assert explain.clean(hostile) == "CN=a?[2J??ok    faux"
    assert explain.clean("x" * 400).endswith("…") and len(explain.clean("x" * 400)) == explain.MAX_TEXT + 1


def test_both_values_of_each_step() -> None:
    igc = build_igc()
    facts = explain.read_facts(der(igc.leaf("mta.hopital.fr")[0]))
    assert facts is not None
    values = explain.certificate_values(facts, igc.anchors, PeerPolicy(eku="server", production=True), NOW)
    assert set(values) == {Stage.CERTIFICATE, Stage.ISSUER, Stage.DATES, Stage.USAGES, Stage.KEY, Stage.REVOCATION}
    assert values[Stage.ISSUER].peer in values[Stage.ISSUER].ours, "the admitted authority is the one that issued it"
    assert "2026-03-01" in values[Stage.DATES].ours and "serverAuth, pas de certificat de TEST" in values[Stage.USAGES].ours


@pytest.mark.parametrize(("rule", "states"), [
    ("", {"certificate": "ok", "dates": "ok", "binding": "ok"}),
    ("PEER-EXPIRED", {"certificate": "ok", "dates": "fail", "binding": "skipped"}),
    ("LB-LIAISON", {"certificate": "ok", "dates": "ok", "binding": "fail"}),
    ("PEER-ABSENT", {"certificate": "fail", "dates": "skipped", "binding": "skipped"}),
])
def test_steps_stand_around_the_rule(rule: str, states: dict[str, str]) -> None:
    values = {stage: Shown("a", "b") for stage in (Stage.CERTIFICATE, Stage.DATES, Stage.BINDING)}
    steps = explain.lay_steps((Stage.CERTIFICATE, Stage.DATES, Stage.BINDING), values, rule)
    assert {step.stage.value: step.state.value for step in steps} == states
    assert [step.rule for step in steps if step.rule] == ([rule] if rule else [])


def test_a_rule_of_elsewhere_is_told_as_it_is() -> None:
    steps = explain.lay_steps((Stage.CERTIFICATE,), {}, "DISQUE-PLEIN")
    assert [(step.stage, step.state, step.rule) for step in steps] == [
        (Stage.CERTIFICATE, State.UNKNOWN, ""), (Stage.SYSTEM, State.FAIL, "DISQUE-PLEIN")]
    assert explain.lay_steps((), {}, "REGLE-D-AILLEURS")[0].stage is Stage.SYSTEM


@pytest.mark.parametrize(("first", "second", "away"), [
    ("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("hopital", "h0pital", 1), ("mta.fr", "mta1.fr", 1), ("ab", "ba", 2)])
def test_distance(first: str, second: str, away: int) -> None:
    assert explain.distance(first, second) == explain.distance(second, first) == away


def test_distance_is_bounded() -> None:
    assert explain.distance("a" * 100_000, "b" * 100_000) == 120


@pytest.mark.parametrize(("text", "nearest", "differs"), [
    ("CN=mta.hopital.fr,OU=310000000000002,O=HOPITAL NORD,ST=Nord (59),C=FR", "mta.hopital.fr", ("OU",)),
    ("CN=mta.h0pital.fr,OU=310000000000001,O=HOPITAL NORD,ST=Nord (59),C=FR", "mta.hopital.fr", ("CN",)),
    ("CN=smtp.clinique.fr,OU=110000001,O=CLINIQUE,L=Lille,C=FR", "", ()),
    ("CN=tout-autre.example,OU=999999999,O=PERSONNE,C=FR", "", ()),
])
def test_nearest_rows(listed: Whitelist, text: str, nearest: str, differs: tuple[str, ...]) -> None:
    rows = explain.nearest_rows(parse_dn(text), listed, DnMode.CN_OU)
    if not nearest:
        assert not [row for row in rows if row.name.value("OU") == parse_dn(text).value("OU")]
        return
    assert (rows[0].name.value("CN"), rows[0].differs) == (nearest, differs)
    assert f"diffère par {', '.join(differs)}" in rows[0].text
    assert rows[0].domains == 1


def test_nearest_domains(listed: Whitelist) -> None:
    assert explain.nearest_domains("hopitale.mssante.fr", listed) == ("hopital.mssante.fr",)
    assert explain.nearest_domains("tout-autre.mssante.fr", listed) == ()


def test_what_the_list_says_of_a_domain(listed: Whitelist) -> None:
    name = parse_dn("CN=mta.hopital.fr,OU=310000000000009,O=HOPITAL NORD,ST=Nord (59),C=FR")
    assert "diffère par OU" in explain.binding_text("hopital.mssante.fr", name, listed, DnMode.CN_OU)
    assert "diffère" not in explain.binding_text("hopital.mssante.fr", name, listed, DnMode.CN)
    assert "absent de la liste ; ressemble à hopital.mssante.fr" in explain.binding_text("hopitl.mssante.fr", None, listed, DnMode.CN)
    values = explain.list_values(name, "hopital.mssante.fr", listed, DnMode.CN_OU)
    assert "0 domaine(s)" in values[Stage.SESSION].ours and "ressemble à" in values[Stage.SESSION].ours
    assert values[Stage.LIST].ours == "liste du 2026-03-01 00:00:00 UTC (abababababab)"


def test_in_english(listed: Whitelist) -> None:
    try:
        set_language("en")
        assert "not in the list" in explain.binding_text("nobody.test", None, listed, DnMode.CN)
    finally:
        set_language("fr")


def test_the_real_list_is_searched_in_time(shared_dir: Path) -> None:
    from mssante.protocol.xml import parse_xml
    from mssante.trust.whitelist import parse_whitelist

    files = sorted((shared_dir / "data" / "whitelist").rglob("*.xml"), key=lambda path: path.stat().st_size)
    found = parse_whitelist(parse_xml(files[-1].read_bytes(), max_bytes=64 * 1024 * 1024))
    known = found.entries[0].operator_dn
    odd = parse_dn(known.text.replace("OU=3", "OU=9", 1).replace("OU=1", "OU=8", 1))
    rows: Any = explain.nearest_rows(odd, found, DnMode.CN_OU)
    assert rows and rows[0].name.value("CN") == known.value("CN") and "OU" in rows[0].differs


def test_an_unreadable_extension_is_no_crash() -> None:
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.250.1.71.1.2.5"), b"")
    leaf, _ = build_igc().leaf("mta.hopital.fr", extra=[(strange, False)])
    facts = explain.read_facts(der(leaf))
    assert facts is not None and facts.category == ""
