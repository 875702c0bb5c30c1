"""`explain`: a rule, a certificate, a domain, an address, a trace, an event; for a reader and as JSON; never an identity."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.clispace import DOMAIN, HOST, Space
from support.pki import build_igc, der, dn_text, pem_files

from mssante.app import open_storage
from mssante.config.load import load_config
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.privacy import Pseudonyms, load_key
from mssante.storage.peercerts import INBOUND, PeerCertificate

INS = "185019930200112"
CITIZEN = f"{INS}@patient.mssante.fr"
TRACE = "01M83GFY4Y2TKCQYQTJBE0B9WX"
OTHER = "autre.mssante.test"


@pytest.fixture
def adopted(space: Space, leaf: Any) -> Space:
    """The operator with a list in force: ours, another operator, the citizen domain."""
    other = build_igc().leaf(f"mta.{OTHER}", ou="310000000000001")[0]
    now = datetime.now(UTC).replace(microsecond=0)
    path = space.write_list("list.xml", [(DOMAIN, leaf[0]), (OTHER, other), ("patient.mssante.fr", other)], now - timedelta(hours=1))
    assert space.run("whitelist", "adopt", str(path)).code == 0
    return space


def journal(space: Space, *events: Callable[[Pseudonyms], JournalEvent]) -> None:
    """Write events as the server does."""
    async def work() -> None:
        config = load_config(space.config)
        stores = open_storage(config)
        names = Pseudonyms(load_key(config.path(config.operator.storage.blobs).parent / "pseudonym.key"), "patient.mssante.fr")
        try:
            rows = [event(names) for event in events]
            await stores.database.write(lambda tx: stores.journal.append(tx, rows))
        finally:
            stores.close()

    asyncio.run(work())


def certificate(space: Space, name: str = f"mta.{OTHER}", **how: Any) -> Path:
    made, key = build_igc().leaf(name, **how)
    return pem_files(space.root / "peer", "peer", made, key)[0]


def test_a_rule(space: Space) -> None:
    outcome = space.run("explain", "--rule", "lb-liaison", config=False)
    assert outcome.code == 0 and "l'autre opérateur" in outcome.out and "LB-LIAISON (liaison domaine-certificat)" in outcome.out
    found = space.run("explain", "--rule", "DNS-SERVFAIL", "--json", config=False).json
    assert (found["rule"], found["asked"], found["who"]) == ("DNS-*", "DNS-SERVFAIL", "us")
    assert found["meaning"]["en"] and found["remedy"]["fr"]
    found = space.run("explain", "--rule", "p-24", "--json", config=False).json
    assert (found["rule"], found["who"]) == ("P-24", "peer") and "client certificate" in found["meaning"]["en"]
    outcome = space.run("explain", "--rule", "RIEN", "--json", config=False)
    assert outcome.code == 1 and outcome.json["rule"] == "REGLE-INCONNUE"


def test_usage(space: Space) -> None:
    assert space.run("explain").code == 2
    assert space.run("explain", "x.test", "--rule", "LB-AGE").code == 2
    assert space.run("explain", "x.test", "--for", "y.test").code == 2


def test_a_certificate_that_the_list_knows(adopted: Space) -> None:
    path = certificate(adopted, ou="310000000000001")
    outcome = adopted.run("explain", str(path), "--for", OTHER, "--json")
    found = outcome.json
    assert outcome.code == 0 and (found["kind"], found["verdict"], found["rule"]) == ("certificate", "accepted", "")
    assert found["facts"][0]["value"].startswith("SERV SSL"), "its IGC-Santé profile first"
    assert {step["stage"]: step["state"] for step in found["steps"]} == dict.fromkeys(("certificate", "issuer", "dates", "usages", "key", "revocation", "list", "session", "binding"), "ok")
    domains = {one["name"]: one["value"] for one in found["facts"]}
    assert domains["domains_cn_ou"] == domains["domains_strict"] == f"{OTHER}, patient.mssante.fr"
    shown = adopted.run("explain", str(path), "--for", OTHER)
    assert shown.code == 0 and "aujourd'hui accepté" in shown.out


def test_a_certificate_that_differs_by_its_legal_entity(adopted: Space) -> None:
    path = certificate(adopted, ou="310000000000002")
    found = adopted.run("explain", str(path), "--for", OTHER, "--json").json
    assert (found["verdict"], found["rule"], found["who"]) == ("refused", "LB-CERTIFICAT", "peer")
    facts = {one["name"]: one["value"] for one in found["facts"]}
    assert facts["domains_cn_ou"] == "aucun" and OTHER in facts["domains_cn"], "each mode says its own"
    near = next(one["value"] for one in found["facts"] if one["name"] == "near")
    assert near.startswith(f"ressemble à CN=mta.{OTHER},OU=310000000000001") and near.endswith(": diffère par OU"), "the nearest first"
    text = adopted.run("explain", str(path)).out
    assert "qui corrige : l'autre opérateur" in text and "diffère par OU" in text


def test_certificates_that_no_peer_may_show(adopted: Space) -> None:
    for rule, how in (("PEER-EXPIRED", {"not_after": datetime(2024, 1, 1, tzinfo=UTC)}), ("PEER-ISSUER", {"issuer": "foreign"}),
                      ("PEER-USAGE", {"usage": ("key_encipherment",)}), ("PEER-KEY", {"key_bits": 1024})):
        found = adopted.run("explain", str(certificate(adopted, **how)), "--json").json
        assert found["rule"] == rule and next(one for one in found["steps"] if one["state"] == "fail")["rule"] == rule
        assert found["rules"][0]["rule"] == rule


def test_a_der_file_and_files_that_are_none(adopted: Space) -> None:
    path = adopted.root / "peer.cer"
    path.write_bytes(der(build_igc().leaf(f"mta.{OTHER}", ou="310000000000001")[0]))
    assert adopted.run("explain", str(path), "--json").json["verdict"] == "accepted"
    for content in (b"", b"rien du tout", b"\x30\x80" * 50, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        path.write_bytes(content)
        outcome = adopted.run("explain", str(path), "--json")
        assert outcome.code == 1 and outcome.json["rule"] in ("ANCRE-LECTURE", "PEER-PARSE"), content
    path.write_bytes(b"x" * 300_000)
    assert adopted.run("explain", str(path), "--json").json["rule"] == "PEER-PARSE"


def test_nothing_is_created_where_nothing_is(space: Space) -> None:
    before = sorted(str(one) for one in space.root.rglob("*"))
    path = certificate(space)
    outcome = space.run("explain", str(path), "--json")
    assert outcome.code == 0 and (outcome.json["verdict"], outcome.json["rule"]) == ("refused", "LB-INDISPONIBLE")
    assert space.run("explain", DOMAIN, "--json").json["verdict"] == "refused"
    assert space.run("explain", TRACE, "--json").json["rule"] == "TRACE-INCONNUE"
    made = {str(one) for one in space.root.rglob("*")} - set(before)
    assert {Path(one).parent.name for one in made} <= {"peer", space.root.name}


def test_a_domain(adopted: Space) -> None:
    found = adopted.run("explain", OTHER, "--json").json
    assert (found["kind"], found["verdict"]) == ("domain", "accepted")
    assert any(one["name"] == "row" and one["state"] == "ok" for one in found["facts"])
    found = adopted.run("explain", "autr.mssante.test", "--json").json
    assert (found["verdict"], found["rule"], found["who"]) == ("refused", "HORS-ESPACE", "sender")
    assert any("ressemble à autre.mssante.test" in one["value"] for one in found["facts"])
    found = adopted.run("explain", DOMAIN, "--json").json
    assert found["facts"][0]["value"] == "hébergé ici, lié à notre certificat" or "lié" in found["facts"][0]["value"]
    assert adopted.run("explain", "pas un domaine", "--json").json["rule"].startswith("ADR-")


def test_an_address_of_ours(adopted: Space) -> None:
    adopted.run("mailbox", "add", f"claire@{DOMAIN}", "--type", "PER")
    found = adopted.run("explain", f"Claire@{DOMAIN}", "--json").json
    assert (found["kind"], found["verdict"], found["subject"]) == ("address", "accepted", f"claire@{DOMAIN}")
    adopted.run("mailbox", "state", f"claire@{DOMAIN}", "suspended")
    found = adopted.run("explain", f"claire@{DOMAIN}", "--json").json
    assert found["rule"] == "BOITE-SUSPENDUE" and found["who"] == "us"
    found = adopted.run("explain", f"personne@{DOMAIN}", "--json").json
    assert (found["verdict"], found["rule"]) == ("refused", "BOITE-INCONNUE")
    assert "inconnue ici" in adopted.run("explain", f"personne@{DOMAIN}").out


def test_a_citizen_never_stands_in_clear(adopted: Space) -> None:
    journal(adopted, lambda names: JournalEvent(
        JournalKind.RELAYED, datetime.now(UTC), TRACE, names.public_address(CITIZEN),
        {"to": names.public_address(CITIZEN), "reply": "250 OK", "remote": "mta:25", "rule": "", "attempts": 1}))
    for words in (("explain", CITIZEN), ("explain", CITIZEN, "--json"), ("explain", TRACE), ("explain", CITIZEN.upper())):
        outcome = adopted.run(*words)
        assert outcome.code == 0 and INS not in outcome.out + outcome.err and "ins-" in outcome.out, outcome.err
    assert adopted.run("explain", CITIZEN, "--json").json["decisions"][0]["kind"] == "relayed", "found by its pseudonym"


def test_a_trace_and_its_events(adopted: Space, leaf: Any) -> None:
    dn = dn_text(leaf[0])
    journal(adopted, lambda names: JournalEvent(
        JournalKind.RECIPIENT_REFUSED, datetime.now(UTC), TRACE, f"doc@{DOMAIN}",
        {"rule": "BOITE-INCONNUE", "code": 550, "dn": dn, "detail": f"personne@{DOMAIN}", "certificate": "00" * 32}),
        lambda names: JournalEvent(JournalKind.SENDER_REFUSED, datetime.now(UTC), "", "192.0.2.1:25", {
            "rule": "LB-LIAISON", "code": 550, "dn": dn, "detail": f"{OTHER} <- {dn}", "certificate": "00" * 32}))
    found = adopted.run("explain", TRACE.lower(), "--json").json
    (decision,) = found["decisions"]
    assert (decision["verdict"], decision["rule"], decision["who"]) == ("refused", "BOITE-INCONNUE", "sender")
    assert decision["list"]["sha256"] and decision["steps"][-1]["stage"] == "recipient"
    number = decision["sequence"] + 1
    event = adopted.run("explain", f"#{number}", "--json").json["decisions"][0]
    assert (event["rule"], event["confirmed"], event["today"]["changed"]) == ("LB-LIAISON", True, False)
    assert any(OTHER in step["peer"] and "diffère par CN, OU" in step["ours"] for step in event["steps"])
    text = adopted.run("explain", f"#{number}").out
    for words in ("refusé [LB-LIAISON]", "qui corrige : l'autre opérateur", "rejeu : même règle", "aujourd'hui : même décision"):
        assert words in text, text
    english = adopted.run("--lang", "en", "explain", f"#{number}").out
    assert "who must fix it: the other operator" in english and "seen:" in english and "qui corrige" not in english


def test_a_certificate_met_before_is_replayed_whole(adopted: Space) -> None:
    path = certificate(adopted, ou="310000000000001")
    raw = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
    name, now = hashlib.sha256(raw).hexdigest(), datetime.now(UTC)

    async def meet() -> None:
        stores = open_storage(load_config(adopted.config))
        try:
            seen = PeerCertificate(OTHER, name, INBOUND, raw, now, now, now, 1)
            await stores.database.write(lambda tx: stores.peer_certificates.record(tx, [seen]))
        finally:
            stores.close()

    asyncio.run(meet())
    journal(adopted, lambda names: JournalEvent(JournalKind.RECEIVED, now, TRACE, f"doc@{OTHER}", {
        "from": f"doc@{OTHER}", "to": f"claire@{DOMAIN}", "size": 10, "dn": f"CN=mta.{OTHER}", "certificate": name}))
    (decision,) = adopted.run("explain", TRACE, "--json").json["decisions"]
    steps = {step["stage"]: step for step in decision["steps"]}
    assert decision["confirmed"] and steps["issuer"]["state"] == "ok" and "ORGANISATIONS" in steps["issuer"]["peer"]
    assert steps["revocation"]["ours"].startswith("CRL n° 1")


def test_what_is_not_there(adopted: Space) -> None:
    assert adopted.run("explain", TRACE, "--json").json["rule"] == "TRACE-INCONNUE"
    assert adopted.run("explain", "#99999", "--json").json["rule"] == "JOURNAL-NUMERO"


def test_the_helper_names_ours(adopted: Space) -> None:
    assert HOST in adopted.run("explain", str(adopted.root / "certs" / "mta.pem"), "--for", DOMAIN).out
