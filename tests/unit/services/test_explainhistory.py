"""The past as it is kept: which list was in force, since when something is so, what a CRL said at an instant."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.pki import build_igc, der, signed_whitelist

from mssante.errors import InputFault
from mssante.services.explainhistory import MAX_KEPT, CrlShelf, ListHistory, crls_at
from mssante.storage.interfaces import WhitelistVersion
from mssante.trust.anchors import certificate_id
from mssante.trust.crl import CrlSet, RevocationStatus, parse_any_crl

START = datetime(2026, 2, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DN = "CN=mta.a.test,OU=1,O=A,C=FR"


def day(rank: int) -> datetime:
    return START + timedelta(days=rank)


@pytest.fixture
def history(tmp_path: Path) -> ListHistory:
    """Ten lists, one a day, adopted six hours later; `late.test` joins with the fifth."""
    versions = []
    for rank in range(10):
        rows = [("always.test", DN), *([("late.test", DN)] if rank >= 5 else [])]
        raw = signed_whitelist(rows, day(rank))
        (tmp_path / f"{rank}.xml").write_bytes(raw)
        versions.insert(0, WhitelistVersion(hashlib.sha256(raw).hexdigest(), day(rank), day(rank) + timedelta(hours=6), len(rows),
                                            len(rows), f"{rank}.xml"))
    return ListHistory(tmp_path, versions, build_igc().signer_policy(), 1_000_000)


@pytest.mark.parametrize(("instant", "named", "expected", "exact"), [
    (day(4) + timedelta(hours=7), "", 4, False), (day(4) + timedelta(hours=5), "", 3, False),
    (day(4) + timedelta(hours=7), "2026-02-03T00:00:00Z", 2, True), (day(9), "2026-02-03", 2, False),
    (day(4) + timedelta(hours=7), "2026-02-09T00:00:00Z", 4, False), (day(4) + timedelta(hours=7), "n'importe quoi", 4, False),
])
def test_the_list_of_an_instant(history: ListHistory, instant: datetime, named: str, expected: int, exact: bool) -> None:
    used = history.at(instant, named)
    assert used is not None and (used.version.file, used.exact) == (f"{expected}.xml", exact)
    assert used.whitelist is not None and used.whitelist.sha256 == used.version.sha256


def test_before_the_first_one(history: ListHistory) -> None:
    assert history.at(START) is None


def test_since_when(history: ListHistory) -> None:
    found = history.turned(lambda one: one.knows_domain("late.test"), day(1))
    assert found is not None and found.generated_at == day(5)
    always = history.turned(lambda one: one.knows_domain("always.test"), day(1))
    assert always is not None and always.generated_at == day(1), "the first list after the instant already says so"
    assert history.turned(lambda one: True, NOW) is None, "no list since"


def test_few_lists_stay_in_memory(history: ListHistory) -> None:
    for rank in range(10):
        assert history.at(day(rank) + timedelta(hours=6)) is not None
    assert len(history._kept) == MAX_KEPT


@pytest.mark.parametrize("change", ["altered", "gone", "large", "unsigned"])
def test_a_file_that_is_not_the_one_adopted(tmp_path: Path, history: ListHistory, change: str) -> None:
    path = tmp_path / "7.xml"
    raw = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes({"altered": raw.replace(b"late", b"evil"), "large": raw + b" " * 1_000_001, "unsigned": b"<x/>"}[change])
    used = history.at(day(7) + timedelta(hours=6))
    assert used is not None and used.whitelist is None and "[LB-FICHIER]" in used.fault


def test_a_version_whose_hash_is_right_and_whose_signature_is_not(tmp_path: Path) -> None:
    raw = signed_whitelist([("a.test", DN)], START).replace(b"a.test", b"b.test")
    (tmp_path / "x.xml").write_bytes(raw)
    version = WhitelistVersion(hashlib.sha256(raw).hexdigest(), START, START, 1, 1, "x.xml")
    with pytest.raises(InputFault) as fault:
        ListHistory(tmp_path, [version], build_igc().signer_policy(), 1_000_000).read(version)
    assert fault.value.rule == "LB-DIGEST"


def test_a_path_never_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    version = WhitelistVersion(hashlib.sha256(b"x").hexdigest(), START, START, 1, 1, "../secret")
    with pytest.raises(InputFault) as fault:
        ListHistory(tmp_path / "in", [version], build_igc().signer_policy(), 1000).read(version)
    assert fault.value.rule == "LB-FICHIER"


def test_what_a_crl_says_of_a_serial() -> None:
    igc = build_igc()
    good, bad = igc.leaf("bon.test")[0], igc.leaf("mauvais.test")[0]
    raw = igc.crl([bad], number=7, this_update=day(3))
    shelf = CrlShelf([b"rien", igc.crl(issuer="foreign"), raw], igc.anchors, NOW)
    word = shelf.word(der(bad), NOW)
    assert word is not None and (word.number, word.revoked_on) == (7, day(3))
    clean = shelf.word(der(good), NOW)
    assert clean is not None and clean.revoked_on is None
    assert shelf.word(der(igc.leaf("autre.test", issuer="foreign")[0]), NOW) is None, "no authority of ours"
    assert shelf.word(b"rien", NOW) is None
    crls = CrlSet().admit(parse_any_crl(raw, igc.anchors, NOW))
    issuer = igc.organisations.certificate
    before = crls_at(crls, bad.serial_number, word, day(2))
    assert before.status(bad.serial_number, issuer, day(2)) is RevocationStatus.GOOD
    assert crls_at(crls, bad.serial_number, word, day(4)) is crls
    assert before.by_issuer[certificate_id(issuer)].number == 7
