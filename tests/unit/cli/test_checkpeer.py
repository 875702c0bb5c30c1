"""`check peer`: the command's shape, its report as text, JSON and a page that stands alone; `check --online` when nothing runs."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from support.clispace import DOMAIN, Space

from mssante.cli import peerreport
from mssante.cli.checks import online
from mssante.cli.peerreport import Report
from mssante.lang import set_language
from mssante.services.peercheck import Level, PeerFinding
from mssante.services.peerrules import PEER_RULES
from mssante.services.peervalues import Door, Observed

HOSTILE = '<script>alert(1)</script> "\' & </td> <img src="http://evil.test/x.png">'


def closed_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture
def hostile() -> Report:
    """A report in which everything that the other side gives is an attack on its reader."""
    rules = list(PEER_RULES.values())
    findings = [PeerFinding(rule, list(Level)[rank % 4], f"{HOSTILE} {rank}", "LB-SERVEUR" if rank % 4 == 2 else "")
                for rank, rule in enumerate(rules)]
    seen = Observed(HOSTILE, "mx", (), door=Door(HOSTILE, "192.0.2.1", 25))
    return Report(seen, findings, "mta.chez-nous.test", datetime(2026, 3, 1, tzinfo=UTC))


def test_the_page_is_whole_and_harmless(hostile: Report) -> None:
    page = peerreport.html(hostile)
    read = html.document_fromstring(page)
    assert page.startswith("<!DOCTYPE html>") and read.get("lang") == "fr"
    for landmark in ("header", "main", "footer"):
        assert len(read.xpath(f"//{landmark}")) == 1, landmark
    assert read.xpath("//a[@class='skip']/@href") == ["#results"] and read.xpath("//main/@id") == ["results"]
    assert len(read.xpath("//h1")) == 1 and read.xpath("//title")[0].text.strip()
    assert read.xpath("//script | //img | //link | //iframe | //object | //form | //base") == []
    assert read.xpath("//@src | //@onclick | //@style") == []
    assert [one for one in read.xpath("//@href") if not one.startswith("#")] == [], "nothing is fetched from anywhere"
    assert "default-src 'none'" in read.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]


def test_the_table_can_be_read_without_eyes(hostile: Report) -> None:
    read = html.document_fromstring(peerreport.html(hostile))
    assert len(read.xpath("//table/caption")) == 1
    heads = read.xpath("//thead//th")
    assert len(heads) == 6 and all(one.get("scope") == "col" for one in heads)
    rows = read.xpath("//tbody/tr")
    assert len(rows) == len(PEER_RULES) and all(row.xpath("./th/@scope") == ["row"] for row in rows)
    words = {row.get("class"): row.xpath("./td")[0].text_content() for row in rows}
    assert words == {"ok": "✓ bon", "warn": "! attention", "fail": "✗ ÉCHEC", "skip": "– non vu"}, "a state is a word, not a colour"
    assert all(HOSTILE in row.text_content() for row in rows), "shown as it is, and as text"


def test_in_english(hostile: Report) -> None:
    try:
        set_language("en")
        read = html.document_fromstring(peerreport.html(hostile))
        assert read.get("lang") == "en" and "Check of the operator" in read.xpath("//h1")[0].text_content()
        assert any("failed" in line for line in peerreport.lines(hostile)[-1:])
    finally:
        set_language("fr")


def test_the_same_facts_in_every_form(hostile: Report) -> None:
    document = json.loads(json.dumps(peerreport.document(hostile)))
    assert document["ok"] is False and sum(document["counts"].values()) == len(PEER_RULES)
    assert [one["number"] for one in document["findings"]] == list(PEER_RULES)
    assert all(bool(one["remedy"]) == (one["state"] in ("warn", "fail")) for one in document["findings"])
    text = "\n".join(peerreport.lines(hostile))
    assert all(number in text for number in PEER_RULES) and "[LB-SERVEUR]" in text


def test_a_door_that_is_closed(space: Space, fresh_list: Path) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    page = space.root / "page.html"
    outcome = space.run("check", "peer", "d1.mssante.test", "--host", "127.0.0.1", "--port", str(closed_port()), "--json",
                        "--html", str(page))
    assert outcome.code == 3
    states: dict[str, Any] = {one["number"]: one for one in outcome.json["findings"]}
    assert states["P-01"]["state"] == "ok" and states["P-03"]["state"] == "fail" and states["P-24"]["state"] == "skip"
    assert len(html.document_fromstring(page.read_text(encoding="utf-8")).xpath("//tbody/tr")) == len(PEER_RULES)


def test_usage(space: Space) -> None:
    assert space.run("check", "peer").code == 2
    assert space.run("check", "peer", "pas un domaine", "--json").json["rule"].startswith("ADR-")
    assert space.run("check", "peer", "x.test", "--port", "99999").code == 2
    assert space.run("check", "peer", "x.test", "--host", "127.0.0.1", "--html", str(space.root / "no" / "page.html"),
                     "--port", str(closed_port())).code == 1
    (space.root / "certs" / "mta.key").unlink()
    assert space.run("check", "peer", "x.test", "--host", "127.0.0.1", "--port", str(closed_port())).code == 1


def test_check_of_ours_is_as_before(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    assert space.run("check", str(space.config), "--json", config=False).code == 0
    assert space.run("check", "--json", str(space.config), config=False).json["ok"]
    assert space.run("check", "--help", config=False).code == 0
    monkeypatch.chdir(space.root)
    assert space.run("check", config=False).code == 0, "the default folder is ./operator_config"
    (space.root / "peer").mkdir()
    assert space.run("check", "./peer", config=False).code == 3, "a folder called peer is written so"


def doors(space: Space) -> None:
    """Give the operator doors that nobody opened, and no DNS."""
    for name in ("smtp", "submission", "submissions", "imap", "imaps"):
        space.change(f'{name} = "127.0.0.1:0"', f'{name} = "127.0.0.1:{closed_port()}"')
    space.change("[trust]", f'[relay]\ndns_servers = ["127.0.0.1:{closed_port()}"]\n[trust]\n'
                            f'crl_urls = ["http://127.0.0.1:{closed_port()}/x.crl"]\n'
                            f'whitelist_url = "https://127.0.0.1:{closed_port()}/x.xml"')


def test_online_when_nothing_runs(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    doors(space)
    monkeypatch.setattr(online.DnsSettings, "__init__", _quick(online.DnsSettings.__init__))
    outcome = space.run("check", str(space.config), "--online", "--json", config=False)
    found: dict[str, list[dict[str, str]]] = {}
    for one in outcome.json["findings"]:
        found.setdefault(one["number"], []).append(one)
    assert outcome.code == 3
    assert found["NOM-01"][0]["state"] == found["NOM-02"][0]["state"] == "fail"
    assert found["HEURE-01"][0]["state"] == "warn", "no source of time is no proof of a bad clock"
    assert {one["state"] for one in found["PORTE-01"]} == {"fail"} and len(found["PORTE-01"]) == 5
    assert found["SERVI-01"][0]["state"] == "fail" and {one["rule"] for one in found["SERVI-02"]} == {"PORTE-MUETTE"}
    assert all(one["remedy"] for rows in found.values() for one in rows if one["state"] != "ok")
    assert DOMAIN in found["NOM-01"][0]["title"]


def _quick(build: Any) -> Any:
    def made(self: Any, *given: Any, **named: Any) -> None:
        build(self, *given, **{"question_seconds": 0.2, "total_seconds": 0.4, **named})

    return made


def test_without_online_the_network_is_left_alone(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "online_findings", lambda config: pytest.fail("asked the network"))
    assert space.run("check", str(space.config), config=False).code == 0


@pytest.mark.parametrize(("off", "state"), [(0, "ok"), (-10, "ok"), (45, "warn"), (-45, "warn"), (400, "fail"), (-400, "fail")])
def test_the_clock(off: int, state: str) -> None:
    from datetime import timedelta

    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert online._skew("x", now + timedelta(seconds=off), now, now).state.value == state
