"""`webhook add|list|test|replay|remove`, `opposition add|list|remove|check`, tokens bound to mailboxes."""

from __future__ import annotations

import io

import pytest
from support.clispace import Space
from support.handing import INS

CLAIRE = "claire@alpha.mssante.test"


@pytest.fixture
def hospital(space: Space) -> Space:
    operator = space.config / "operator.toml"
    operator.write_text(operator.read_text() + '\n[handover]\nwebhook_hosts = ["127.0.0.1:1"]\nwebhook_private = true\n')
    assert space.run("mailbox", "add", CLAIRE, "--type", "PER").code == 0
    return space


def test_a_webhook_has_a_life(hospital: Space) -> None:
    assert "aucun webhook" in hospital.run("webhook", "list").out
    made = hospital.run("webhook", "add", CLAIRE, "https://127.0.0.1:1/mss", "-e", "document.read", "--owner", "DPI", "--json")
    assert made.code == 0 and made.json["secret"].startswith("whsec_") and made.json["events"] == ["document.read"]
    shown = hospital.run("webhook", "add", CLAIRE, "https://127.0.0.1:1/autre")
    assert shown.out.strip().startswith("whsec_") and "copiez" in shown.err
    listed = hospital.run("webhook", "list")
    assert "DPI" in listed.out and "tous" in listed.out and made.json["secret"] not in listed.out + hospital.run("webhook", "list", "--json").out
    tried = hospital.run("webhook", "test", made.json["id"], "--json")
    assert tried.code == 3 and tried.json["status"] == 0 and tried.json["detail"]
    again = hospital.run("webhook", "replay", made.json["id"], "--since", "2026-01-01T00:00:00+01:00", "--json")
    assert again.json == {"ok": True, "replayed": 0}
    assert "API-PARAMETRE" in hospital.run("webhook", "replay", made.json["id"], "--since", "hier").err
    assert hospital.run("webhook", "remove", made.json["id"]).code == 0
    assert "WEBHOOK-INCONNU" in hospital.run("webhook", "remove", made.json["id"]).err


@pytest.mark.parametrize(("words", "rule"), [
    ((CLAIRE, "https://ailleurs.test/"), "WEBHOOK-HOTE"), ((CLAIRE, "http://127.0.0.1:1/"), "WEBHOOK-URL"),
    (("absent@alpha.mssante.test", "https://127.0.0.1:1/"), "WEBHOOK-BOITE"),
    ((CLAIRE, "https://127.0.0.1:1/", "-e", "x"), "WEBHOOK-EVENEMENT")])
def test_what_a_webhook_is_refused_for(hospital: Space, words: tuple[str, ...], rule: str) -> None:
    refused = hospital.run("webhook", "add", *words)
    assert refused.code == 1 and rule in refused.err


def test_an_opposition_is_recorded_from_standard_input(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_input(text: str, *words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        done = space.run("opposition", *words)
        assert INS not in done.out + done.err
        return done.code, done.out + done.err

    who = ("--by", "accueil", "--reason", "demande du patient")
    assert "aucune opposition" in space.run("opposition", "list").out
    assert with_input(f"{INS}\n", "check")[0] == 0
    assert with_input(f"{INS}\n", "add", *who, "--scope", "citizen", "--until", "2099-12-31")[0] == 0
    code, out = with_input(f"{INS}\n", "check")
    assert code == 3 and "demande du patient" in out
    (one,) = space.run("opposition", "list", "--json").json["oppositions"]
    assert (one["scope"], one["by"], len(one["patient"])) == ("citizen", "accueil", 16)
    assert "OPPOSITION-INCONNUE" in with_input(f"{INS}\n", "remove", *who)[1]
    assert with_input(f"{INS}\n", "remove", *who, "--scope", "citizen")[0] == 0
    for text in ("", "123\n", "x" * 100 + "\n"):
        assert "OPPOSITION-INS" in with_input(text, "add", *who)[1]
    assert "OPPOSITION-PORTEE" in with_input(f"{INS}\n", "add", *who, "--scope", "x")[1]


def test_a_token_for_documents_names_its_mailboxes(hospital: Space) -> None:
    made = hospital.run("token", "create", "DPI", "-s", "documents:send", "-s", "events", "-m", CLAIRE.upper(), "--json")
    assert made.code == 0 and made.json["scopes"] == ["documents:send", "events", f"mailbox:{CLAIRE}"]
    for words in (("-s", "documents:send"), ("-s", "directory", "-m", CLAIRE), ("-s", "events", "-m", "absent@alpha.mssante.test")):
        assert "JETON-BOITE" in hospital.run("token", "create", "x", *words).err
    assert "JETON-PORTEE" in hospital.run("token", "create", "x", "-s", f"mailbox:{CLAIRE}").err
