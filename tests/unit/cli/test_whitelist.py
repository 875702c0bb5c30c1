"""`whitelist`: verify, adopt, show, history, lookup; nothing unsigned or altered is ever put in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clispace import DOMAIN, HOST, Space
from support.pki import build_igc, signed_whitelist, whitelist_xml

OTHER = "CN=mta.other.test,OU=399000000000001,O=AUTRE,ST=Paris (75),C=FR"


def test_verify_tells_the_counts(space: Space, fresh_list: Path) -> None:
    outcome = space.run("whitelist", "verify", str(fresh_list), "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert (found["entries"], found["domains"], found["names"]) == (21, 21, {"raw": 2, "strict": 2, "cn_ou": 2, "cn": 2})
    assert found["signature"] == "good" and found["seconds"] >= 0 and found["memory_peak_bytes"] > 0
    told = space.run("whitelist", "verify", str(fresh_list), "--lang", "en").out
    assert "signature is good" in told and "cn_ou 2" in told


def test_verify_refuses_and_exits_3(space: Space, fresh_list: Path) -> None:
    fresh_list.write_bytes(fresh_list.read_bytes().replace(b"d1.mssante.test", b"d9.mssante.fake"))
    outcome = space.run("whitelist", "verify", str(fresh_list), "--json")
    assert outcome.code == 3
    assert outcome.json["rule"].startswith("LB-") and outcome.json["remedy"]
    unsigned = space.root / "unsigned.xml"
    unsigned.write_bytes(whitelist_xml([(DOMAIN, OTHER)], datetime.now(UTC)))
    assert space.run("whitelist", "verify", str(unsigned)).code == 3
    counted = space.run("whitelist", "verify", str(unsigned), "--unsigned", "--json").json
    assert counted["signature"] == "unchecked" and counted["signer"] is None and counted["domains"] == 1
    assert space.run("whitelist", "verify", "/nulle/part.xml").code == 1


def test_adopt_show_history_lookup(space: Space, fresh_list: Path, leaf: Any) -> None:
    assert "[LB-ABSENTE]" in space.run("whitelist", "show").err
    adopted = space.run("whitelist", "adopt", str(fresh_list), "--json")
    assert adopted.code == 0 and adopted.json["adopted"] is True, adopted.err
    assert space.run("whitelist", "adopt", str(fresh_list), "--json").json["adopted"] is False
    assert (space.root / "whitelist" / "current.xml").read_bytes() == fresh_list.read_bytes()
    assert space.run("whitelist", "show", "--json").json["hosted"] == [
        {"domain": DOMAIN, "bound": True, "listed_dn": leaf[0].subject.rfc4514_string()}]
    versions = space.run("whitelist", "history", "--json").json["versions"]
    assert [(one["domains"], one["forced"]) for one in versions] == [(21, False)]
    assert HOST in space.run("whitelist", "lookup", DOMAIN.upper()).out
    assert len(space.run("whitelist", "lookup", "--dn", OTHER, "--json").json["domains"]) == 20
    assert [one["kind"] for one in space.run("journal", "list", "--json").json["events"]] == ["whitelist_adopted"]


@pytest.mark.parametrize(("words", "code", "rule"), [
    (("absent.mssante.test",), 1, "LB-DOMAINE"), (("x",), 1, "ADR-DOMAIN"), (("--dn", "CN=inconnu"), 1, "LB-CERTIFICAT"),
    (("--dn", "rien"), 1, "DN-SYNTAXE"), ((), 2, ""), ((DOMAIN, "--dn", OTHER), 2, ""),
])
def test_lookup_of_what_is_not_there(space: Space, fresh_list: Path, words: tuple[str, ...], code: int, rule: str) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    outcome = space.run("whitelist", "lookup", *words)
    assert outcome.code == code and rule in outcome.err


def test_a_rollback_or_a_shrinkage_needs_force(space: Space, fresh_list: Path, leaf: Any) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    now = datetime.now(UTC)
    older = space.write_list("older.xml", [(DOMAIN, leaf[0])], now - timedelta(days=1))
    smaller = space.write_list("smaller.xml", [(DOMAIN, leaf[0])], now)
    for path, rule in ((older, "LB-RECUL"), (smaller, "LB-REDUCTION")):
        outcome = space.run("whitelist", "adopt", str(path))
        assert outcome.code == 1 and rule in outcome.err and "--force" in outcome.err
    assert space.run("whitelist", "adopt", str(smaller), "--force").code == 0
    assert space.run("whitelist", "history", "--json").json["versions"][0]["forced"] is True


@pytest.mark.parametrize("how", ["unsigned", "foreign", "other-name", "revoked"])
def test_force_never_believes_a_bad_signature(space: Space, leaf: Any, how: str) -> None:
    igc, now, rows = build_igc(), datetime.now(UTC), [(DOMAIN, leaf[0])]
    signer = {"foreign": igc.list_signer(issuer="foreign"), "other-name": igc.list_signer("Liste Pirate")}.get(
        how, igc.list_signer())
    raw = whitelist_xml(rows, now) if how == "unsigned" else signed_whitelist(rows, now, signer=signer)
    if how == "revoked":
        (space.root / "data" / "crl" / "0.crl").write_bytes(igc.crl([signer[0]]))
    path = space.root / "bad.xml"
    path.write_bytes(raw)
    outcome = space.run("whitelist", "adopt", str(path), "--force")
    assert outcome.code == 1 and "[LB-SIGN" in outcome.err
    assert not (space.root / "whitelist" / "current.xml").exists()
    assert space.run("whitelist", "verify", str(path)).code == 3


def test_the_real_list_is_counted(space: Space, shared_dir: Path) -> None:
    path = shared_dir / "data" / "whitelist" / "listeblanche-2025-03-13.xml"
    found = space.run("whitelist", "verify", str(path), "--unsigned", "--json").json
    assert found["names"] == {"raw": 392, "strict": 380, "cn_ou": 377, "cn": 375}  # RQ-DN
    assert (found["entries"], found["domains"]) == (6553, 5001)
    assert [one["rule"] for one in found["skipped"]] == ["ADR-DOMAIN"]  # one name of the real list holds an @
