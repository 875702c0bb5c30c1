"""`whitelist diff|rollback|unpin`, lists that wait for a human, and `check` about the pin."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clispace import DOMAIN, Space
from support.pki import build_igc, pem_files
from support.storage_values import accept, queued

from mssante.app import open_storage
from mssante.config.load import load_config

A = "CN=mta.sisra.test,OU=399000000000001,O=SISRA,ST=Rhône (69),C=FR"
B = "CN=mta.sara.test,OU=399000000000002,O=SARA,ST=Rhône (69),C=FR"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def two(space: Space, leaf: Any) -> Space:
    """Two lists adopted: a region changes operator, one domain joins, one leaves."""
    old = [(DOMAIN, leaf[0]), *[(f"d{rank}.mssante.test", A) for rank in range(30)]]
    new = [(DOMAIN, leaf[0]), *[(f"d{rank}.mssante.test", B) for rank in range(1, 31)]]
    for name, rows, at in (("old.xml", old, NOW - 3 * HOUR), ("new.xml", new, NOW - 2 * HOUR)):
        outcome = space.run("whitelist", "adopt", str(space.write_list(name, rows, at)))
        assert outcome.code == 0, outcome.err
    return space


def test_a_merger_is_one_line(two: Space) -> None:
    outcome = two.run("whitelist", "diff")
    assert outcome.code == 0, outcome.err
    assert "29 domaines passent de CN=mta.sisra.test (SISRA) à CN=mta.sara.test (SARA)" in outcome.out
    assert "nouvel opérateur : SARA (OU=399000000000002), 30 domaines" in outcome.out
    assert "opérateur parti : SISRA" in outcome.out and len(outcome.out.splitlines()) < 12
    found = two.run("whitelist", "diff", "previous", "current", "--json").json
    assert (found["counts"]["moved"], found["joined"], found["left"]) == (29, ["d30.mssante.test"], ["d0.mssante.test"])
    assert found["severity"] == "notable" and found["own"] == []
    full = two.run("whitelist", "diff", "--full", "--lang", "en").out
    assert "d17.mssante.test" in full and "29 domains moved from CN=mta.sisra.test (SISRA)" in full


@pytest.mark.parametrize("words", [("old.xml", "new.xml"), ("date", "current"), ("sha", "current")])
def test_versions_by_file_date_and_hash(two: Space, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two.root)
    versions = two.run("whitelist", "history", "--json").json["versions"]
    named = {"date": f"{NOW - 3 * HOUR:%Y-%m-%dT%H:%M:%S}", "sha": versions[1]["sha256"][:10]}
    found = two.run("whitelist", "diff", named.get(words[0], words[0]), words[1], "--json").json
    assert found["counts"]["moved"] == 29


@pytest.mark.parametrize("word", ["1999-01-01", "beef", "jamais"])
def test_a_version_that_is_not_there(two: Space, word: str) -> None:
    outcome = two.run("whitelist", "diff", word)
    assert outcome.code == 1 and "LB-VERSION" in outcome.err and "mssante whitelist history" in outcome.err


def test_the_same_list_has_no_difference(two: Space) -> None:
    assert "aucune différence" in two.run("whitelist", "diff", "current", "current").out


def test_a_list_with_a_bad_signature_is_compared_and_told(two: Space) -> None:
    path = two.root / "altered.xml"
    path.write_bytes((two.root / "new.xml").read_bytes().replace(b"d5.mssante.test", b"x5.mssante.test"))
    outcome = two.run("whitelist", "diff", "current", str(path))
    assert outcome.code == 0 and "n'est pas bonne aujourd'hui" in outcome.out
    assert "x5.mssante.test" in outcome.out


def test_rollback_lasts_until_a_newer_list_or_unpin(two: Space, leaf: Any) -> None:
    outcome = two.run("whitelist", "rollback")
    assert outcome.code == 0, outcome.err
    assert "épinglée" in outcome.out
    assert two.run("whitelist", "lookup", "d0.mssante.test").code == 0
    again = two.run("whitelist", "adopt", str(two.root / "new.xml"))
    assert again.code == 1 and "LB-EPINGLE" in again.err and "unpin" in again.err
    check = two.run("check", str(two.config), "--json", config=False).json
    assert [one["state"] for one in check["findings"] if one["number"] == "LISTE-05"] == ["warn"]
    newer = two.write_list("newer.xml", [(DOMAIN, leaf[0]), *[(f"d{rank}.mssante.test", A) for rank in range(31)]], NOW - HOUR)
    assert two.run("whitelist", "adopt", str(newer)).code == 0
    assert two.run("whitelist", "unpin", "--json").json["unpinned"] is False
    kinds = [one["kind"] for one in two.run("journal", "list", "--json").json["events"]]
    assert kinds.count("whitelist_pinned") == 1 and kinds.count("whitelist_adopted") == 4


def test_unpin_lets_the_list_back(two: Space) -> None:
    two.run("whitelist", "rollback", "previous")
    assert two.run("whitelist", "unpin", "--json").json["unpinned"] is True
    assert two.run("whitelist", "adopt", str(two.root / "new.xml")).code == 0
    assert "aucune épingle" in two.run("whitelist", "unpin").out


def test_rollback_believes_no_altered_file_and_leaves_all_as_it_was(two: Space) -> None:
    folder = two.root / "whitelist"
    old = next(path for path in folder.glob("*-*.xml") if path.read_bytes() == (two.root / "old.xml").read_bytes())
    old.write_bytes(old.read_bytes().replace(b"d3.", b"x3."))
    outcome = two.run("whitelist", "rollback")
    assert outcome.code == 1 and "LB-FICHIER" in outcome.err
    assert (folder / "current.xml").read_bytes() == (two.root / "new.xml").read_bytes()
    assert not (folder / "pin.json").exists()
    old.unlink()
    assert "LB-FICHIER" in two.run("whitelist", "rollback").err


def test_a_rollback_to_a_list_too_old_asks_for_force(space: Space, leaf: Any) -> None:
    rows = [(DOMAIN, leaf[0])]
    space.run("whitelist", "adopt", "--force", str(space.write_list("old.xml", rows, NOW - timedelta(days=30))))
    space.run("whitelist", "adopt", str(space.write_list("new.xml", rows, NOW - HOUR)))
    outcome = space.run("whitelist", "rollback")
    assert outcome.code == 1 and "LB-AGE" in outcome.err
    assert space.run("whitelist", "rollback", "--force").code == 0


def test_a_list_without_our_domain_waits_for_a_human(two: Space) -> None:
    path = two.write_list("lost.xml", [(f"d{rank}.mssante.test", B) for rank in range(1, 31)], NOW - HOUR)
    outcome = two.run("whitelist", "adopt", str(path))
    assert outcome.code == 1 and "LB-NOTRE-DOMAINE" in outcome.err and DOMAIN in outcome.err
    told = two.run("whitelist", "diff", "current", "waiting").out
    assert f"NOTRE DOMAINE {DOMAIN} : quitte la liste, N'EST PAS lié à notre certificat" in told
    assert two.run("whitelist", "adopt", "waiting", "--force").code == 0
    assert not (two.root / "whitelist" / "waiting.xml").exists()


def test_our_domain_bound_to_another_certificate_may_be_a_warning_only(two: Space) -> None:
    two.change("[trust]", '[trust]\nwhitelist_own_domain = "warn"')
    path = two.write_list("other.xml", [(DOMAIN, A), *[(f"d{rank}.mssante.test", B) for rank in range(1, 31)]], NOW - HOUR)
    assert two.run("whitelist", "adopt", str(path)).code == 0
    events = two.run("journal", "list", "--json").json["events"]
    assert next(one["payload"]["rule"] for one in events if one["kind"] == "whitelist_alarm") == "LB-NOTRE-DOMAINE"


def test_queued_mail_of_touched_domains_is_counted(two: Space) -> None:
    stores = open_storage(load_config(two.config))
    try:
        asyncio.run(accept(stores, queued("x@d4.mssante.test", "y@d4.mssante.test", "z@d0.mssante.test", "n@autre.test")))
    finally:
        stores.close()
    found = two.run("whitelist", "diff", "--json").json
    assert [(one["domain"], one["queued"], one["what"]) for one in found["queued"]] == [
        ("d4.mssante.test", 2, "moved"), ("d0.mssante.test", 1, "left")]
    assert "file d'attente : 3 destinataire(s) de 2 domaine(s)" in two.run("whitelist", "diff").out


def test_old_files_are_pruned_never_those_in_force(space: Space, leaf: Any) -> None:
    space.change("[trust]", "[trust]\nwhitelist_keep_count = 2")
    for rank in range(6, 0, -1):
        rows = [(DOMAIN, leaf[0]), (f"d{rank}.mssante.test", A)]
        assert space.run("whitelist", "adopt", "--force", str(space.write_list(f"l{rank}.xml", rows, NOW - rank * HOUR))).code == 0
    assert len(list((space.root / "whitelist").glob("*-*.xml"))) == 2
    assert len(space.run("whitelist", "history", "--json").json["versions"]) == 6
    assert space.run("whitelist", "rollback").code == 0
    assert "LB-FICHIER" in space.run("whitelist", "rollback", f"{NOW - 6 * HOUR:%Y-%m-%dT%H:%M}").err


def test_a_pin_that_cannot_be_read_counts_as_none(two: Space) -> None:
    Path(two.root / "whitelist" / "pin.json").write_text("{")
    assert two.run("whitelist", "rollback").code == 0


def test_our_next_certificate_in_the_list_is_no_loss(two: Space) -> None:
    """During a rollover the list moves our domain to the certificate that we are about to serve."""
    certificate, key = build_igc().leaf("mta2.alpha.mssante.test")
    pem_files(two.root / "certs", "next", [certificate], key)
    rows = [(DOMAIN, certificate), *[(f"d{rank}.mssante.test", B) for rank in range(1, 31)]]
    path = two.write_list("moved.xml", rows, NOW - HOUR)
    assert "LB-NOTRE-DOMAINE" in two.run("whitelist", "adopt", str(path)).err
    two.change("[listen]", '[tls]\nnext_certificate = "../certs/next.pem"\nnext_key = "../certs/next.key"\n[listen]')
    assert two.run("whitelist", "adopt", str(path)).code == 0
    told = two.run("whitelist", "diff").out
    assert f"NOTRE DOMAINE {DOMAIN} : change de certificat, reste lié à notre certificat" in told
