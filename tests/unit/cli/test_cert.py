"""`cert show|list|request|calendar`: what is explained, asked for and watched, in words and as one object; hostile files."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.clispace import DOMAIN, HOST, Space, mode
from support.pki import build_igc, certificate_pem, der, pem_files

from mssante.certificates_setup import expiries
from mssante.config.load import load_config
from mssante.storage.interfaces import PeerCertificate
from mssante.trust.expiry import What

NOW = datetime.now(UTC)
IGC = build_igc()


def rules(document: Any) -> dict[str, str]:
    return {one["rule"]: one["level"] for one in document["findings"]}


# ------------------------------------------------------------------ show

def test_show_explains_our_certificate(space: Space, leaf: Any) -> None:
    for word in ("operator", DOMAIN, DOMAIN.upper()):
        outcome = space.run("cert", "show", word, "--json")
        assert outcome.code == 0, outcome.out
        ours, authority = outcome.json["certificates"]
        assert ours["declared_dn"] == f"CN={HOST},OU=318751275100020,O=ORGANISATION DE TEST,ST=Paris (75),C=FR"
        assert (ours["offer"], ours["issuer"]["verified"], ours["test"]) == ("SERV SSL", True, True)
        assert authority["offer"] == "AC"
    text = space.run("cert", "show", "operator").out
    assert "SIRET 18751275100020" in text and "signature vérifiée par nos ancres" in text and "[PROFIL-TEST]" in text
    english = space.run("--lang", "en", "cert", "show", "operator").out
    assert "signature verified by our anchors" in english and "seen:" in english


def test_show_reads_a_file_without_configuration(tmp_path: Path, space: Space) -> None:
    path = tmp_path / "seal.pem"
    path.write_bytes(certificate_pem(IGC.list_signer()[0]))
    outcome = space.run("cert", "show", str(path), "--config", str(tmp_path / "none"), "--json", config=False)
    assert outcome.code == 0 and outcome.json["certificates"][0]["offer"] == "ORG SIGN"
    assert outcome.json["certificates"][0]["issuer"]["verified"] is None


def test_what_is_refused_gives_code_3(space: Space) -> None:
    certificate, key = IGC.leaf("autre.mssante.test", issuer="foreign", not_after=NOW - timedelta(days=1))
    pem_files(space.root / "certs", "mta", certificate, key)
    outcome = space.run("cert", "show", "operator", "--json")
    found = rules(outcome.json["certificates"][0])
    assert outcome.code == 3 and not outcome.json["ok"]
    assert {one for one, level in found.items() if level == "fail"} == {"PROFIL-AUTORITE", "PROFIL-EXPIRE", "PROFIL-NOM"}


@pytest.mark.parametrize(("octets", "rule"), [
    (b"", "ANCRE-LECTURE"), (b"\x30\x82" + b"x" * 500, "ANCRE-LECTURE"), (b"-----BEGIN CERTIFICATE-----\n!!\n", "ANCRE-LECTURE"),
    (b"x" * (1024 * 1024 + 1), "CERT-LECTURE")])
def test_hostile_files_are_typed_refusals(space: Space, octets: bytes, rule: str) -> None:
    path = space.root / "x.pem"
    path.write_bytes(octets)
    outcome = space.run("cert", "show", str(path), "--json")
    assert outcome.code == 1 and outcome.json["rule"] == rule


def test_a_name_cannot_drive_the_terminal(space: Space) -> None:
    certificate = IGC.leaf("\x1b[31mrouge", o="A\x07B")[0]
    path = space.root / "x.pem"
    path.write_bytes(certificate_pem(certificate))
    text = space.run("cert", "show", str(path)).out
    assert "\x1b" not in text and "\x07" not in text and "?[31mrouge" in text


def test_an_unknown_word_is_told(space: Space) -> None:
    outcome = space.run("cert", "show", "inconnu.mssante.test", "--json")
    assert outcome.code == 1 and outcome.json["rule"] == "CERT-INCONNU" and outcome.json["remedy"]


def remember(space: Space, *rows: PeerCertificate) -> None:
    from mssante.cli.common import administer

    administer(space.config, lambda admin: admin.stores.database.write(lambda tx: admin.stores.peer_certificates.record(tx, rows)))


def peer(domain: str, *, uses: int = 1, days: int = 200) -> PeerCertificate:
    certificate = IGC.leaf(f"mta.{domain}", not_after=NOW + timedelta(days=days))[0]
    return PeerCertificate(domain, certificate.fingerprint(x509.base.hashes.SHA256()).hex(), "out", der(certificate),
                           certificate.not_valid_after_utc, NOW, NOW, uses)


def test_show_tells_what_a_correspondent_showed(space: Space) -> None:
    remember(space, peer("b.mssante.test"))
    outcome = space.run("cert", "show", "b.mssante.test", "--json")
    assert outcome.code == 0 and outcome.json["certificates"][0]["cn"] == "mta.b.mssante.test"


# ------------------------------------------------------------------ list, calendar

def test_list_shows_all_that_we_use(space: Space, fresh_list: Path) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    outcome = space.run("cert", "list", "--json")
    assert outcome.code == 0, outcome.out
    assert [one["what"] for one in outcome.json["pairs"]] == ["operator"] and outcome.json["pairs"][0]["cn"] == HOST
    kinds = {one["what"] for one in outcome.json["expiries"]}
    assert kinds == {"operator", "chain", "anchor", "crl", "whitelist", "list-signer"} and outcome.json["unreadable"] == []
    assert "mta.pem" in space.run("cert", "list").out


def test_list_tells_a_pair_that_is_none(space: Space) -> None:
    (space.root / "certs" / "mta.key").write_bytes(b"nothing")
    outcome = space.run("cert", "list", "--json")
    assert outcome.json["pairs"][0]["rule"] == "CLE-LECTURE"


@pytest.mark.parametrize(("days", "level", "code"), [(100, "later", 0), (80, "days_90", 0), (50, "days_60", 0), (20, "days_30", 0),
                                                     (5, "days_7", 3), (-2, "ended", 3)])
def test_calendar_levels(space: Space, days: int, level: str, code: int) -> None:
    certificate, key = IGC.leaf(HOST, not_after=NOW + timedelta(days=days))
    pem_files(space.root / "certs", "mta", certificate, key)
    outcome = space.run("cert", "calendar", "--json")
    assert outcome.code == code
    found = {one["what"]: one for one in outcome.json["expiries"]}
    assert found["operator"]["level"] == level and outcome.json["expiries"][0]["what"] == "operator"
    text = space.run("cert", "calendar").out
    assert ("cert request --renew" in text) is (level != "later")


def test_calendar_knows_our_correspondents(space: Space) -> None:
    remember(space, peer("b.mssante.test", uses=9, days=3), peer("c.mssante.test", days=30))
    outcome = space.run("cert", "calendar", "--json")
    assert outcome.code == 3 and outcome.json["expiries"][0]["name"] == "b.mssante.test"
    assert "prévenez son opérateur" in outcome.json["expiries"][0]["effect"]


def test_what_renews_itself_is_urgent_only_when_late(space: Space) -> None:
    path = space.root / "data" / "crl" / "0.crl"
    for age, left, level in ((1, 9, "later"), (9, 2, "days_7"), (9, -1, "ended")):
        path.write_bytes(IGC.crl(this_update=NOW - timedelta(hours=age), next_update=NOW + timedelta(hours=left)))
        outcome = space.run("cert", "calendar", "--json")
        assert {one["what"]: one["level"] for one in outcome.json["expiries"]}["crl"] == level
        assert outcome.code == (0 if level == "later" else 3)


def test_a_file_that_cannot_be_read_hides_none_of_the_others(space: Space) -> None:
    (space.root / "data" / "crl" / "0.crl").write_bytes(b"x")
    (space.root / "certs" / "anchors.pem").write_bytes(b"x")
    outcome = space.run("cert", "calendar", "--json")
    assert {one["what"] for one in outcome.json["expiries"]} == {"operator", "chain"}
    assert set(outcome.json["unreadable"]) == {"anchors.pem", "trust.crl_folder", "trust.whitelist_folder"}
    (space.root / "certs" / "mta.pem").unlink()
    assert space.run("cert", "calendar", "--json").json["unreadable"][0] == "mta.pem"


def test_the_agenda_is_icalendar(space: Space, fresh_list: Path) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    path = space.root / "dates.ics"
    assert space.run("cert", "calendar", "--ics", str(path)).code == 0
    raw = path.read_bytes()
    assert raw.startswith(b"BEGIN:VCALENDAR\r\n") and raw.endswith(b"END:VCALENDAR\r\n") and b"\n" not in raw.replace(b"\r\n", b"")
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    text = raw.replace(b"\r\n ", b"").decode()
    assert text.count("BEGIN:VEVENT") == text.count("END:VEVENT") == 6 and text.count("TRIGGER:-P7D") == 6
    assert f"SUMMARY:certificat opérateur {HOST}" in text and "CRL" not in re.findall(r"SUMMARY:(\S+)", text)
    assert space.run("cert", "calendar", "--ics", "/absent/dates.ics", "--json").json["rule"] == "CERT-AGENDA"


def test_smime_keys_are_watched(space: Space) -> None:
    certificate = IGC.leaf("cardio@chu.mssante.test", not_after=NOW + timedelta(days=40))[0]
    (space.root / "certs" / "smime").mkdir()
    (space.root / "certs" / "smime" / "cardio.pem").write_bytes(certificate_pem(certificate))
    (space.root / "certs" / "smime" / "bad.pem").write_bytes(b"x")
    space.change("[listen]", "[smime]\nenabled = true\n[listen]")
    found, _ = expiries(load_config(space.config), NOW)
    assert [one.name for one in found if one.what is What.SMIME] == ["cardio@chu.mssante.test"]


# ------------------------------------------------------------------ request

PARTS = ("--ou", "318751275100020", "--o", "CENTRE HOSPITALIER", "--st", "Paris (75)")


@pytest.mark.parametrize(("kind", "size"), [("rsa2048", 2048), ("rsa3072", 3072), ("p256", 256)])
def test_request_writes_a_key_and_its_request(space: Space, kind: str, size: int) -> None:
    out = space.root / "certs" / "next"
    outcome = space.run("cert", "request", "--out", str(out), "--key", kind, *PARTS, "--json")
    assert outcome.code == 0, outcome.out
    key = load_pem_private_key((space.root / "certs" / "next.key").read_bytes(), None)
    made = x509.load_pem_x509_csr((space.root / "certs" / "next.csr").read_bytes())
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) and key.key_size == size
    assert made.is_signature_valid and made.public_key() == key.public_key()
    assert mode(space.root / "certs" / "next.key") == 0o600
    assert [one.oid for one in made.subject] == [NameOID.COUNTRY_NAME, NameOID.STATE_OR_PROVINCE_NAME, NameOID.ORGANIZATION_NAME,
                                                 NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME]
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [HOST]
    assert outcome.json["dn"] == f"CN={HOST},OU=318751275100020,O=CENTRE HOSPITALIER,ST=Paris (75),C=FR"
    assert outcome.json["offer"] == "SERV SSL" and "PRIVATE KEY" not in outcome.out
    assert sorted(path.name for path in (space.root / "certs").iterdir()) == ["anchors.pem", "mta.key", "mta.pem", "next.csr", "next.key"]


def test_a_renewal_keeps_the_subject_octet_for_octet(space: Space, leaf: Any) -> None:
    outcome = space.run("cert", "request", "--renew", "--out", str(space.root / "new"), "--json")
    made = x509.load_pem_x509_csr((space.root / "new.csr").read_bytes())
    assert outcome.code == 0 and made.subject.public_bytes() == leaf[0].subject.public_bytes()
    assert outcome.json["names"] == [HOST]
    assert space.run("cert", "request", "--renew", "--cn", "x", "--out", str(space.root / "other")).code == 2


def test_nothing_is_overwritten(space: Space) -> None:
    before = (space.root / "certs" / "mta.key").read_bytes()
    outcome = space.run("cert", "request", "--renew", "--out", str(space.root / "certs" / "mta"), "--json")
    assert outcome.code == 1 and outcome.json["rule"] == "CSR-EXISTE"
    assert (space.root / "certs" / "mta.key").read_bytes() == before and not (space.root / "certs" / "mta.csr").exists()
    (space.root / "only.csr").write_text("mine")
    assert space.run("cert", "request", "--renew", "--out", str(space.root / "only")).code == 1
    assert not (space.root / "only.key").exists() and (space.root / "only.csr").read_text() == "mine"
    os.symlink("/absent", space.root / "link.key")
    assert space.run("cert", "request", "--renew", "--out", str(space.root / "link")).code == 1


@pytest.mark.parametrize(("words", "rule"), [
    (("--ou", "1", "--o", "A"), "CSR-SUJET"), ((*PARTS, "--cn", "pas un nom"), "CSR-SUJET"), ((*PARTS, "--offer", "autre"), "CSR-OFFRE"),
    ((*PARTS, "--key", "rsa1024"), "CSR-CLE"), ((*PARTS, "--offer", "serv-smime"), "CSR-SUJET"),
    (("--ou", "1" * 70, "--o", "A", "--st", "B"), "CSR-SUJET"), ((*PARTS, "--san", "é.fr"), "CSR-NOM")])
def test_requests_that_make_no_sense(space: Space, words: tuple[str, ...], rule: str) -> None:
    outcome = space.run("cert", "request", "--out", str(space.root / "x"), *words, "--json")
    assert outcome.code == 1 and outcome.json["rule"] == rule and not (space.root / "x.key").exists()


def test_other_offers(space: Space) -> None:
    outcome = space.run("cert", "request", "--out", str(space.root / "mail"), "--offer", "serv-smime", "--cn", "cardio@chu.mssante.test",
                        "--san", "cardio@chu.mssante.test", "--ou", "1750000001", "--o", "CHU", "--st", "Paris (75)", "--json")
    made = x509.load_pem_x509_csr((space.root / "mail.csr").read_bytes())
    assert outcome.code == 0 and len(outcome.json["remarks"]) == 1, "the check digit of 750000001 is wrong"
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["cardio@chu.mssante.test"]
    assert json.loads(outcome.out)["offer"] == "SERV S/MIME"
    assert space.run("cert", "request", "--out", "/absent/x", *PARTS, "--json").json["rule"] == "CSR-ECRITURE"


# ------------------------------------------------------------------ check

def findings(space: Space) -> list[dict[str, str]]:
    return [one for one in space.run("check", str(space.config), "--json", config=False).json["findings"]
            if one["number"] in ("CERT-30", "CERT-31", "CERT-32")]


def test_check_tells_profile_and_dates(space: Space, fresh_list: Path) -> None:
    space.run("whitelist", "adopt", str(fresh_list))
    assert [one["state"] for one in findings(space)] == ["ok", "ok", "ok"]
    certificate, key = IGC.leaf(HOST, ou="318751275100021", san=("autre.fr",))
    pem_files(space.root / "certs", "mta", certificate, key)
    signer = IGC.list_signer(not_after=NOW + timedelta(days=50))
    (space.root / "certs" / "anchors.pem").write_bytes(IGC.anchors_pem + certificate_pem(signer[0]))
    found = findings(space)
    assert {one["rule"]: one["state"] for one in found if one["number"] == "CERT-30"} == {"PROFIL-OU": "warn", "PROFIL-SAN": "warn"}
    (date,) = [one for one in found if one["number"] == "CERT-31"]
    assert date["state"] == "warn" and "ancre de confiance" in date["seen"] and date["remedy"]


def test_check_tells_a_rollover(space: Space) -> None:
    certificate, key = IGC.leaf("autre.mssante.test", not_after=NOW - timedelta(days=1))
    pair = pem_files(space.root / "certs" / "next", "mta", certificate, key)
    space.run("cert", "rollover", "declare", str(pair[0]), str(pair[1]), "--force")
    found = findings(space)
    assert [one["state"] for one in found if one["number"] == "CERT-32"] == ["warn"]
    assert {one["rule"] for one in found if one["state"] == "fail"} >= {"PROFIL-EXPIRE", "PROFIL-NOM"}
    (space.root / "certs" / "rollover.json").write_text("{")
    assert {one["rule"] for one in findings(space)} >= {"ROLL-FILE"}
