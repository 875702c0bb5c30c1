"""Reading a verified list into look-ups; one bad row never costs the others."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.pki import WHITELIST_NAMESPACE, whitelist_xml

from mssante.errors import InputFault
from mssante.protocol.xml import parse_xml
from mssante.trust.names import DnMode, parse_dn
from mssante.trust.whitelist import Whitelist, parse_whitelist

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DN = "CN=mta.a.fr,OU=1750000000,O=A,ST=Paris (75),C=FR"
DN2 = "CN=mta.b.fr,OU=1750000001,O=B,ST=Paris (75),C=FR"
GOOD = [("a.mssante.fr", DN)]


def read(raw: bytes) -> Whitelist:
    return parse_whitelist(parse_xml(raw, max_bytes=1 << 26), "f" * 64)


def changed(old: str, new: str) -> bytes:
    """A list of two domains, the first row changed."""
    raw = whitelist_xml([("bad.mssante.fr", DN), *GOOD], AT)
    assert old.encode() in raw
    return raw.replace(old.encode(), new.encode(), 1)


def test_lookups() -> None:
    found = read(whitelist_xml([("a.mssante.fr", DN), ("A.MSSANTE.FR", DN2), ("a.mssante.fr", DN), ("b.mssante.fr", DN2)], AT))
    assert (found.generated_at, found.sha256, found.entry_count, found.domain_count) == (AT, "f" * 64, 4, 2)
    assert found.dns_for("a.mssante.fr") == (parse_dn(DN), parse_dn(DN2)) and found.dns_for("x.mssante.fr") == ()
    assert found.name_counts == {"raw": 2, "strict": 2, "cn_ou": 2, "cn": 2}
    renamed = parse_dn("CN=MTA.A.fr,OU=1750000000,O=Renamed,C=FR")
    assert found.knows_name(renamed, DnMode.CN_OU) and not found.knows_name(renamed, DnMode.STRICT)
    assert found.binds("a.mssante.fr", renamed, DnMode.CN_OU) and not found.binds("b.mssante.fr", renamed, DnMode.CN_OU)
    assert not found.binds("x.mssante.fr", renamed, DnMode.CN_OU)
    assert found.domains_of(parse_dn(DN2), DnMode.CN) == {"a.mssante.fr", "b.mssante.fr"}
    assert found.domains() == {"a.mssante.fr", "b.mssante.fr"}
    row = found.entries[0]
    assert row.updated_at == datetime(2023, 3, 1, 15, 21, 59, tzinfo=UTC) and row.description == "Domaine de test"


def test_match_is_exact() -> None:
    found = read(whitelist_xml([("a.mssante.fr", DN)], AT))
    for other in ("x.a.mssante.fr", "mssante.fr", "a.mssante.fr.", "A.mssante.fr", "", "*.mssante.fr"):
        assert not found.knows_domain(other) and not found.binds(other, parse_dn(DN), DnMode.CN)


def test_a_name_without_cn_is_known_to_nobody() -> None:
    found = read(whitelist_xml(GOOD, AT))
    for mode in DnMode:
        assert not found.knows_name(parse_dn("OU=1750000000,C=FR"), mode)
        assert found.domains_of(parse_dn("OU=1750000000,C=FR"), mode) == frozenset()


def test_immutable() -> None:
    found = read(whitelist_xml(GOOD, AT))
    with pytest.raises(FrozenInstanceError):
        found.sha256 = ""  # type: ignore[misc]
    with pytest.raises(TypeError):
        found._names["x"] = ()  # type: ignore[index]


@pytest.mark.parametrize(("old", "new", "rule"), [
    ("bad.mssante.fr", "sessad@ase.mssante.fr", "ADR-DOMAIN"),
    ("bad.mssante.fr", "*.mssante.fr", "ADR-DOMAIN"),
    ("bad.mssante.fr", "b" * 256 + ".fr", "LB-ENTREE-TEXTE"),
    ("bad.mssante.fr", "bad<!-- x -->.mssante.fr", "LB-ENTREE-FORME"),
    ("bad.mssante.fr", "bad<?x y?>.mssante.fr", "LB-ENTREE-FORME"),
    ("bad.mssante.fr", "bad<b/>.mssante.fr", "LB-ENTREE-FORME"),
    ("<Nom>bad.mssante.fr</Nom>", "", "LB-ENTREE-FORME"),
    ("<Nom>bad.mssante.fr</Nom>", "<Nom/>", "LB-ENTREE-FORME"),
    ("<Nom>bad.mssante.fr</Nom>", "<Nom>bad.mssante.fr</Nom><Nom>other.mssante.fr</Nom>", "LB-ENTREE-FORME"),
    ("<Nom>bad.mssante.fr</Nom>", '<Nom xmlns="">bad.mssante.fr</Nom>', "LB-ENTREE-FORME"),
    ("<Nom>bad", "<!-- x --><Nom>bad", "LB-ENTREE-FORME"),
    (DN, "mta.a.fr", "DN-SYNTAXE"),
    (DN, "OU=1750000000,C=FR", "LB-ENTREE-DN"),
    (DN, "CN=mta.a.fr<!-- -->.evil.fr,OU=1,C=FR", "LB-ENTREE-FORME"),
    ("Domaine de test", "d" * 256, "LB-ENTREE-TEXTE"),
    ("Domaine de test", "d<b/>d", "LB-ENTREE-FORME"),
])
def test_a_bad_row_is_skipped_and_told(old: str, new: str, rule: str) -> None:
    found = read(changed(old, new))
    assert [(one.rank, one.rule) for one in found.skipped] == [(1, rule)] and found.skipped[0].reason
    assert found.domains() == {"a.mssante.fr"}


@pytest.mark.parametrize(("old", "new", "domain"), [
    ("bad.mssante.fr", "bücher.mssante.fr", "xn--bcher-kva.mssante.fr"),
    ("bad.mssante.fr", " UC-CMP.mssante.fr\n", "uc-cmp.mssante.fr"),
    ("bad.mssante.fr", "interop-mssante.apicrypt.org", "interop-mssante.apicrypt.org"),
    ("2023-03-01T15:21:59Z", "hier", "bad.mssante.fr"),
    ("<Nom>", "<Nouveau>x</Nouveau><Nom>", "bad.mssante.fr"),
    ("Domaine de test", "", "bad.mssante.fr"),
])
def test_odd_rows_are_kept(old: str, new: str, domain: str) -> None:
    found = read(changed(old, new))
    assert found.skipped == () and found.domains() == {domain, "a.mssante.fr"}


@pytest.mark.parametrize(("old", "new", "rule"), [
    (f'xmlns="{WHITELIST_NAMESPACE}"', 'xmlns="https://autre/schema"', "LB-FORME"),
    ("<DateDeGeneration>2026-03-01T12:00:00Z</DateDeGeneration>", "", "LB-FORME"),
    ("<ListeDomaines>", "<ListeDomaines/><ListeDomaines>", "LB-FORME"),
    ("2026-03-01T12:00:00Z", "2026-03-01", "LB-DATE"),
    ("2026-03-01T12:00:00Z", "2026-03-01T12<!-- -->:00:00Z", "LB-ENTREE-FORME"),
])
def test_a_bad_list_is_refused(old: str, new: str, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        read(changed(old, new))
    assert caught.value.rule == rule


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InputFault) as caught:
        read(whitelist_xml([("*.fr", DN)], AT))
    assert caught.value.rule == "LB-VIDE"


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.trust.whitelist.MAX_ENTRIES", 3)
    assert read(whitelist_xml(GOOD * 3, AT)).entry_count == 3
    with pytest.raises(InputFault) as caught:
        read(whitelist_xml(GOOD * 4, AT))
    assert caught.value.rule == "LB-TAILLE"


def test_the_real_list(shared_dir: Path) -> None:
    raw = (shared_dir / "data/whitelist/listeblanche-2025-03-13.xml").read_bytes()
    start = time.process_time()
    found = read(raw)
    assert time.process_time() - start < 5, "a runaway, not a measure"
    assert found.entry_count + len(found.skipped) == 6554 and found.domain_count == 5001
    # row 6,055 names a mailbox where a domain belongs: the 5,002nd name
    assert [(one.rank, one.rule) for one in found.skipped] == [(6055, "ADR-DOMAIN")]
    assert found.name_counts == {"raw": 392, "strict": 380, "cn_ou": 377, "cn": 375}
    assert {name.value("CN") for name in found.dns_for("patient.mssante.fr")} == {
        "smtps1.ens.atos-infogerance.fr", "smtps2.ens.atos-infogerance.fr"}
    assert found.knows_domain("uc-cmp.mssante.fr")
