"""Replays of decisions: goldens of each kind of event, what changed since, what is not kept, no identity in any of them.

The goldens are `tests/goldens/explain.json`; `MSSANTE_GOLDENS=write pytest …` writes them anew, to be read before they are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.pki import build_igc, der, dn_text, signed_whitelist

from mssante.cli.explain import _decision_document
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.services.explain import Explained, Replay, ReplayContext
from mssante.services.explainhistory import CrlShelf, ListHistory
from mssante.services.privacy import Pseudonyms
from mssante.services.truststate import TrustSnapshot
from mssante.storage.interfaces import JournalRow, WhitelistVersion
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy
from mssante.trust.rules import Who
from mssante.trust.signature import verify_list_signature
from mssante.trust.whitelist import parse_whitelist

GOLDENS = Path(__file__).resolve().parents[2] / "goldens" / "explain.json"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
THEN = datetime(2026, 2, 27, 12, tzinfo=UTC)
HOSPITAL, CLINIC, NEW = "hopital.mssante.fr", "clinique.mssante.fr", "nouveau.mssante.fr"
OURS = "chez-nous.mssante.fr"
INS = "185019930200112"
CITIZENS = Pseudonyms(b"k" * 32, "patient.mssante.fr")
CITIZEN = CITIZENS.public_address(f"{INS}@patient.mssante.fr")


def leaf(name: str, **how: Any) -> Any:
    return build_igc().leaf(f"mta.{name}", **how)[0]


@pytest.fixture(scope="module")
def leaves() -> dict[str, Any]:
    return {
        "hospital": leaf(HOSPITAL), "clinic": leaf(CLINIC), "new": leaf(NEW),
        "expired": leaf("expire.mssante.fr", not_after=datetime(2026, 1, 1, tzinfo=UTC)),
        "sister": leaf("soeur.mssante.fr", issuer="personnes"), "revoked": leaf("revoque.mssante.fr"),
        "usage": leaf("usage.mssante.fr", usage=("key_encipherment",)), "stranger": leaf("inconnu.mssante.fr"),
        "ours": leaf(OURS)}


@pytest.fixture
def context(tmp_path: Path, leaves: dict[str, Any]) -> ReplayContext:
    """Two lists: the first knows the hospital and the clinic; the second, in force, has lost the clinic and taken the new one."""
    igc = build_igc()
    shared = [(OURS, leaves["ours"]), (HOSPITAL, leaves["hospital"]), ("expire.mssante.fr", leaves["expired"]),
              ("revoque.mssante.fr", leaves["revoked"])]
    versions, last = [], b""
    for day, rows in ((26, [*shared, (CLINIC, leaves["clinic"])]), (28, [*shared, (NEW, leaves["new"])])):
        at = datetime(2026, 2, day, tzinfo=UTC)
        last = signed_whitelist(rows, at)
        signed = verify_list_signature(last, igc.signer_policy(), NOW)
        digest = hashlib.sha256(last).hexdigest()
        (tmp_path / f"{day}.xml").write_bytes(last)
        versions.insert(0, WhitelistVersion(digest, at, at + timedelta(hours=1), len(rows), len(rows), f"{day}.xml"))
        whitelist = parse_whitelist(signed.root, digest)
    crl = igc.crl([leaves["revoked"]], this_update=datetime(2026, 2, 28, 12, tzinfo=UTC))
    crls = CrlSet().admit(parse_any_crl(crl, igc.anchors, NOW))
    snapshot = TrustSnapshot(igc.anchors, crls, PeerPolicy(), DnMode.CN_OU, timedelta(days=10), whitelist)
    history = ListHistory(tmp_path, versions, igc.signer_policy(), 1_000_000)
    ders = {}
    for one in leaves.values():
        raw = der(one)
        ders[hashlib.sha256(raw).hexdigest()] = raw

    class Clock:
        def now(self) -> datetime:
            return NOW

        def monotonic(self) -> float:
            return 0.0

    boxes = {f"claire@{OURS}": Mailbox(1, f"claire@{OURS}", MailboxType.PER, MailboxState.ACTIVE, 1),
             f"fermee@{OURS}": Mailbox(2, f"fermee@{OURS}", MailboxType.PER, MailboxState.CLOSED, 2)}
    return ReplayContext(snapshot, history, CrlShelf([crl], igc.anchors, NOW), Clock(), frozenset({OURS}), ders.get, boxes.get)


def row(kind: str, subject: str = "192.0.2.1:4000", at: datetime = THEN, trace: str = "", **payload: Any) -> JournalRow:
    return JournalRow(1, at, kind, trace, subject, {"peer": "192.0.2.1:4000", **payload}, "")


def shown(certificate: Any) -> dict[str, str]:
    """What the journal holds of a certificate."""
    return {"certificate": hashlib.sha256(der(certificate)).hexdigest(), "dn": dn_text(certificate)}


LIST_1, LIST_2 = "2026-02-26T00:00:00Z", "2026-02-28T00:00:00Z"
LATER = datetime(2026, 2, 28, 18, tzinfo=UTC)


def cases(leaves: dict[str, Any]) -> dict[str, JournalRow]:
    said = {name: shown(one) for name, one in leaves.items()}
    return {
        "session refused: no certificate": row("session_refused", rule="PEER-ABSENT", code=554, dn="", list_at=LIST_1),
        "session refused: sister authority": row("session_refused", rule="PEER-ISSUER", code=554, list_at=LIST_1, **said["sister"]),
        "session refused: expired": row("session_refused", rule="PEER-EXPIRED", code=554, list_at=LIST_1, **said["expired"]),
        "session refused: usage": row("session_refused", rule="PEER-USAGE", code=554, list_at=LIST_1, **said["usage"]),
        "session refused: revoked": row("session_refused", at=LATER, rule="PEER-REVOKED", code=554, list_at=LIST_2, **said["revoked"]),
        "session refused: not listed": row("session_refused", rule="LB-CERTIFICAT", code=554, list_at=LIST_1, **said["stranger"]),
        "session refused: listed since": row("session_refused", rule="LB-CERTIFICAT", code=554, list_at=LIST_1, **said["new"]),
        "session refused: our CRL was stale": row("session_refused", rule="PEER-CRL-STALE", code=454, list_at=LIST_1,
                                                  **said["hospital"]),
        "session refused: handshake": row("session_refused", rule="TLS-POIGNEE", reason="TLSV1_ALERT_UNKNOWN_CA"),
        "session refused: no list": row("session_refused", rule="LB-INDISPONIBLE", code=451, list_at="",
                                        at=datetime(2026, 2, 20, tzinfo=UTC), **said["hospital"]),
        "sender refused: domain unknown then": row("sender_refused", rule="LB-DOMAINE", code=550, detail=NEW, list_at=LIST_1,
                                                   **said["hospital"]),
        "sender refused: other certificate": row("sender_refused", rule="LB-LIAISON", code=550, list_at=LIST_1,
                                                 detail=f"{CLINIC} <- {dn_text(leaves['hospital'])}", **said["hospital"]),
        "recipient refused: unknown mailbox": row("recipient_refused", f"doc@{HOSPITAL}", rule="BOITE-INCONNUE", code=550,
                                                  detail=f"personne@{OURS}", list_at=LIST_1, trace="T1", **said["hospital"]),
        "recipient refused: open since": row("recipient_refused", f"doc@{HOSPITAL}", rule="BOITE-INCONNUE", code=550,
                                             detail=f"claire@{OURS}", list_at=LIST_1, trace="T1", **said["hospital"]),
        "recipient refused: relay": row("recipient_refused", f"doc@{HOSPITAL}", rule="RELAIS-INTERDIT", code=550,
                                        detail=f"x@{CLINIC}", list_at=LIST_1, trace="T1", **said["hospital"]),
        "content refused: author's domain": row("data_refused", f"doc@{HOSPITAL}", rule="FROM-DOMAINE", code=554, detail=CLINIC,
                                                list_at=LIST_1, trace="T1", **said["hospital"]),
        "received": row("received", f"doc@{HOSPITAL}", **{"from": f"doc@{HOSPITAL}", "to": f"claire@{OURS}"}, size=1234,
                        list="2026-02-26", list_at=LIST_1, trace="T2", **said["hospital"]),
        "received: refused today": row("received", f"doc@{CLINIC}", **{"from": f"doc@{CLINIC}", "to": f"claire@{OURS}"}, size=1,
                                       list="2026-02-26", list_at=LIST_1, trace="T2", **said["clinic"]),
        "received: revoked since": row("received", "doc@revoque.mssante.fr", **{"from": "doc@revoque.mssante.fr",
                                                                              "to": f"claire@{OURS}"}, size=1, list="2026-02-26",
                                       list_at=LIST_1, trace="T2", **said["revoked"]),
        "received by an older program": row("received", f"doc@{HOSPITAL}", **{"from": f"doc@{HOSPITAL}", "to": f"claire@{OURS}"},
                                            size=1234, list="2026-02-26", trace="T2", dn=dn_text(leaves["hospital"])),
        "submitted": row("submitted", f"claire@{OURS}", **{"from": f"claire@{OURS}", "to": f"a@{HOSPITAL} {CITIZEN}"}, size=99,
                         login="claire", list_at=LIST_1, trace="T3"),
        "submission refused: outside": row("recipient_refused", f"claire@{OURS}", rule="HORS-ESPACE", code=550, dn="", detail=NEW,
                                           list_at=LIST_1, trace="T3"),
        "relayed": row("relayed", CITIZEN, to=CITIZEN, reply="250 2.0.0 OK", attempts=1, remote="mta[192.0.2.9]:25",
                       tls="TLSv1.3 TLS_AES_256_GCM_SHA384", rule="", trace="T3", **{"certificate": "00" * 32}),
        "deferred: their certificate": row("deferred", f"a@{HOSPITAL}", to=f"a@{HOSPITAL}", attempts=2, remote="", tls="", trace="T3",
                                           reply="Le serveur presente … [LB-SERVEUR]", rule="LB-SERVEUR",
                                           **{"certificate": said["clinic"]["certificate"]}),
        "deferred: no connection": row("deferred", f"a@{HOSPITAL}", to=f"a@{HOSPITAL}", attempts=2, reply="no connection",
                                       rule="SMTP-CONNECT", trace="T3"),
        "bounced: the other operator's word": row("bounced", f"a@{HOSPITAL}", to=f"a@{HOSPITAL}", attempts=1, rule="", trace="T3",
                                                  reply="550 5.7.1 Le certificat … n'est pas celui … [LB-LIAISON]", remote="mta:25"),
        "bounced: unknown words": row("bounced", f"a@{HOSPITAL}", to=f"a@{HOSPITAL}", attempts=1, rule="", trace="T3",
                                      reply="550 mailbox unavailable", remote="mta:25"),
        "bounced: the domain left": row("bounced", f"a@{CLINIC}", to=f"a@{CLINIC}", attempts=1, rule="HORS-ESPACE", trace="T3",
                                        reply="550 … [HORS-ESPACE]", at=LATER),
        "list refused": row("whitelist_refused", "whitelist", rule="LB-SIGNATURE-VALUE", text="altered"),
        "login": row("login", "claire", protocol="imap"),
    }


def plain(value: Any) -> Any:
    """Hide what differs at every run: keys are made anew."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(re.sub(r"\b[0-9a-f]{12,}\b", "hex", text))


def decided(context: ReplayContext, event: JournalRow) -> Explained:
    return Replay(context).decide(event)


def test_goldens(context: ReplayContext, leaves: dict[str, Any]) -> None:
    found = {name: plain(_decision_document(decided(context, event))) for name, event in cases(leaves).items()}
    if os.environ.get("MSSANTE_GOLDENS") == "write":
        GOLDENS.write_text(json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    kept = json.loads(GOLDENS.read_text(encoding="utf-8"))
    assert set(found) == set(kept)
    for name, document in found.items():
        assert document == kept[name], name


def test_no_identity_of_a_patient_in_any_explanation(context: ReplayContext, leaves: dict[str, Any]) -> None:
    found = repr([_decision_document(decided(context, event)) for event in cases(leaves).values()])
    assert INS not in found and CITIZEN in found


def test_the_replay_confirms_what_the_same_state_gives(context: ReplayContext, leaves: dict[str, Any]) -> None:
    events = cases(leaves)
    sure = {name: decided(context, events[name]).confirmed for name in events}
    assert {name for name, one in sure.items() if one is False} == {"session refused: our CRL was stale"}
    for name in ("session refused: sister authority", "session refused: expired", "session refused: usage", "session refused: revoked",
                 "session refused: not listed", "session refused: listed since", "sender refused: domain unknown then",
                 "sender refused: other certificate", "received", "received: refused today"):
        assert sure[name] is True, name


def test_a_certificate_revoked_later_was_good_then(context: ReplayContext, leaves: dict[str, Any]) -> None:
    found = decided(context, cases(leaves)["received: revoked since"])
    assert found.confirmed
    revocation = next(step for step in found.steps if step.stage.value == "revocation")
    assert revocation.state.value == "ok" and "révoqué le 2026-02-28" in revocation.ours
    assert found.today is not None and found.today.rule == "PEER-REVOKED"


@pytest.mark.parametrize(("name", "words", "day"), [
    ("session refused: listed since", "aujourd'hui : accepté, ce certificat est entré dans la liste le", 28),
    ("sender refused: domain unknown then", "aujourd'hui : refusé [LB-LIAISON], le domaine est entré dans la liste le", 28),
    ("submission refused: outside", "aujourd'hui : accepté, le domaine est entré dans la liste le", 28),
    ("received: refused today", "aujourd'hui : refusé [LB-CERTIFICAT], le domaine a quitté la liste le", 28),
])
def test_what_changed_since(context: ReplayContext, leaves: dict[str, Any], name: str, words: str, day: int) -> None:
    today = decided(context, cases(leaves)[name]).today
    assert today is not None and today.changed and today.text.startswith(words), today
    assert today.since == datetime(2026, 2, day, tzinfo=UTC)


def test_who_must_fix_it_turns_with_who_says_it(context: ReplayContext, leaves: dict[str, Any]) -> None:
    events = cases(leaves)
    assert decided(context, events["sender refused: other certificate"]).who is Who.PEER
    theirs = decided(context, events["bounced: the other operator's word"])
    assert (theirs.rule, theirs.remote, theirs.who) == ("LB-LIAISON", True, Who.US), "what refuses us at theirs is ours to mend"
    assert decided(context, events["bounced: unknown words"]).who is Who.PEER
    assert decided(context, events["received"]).who is None


def test_without_the_certificate_the_subject_is_replayed(context: ReplayContext, leaves: dict[str, Any]) -> None:
    poor = replace(context, certificates=lambda fingerprint: None)
    listed = decided(poor, cases(leaves)["sender refused: other certificate"])
    assert listed.confirmed and "à partir de son sujet" in listed.note
    hidden = decided(poor, cases(leaves)["session refused: usage"])
    assert hidden.confirmed is None and hidden.today is None and "mssante explain FICHIER" in hidden.note


def test_an_altered_list_of_the_past_is_not_believed(context: ReplayContext, leaves: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "26.xml"
    path.write_bytes(path.read_bytes().replace(CLINIC.encode(), b"pirates.mssante.fr"))
    found = decided(context, cases(leaves)["received: refused today"])
    assert found.used is not None and found.used.whitelist is None and "[LB-FICHIER]" in found.used.fault
    assert found.confirmed is None
    path.unlink()
    gone = decided(context, cases(leaves)["received"]).used
    assert gone is not None and "[LB-FICHIER]" in gone.fault


def test_no_list_at_all(context: ReplayContext, leaves: dict[str, Any], tmp_path: Path) -> None:
    bare = replace(context, history=ListHistory(tmp_path, [], build_igc().signer_policy(), 1000),
                   snapshot=replace(context.snapshot, whitelist=None))
    for event in cases(leaves).values():
        found = decided(bare, event)
        assert found.used is None and (found.today is None or found.today.rule)


def test_the_hand_of_a_hostile_peer_is_shown_harmless(context: ReplayContext) -> None:
    event = row("session_refused", rule="PEER-ISSUER", dn="CN=x\x1b[31m\r\nok", issuer="\x1b]0;titre\x07", certificate="zz", serial="1")
    found = repr(_decision_document(decided(context, event)))
    assert "\\x1b" not in found and "\\r" not in found
