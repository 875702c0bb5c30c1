"""`check`: a sound operator passes; each thing that can be wrong is told under its own number, with a remedy."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clispace import DOMAIN, HOST, Outcome, Space
from support.pki import CLIENT, SERVER, build_igc, certificate_pem, key_for, key_pem, pem_files

NOW = datetime.now(UTC)


def check(space: Space) -> tuple[Outcome, dict[str, dict[str, str]]]:
    """Run `check`, give the worst finding of each number."""
    outcome = space.run("check", str(space.config), "--json", config=False)
    order = ["ok", "warn", "fail"]
    found: dict[str, dict[str, str]] = {}
    for one in sorted(outcome.json["findings"], key=lambda item: order.index(item["state"])):
        found[one["number"]] = one
    assert all(one["remedy"] for one in outcome.json["findings"] if one["state"] != "ok")
    return outcome, found


def give(space: Space, **how: Any) -> None:
    """Give the operator another certificate."""
    certificate, key = build_igc().leaf(how.pop("cn", HOST), **how)
    pem_files(space.root / "certs", "mta", [certificate, build_igc().organisations.certificate], key)


def test_a_sound_operator_passes(space: Space, fresh_list: Path) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    outcome, found = check(space)
    assert outcome.code == 0 and outcome.json["counts"]["fail"] == 0, outcome.out
    assert {number for number, one in found.items() if one["state"] != "ok"} <= {"DISQUE-02"}
    for number in ("CONF-01", "ANCRE-01", "CERT-01", "CERT-02", "CERT-03", "CERT-04", "CERT-05", "CERT-06", "CERT-07",
                   "CERT-10", "CERT-11", "CRL-01", "LISTE-01", "LISTE-02", "LISTE-04", "BASE-01", "BASE-02", "DISQUE-01",
                   "RESEAU-01", "RESEAU-03"):
        assert found[number]["state"] == "ok", number


def test_a_fresh_operator_only_warns(space: Space) -> None:
    outcome, found = check(space)
    assert outcome.code == 0
    named = space.run("check", "--config", str(space.config), "--json", config=False)  # as every other command names its folder
    assert (named.code, named.json["counts"]) == (0, outcome.json["counts"])
    assert found["LISTE-01"]["state"] == found["BASE-01"]["state"] == "warn"
    assert not (space.root / "data" / "mssante.db").exists()  # a check creates nothing


@pytest.mark.parametrize(("how", "number", "state"), [
    ({"not_after": NOW - timedelta(days=1)}, "CERT-02", "fail"),
    ({"not_after": NOW + timedelta(days=3)}, "CERT-02", "warn"),
    ({"not_before": NOW + timedelta(days=3)}, "CERT-02", "fail"),
    ({"issuer": "personnes"}, "CERT-04", "fail"),
    ({"issuer": "foreign"}, "CERT-04", "fail"),
    ({"usage": ("key_encipherment",)}, "CERT-06", "fail"),
    ({"eku": (SERVER,)}, "CERT-06", "warn"),
    ({"eku": (CLIENT,)}, "CERT-06", "warn"),
    ({"cn": "autre.mssante.test"}, "CERT-07", "fail"),
    ({"key_bits": 1024}, "CERT-10", "fail"),
])
def test_what_can_be_wrong_with_our_certificate(space: Space, how: dict[str, Any], number: str, state: str) -> None:
    give(space, **how)
    outcome, found = check(space)
    assert found[number]["state"] == state, found[number]
    assert outcome.code == (3 if state == "fail" else 0)


def test_our_certificate_is_revoked(space: Space, leaf: Any) -> None:
    (space.root / "data" / "crl" / "0.crl").write_bytes(build_igc().crl([leaf[0]]))
    outcome, found = check(space)
    assert outcome.code == 3 and found["CERT-10"]["rule"] == "PEER-REVOKED"


def test_a_test_certificate_in_production(space: Space) -> None:
    give(space, category=0x82)
    space.change("[listen]", "production = true\n[listen]")
    assert check(space)[1]["CERT-10"]["rule"] == "PEER-CATEGORY"


def test_keys(space: Space) -> None:
    key = space.root / "certs" / "mta.key"
    key.chmod(0o640)
    found = check(space)[1]
    assert found["CERT-11"]["state"] == "fail" and "0640" in found["CERT-11"]["seen"]
    assert found["CERT-11"]["remedy"] == "chmod 600 mta.key"
    key.write_bytes(key_pem(key_for("another")))
    assert check(space)[1]["CERT-03"]["rule"] == "CLE-AUTRE"
    key.write_bytes(b"rien")
    assert check(space)[1]["CERT-03"]["rule"] == "CLE-LECTURE"
    key.unlink()
    assert check(space)[1]["CERT-11"]["state"] == "fail"


def test_certificate_files(space: Space) -> None:
    path = space.root / "certs" / "mta.pem"
    path.write_bytes(certificate_pem(build_igc().leaf(HOST)[0]))
    assert check(space)[1]["CERT-05"]["state"] == "warn"
    path.write_bytes(b"rien")
    assert check(space)[1]["CERT-01"]["state"] == "fail"
    path.unlink()
    assert "ne se lit pas" in check(space)[1]["CERT-01"]["seen"]


def test_the_users_pair(space: Space) -> None:
    space.change("[trust]", '[tls]\nclient_certificate = "../certs/imap.pem"\nclient_key = "../certs/imap.key"\n[trust]')
    found = check(space)[1]
    assert found["CERT-20"]["state"] == found["CERT-22"]["state"] == "fail"
    certificate, key = build_igc().leaf("imap.test", not_after=NOW + timedelta(days=2))
    pem_files(space.root / "certs", "imap", certificate, key)
    found = check(space)[1]
    assert (found["CERT-20"]["state"], found["CERT-21"]["state"], found["CERT-22"]["state"]) == ("ok", "warn", "ok")


def test_the_authorities_of_imap_clients(space: Space) -> None:
    assert "CERT-23" not in check(space)[1]
    space.change("[trust]", '[login.certificates]\n"' + "ab" * 32 + '" = "poste"\n[trust]')
    assert check(space)[1]["CERT-23"]["state"] == "warn", "nobody asks for these certificates"
    space.change("[login.certificates]", '[login]\nclient_anchors = "../certs/clients.pem"\n[login.certificates]')
    assert check(space)[1]["CERT-23"]["state"] == "fail"
    (space.root / "certs" / "clients.pem").write_bytes(build_igc().anchors_pem)
    assert check(space)[1]["CERT-23"]["state"] == "ok"


def test_anchors(space: Space) -> None:
    igc, path = build_igc(), space.root / "certs" / "anchors.pem"
    path.write_bytes(certificate_pem(igc.organisations.certificate))
    assert check(space)[1]["ANCRE-03"]["state"] == "warn"
    path.write_bytes(certificate_pem(igc.root.certificate, igc.personnes.certificate))
    outcome, found = check(space)
    assert outcome.code == 3 and found["ANCRE-01"]["rule"] == "ANCRE-EMETTEUR"
    assert found["CERT-04"]["state"] == "warn"
    path.unlink()
    assert check(space)[1]["ANCRE-01"]["state"] == "fail"


def test_signer_and_https_anchors(space: Space) -> None:
    text = (space.config / "operator.toml").read_text()
    line = next(one for one in text.splitlines() if one.startswith("signer_cns"))
    space.change(line, 'signer_cns = []\nsigner_ous = []\nwhitelist_anchors = "nulle-part.pem"')
    found = check(space)[1]
    assert found["ANCRE-05"]["state"] == "fail" and found["ANCRE-04"]["state"] == "fail"


def test_crls(space: Space) -> None:
    igc, path = build_igc(), space.root / "data" / "crl" / "0.crl"
    path.write_bytes(igc.crl(next_update=NOW - timedelta(hours=1)))
    outcome, found = check(space)
    assert outcome.code == 3 and found["CRL-01"]["state"] == "fail" and found["CERT-10"]["state"] == "warn"
    space.change("[trust]", "[trust]\ncrl_grace_seconds = 86400")
    assert check(space)[1]["CRL-01"]["state"] == "warn"
    path.write_bytes(igc.crl(issuer="foreign"))
    assert check(space)[1]["CRL-01"]["rule"] == "CRL-SIGNATURE"
    path.unlink()
    assert check(space)[1]["CRL-01"]["state"] == "warn"
    space.change("[trust]", "[trust]\ncrl_urls = []")
    assert check(space)[1]["CRL-01"]["state"] == "fail"


def test_the_kept_list(space: Space, leaf: Any) -> None:
    other = "CN=autre,OU=3,O=A,C=FR"
    cases = [([(DOMAIN, other)], 1, "LISTE-04", "fail"), ([("b.mssante.test", leaf[0])], 1, "LISTE-04", "fail"),
             ([(DOMAIN, leaf[0])], 24 * 7, "LISTE-02", "warn"), ([(DOMAIN, leaf[0])], 24 * 11, "LISTE-02", "fail"),
             ([(DOMAIN, leaf[0]), ("a b", other)], 1, "LISTE-03", "warn")]
    (space.root / "whitelist").mkdir()
    for rows, hours, number, state in cases:
        path = space.write_list("whitelist/current.xml", rows, NOW - timedelta(hours=hours))
        assert check(space)[1][number]["state"] == state, (rows, hours)
    path.write_bytes(path.read_bytes().replace(b"MSSante>", b"MSSante >", 1).replace(b"Domaine de test", b"domaine altere", 1))
    outcome, found = check(space)
    assert outcome.code == 3 and found["LISTE-01"]["rule"].startswith("LB-")


def test_the_database(space: Space) -> None:
    space.run("queue", "depth")
    path = space.root / "data" / "mssante.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE schema_version SET version = 99, compat = 99")
    outcome, found = check(space)
    assert outcome.code == 3 and "99" in found["BASE-02"]["seen"]
    with sqlite3.connect(path) as database:
        database.execute("UPDATE schema_version SET version = 0, compat = 0")
    assert check(space)[1]["BASE-02"]["state"] == "warn"
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT version FROM schema_version").fetchone() == (0,)  # a check upgrades nothing
    path.write_bytes(b"not a database" * 1000)
    assert check(space)[1]["BASE-01"]["state"] == "fail"


def test_an_unknown_kind_of_database(space: Space) -> None:
    space.change("[trust]", '[storage]\nurl = "mysql://moi:secret@ailleurs/x"\n[trust]')
    outcome, found = check(space)
    assert found["BASE-01"]["rule"] == "STORE-URL" and "secret" not in outcome.out


def test_room_on_disk(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((1024, "fail"), (500 * 1024 * 1024, "warn"), (10**12, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(10**13, 0, free))
        assert check(space)[1]["DISQUE-02"]["state"] == state
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert check(space)[1]["DISQUE-01"]["state"] == "fail"


def test_ports(space: Space) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        space.change('smtp = "127.0.0.1:0"', f'smtp = "127.0.0.1:{holder.getsockname()[1]}"')
        found = check(space)[1]
        assert found["RESEAU-03"]["state"] == "warn" and "déjà pris" in found["RESEAU-03"]["seen"]
    space.change('imap = "127.0.0.1:0"', 'imap = "192.0.2.1:0"')
    space.change('metrics = "127.0.0.1:0"', 'metrics = "0.0.0.0:0"')
    space.change("[trust]", "[relay]\nallow_private = true\n[trust]")
    outcome, found = check(space)
    assert outcome.code == 3 and found["RESEAU-03"]["state"] == "fail"
    assert found["RESEAU-02"]["state"] == found["RESEAU-04"]["state"] == "warn"


def test_config_only_reads_nothing_else(space: Space) -> None:
    shutil.rmtree(space.root / "certs")
    outcome = space.run("check", str(space.config), "--config-only", config=False)
    assert outcome.code == 0 and "CONF-01" in outcome.out and "CERT" not in outcome.out
    space.change('hostname = "', 'hostname = "*')
    outcome = space.run("check", str(space.config), "--config-only", config=False)
    assert outcome.code == 3 and "operator.hostname" in outcome.out


def test_the_shipped_examples_are_accepted(space: Space) -> None:
    folder = Path(__file__).resolve().parents[3] / "operator_config"
    assert space.run("check", "--config-only", str(folder), config=False).code == 0
    for name in ("operator", "domains"):
        shutil.copy(folder / f"{name}.example.toml", space.config / f"{name}.toml")
    assert space.run("check", "--config-only", str(space.config), config=False).code == 0


def test_english(space: Space) -> None:
    out = space.run("check", str(space.config), "--lang", "en", config=False).out
    assert "to look at" in out and "operator certificate" in out and "à regarder" not in out
