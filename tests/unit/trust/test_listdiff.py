"""Two lists compared: groups, moves, operators, consequences, alarms, words; fast on the national list."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mssante.lang import set_language
from mssante.protocol.xml import parse_xml
from mssante.trust.listdiff import (
    ChangeKind,
    Interest,
    ListDiff,
    Severity,
    consequences,
    diff_lists,
    moves,
    operators,
)
from mssante.trust.listshape import ShapePolicy, shape_alarms
from mssante.trust.liststory import headline, story
from mssante.trust.names import parse_dn
from mssante.trust.whitelist import Whitelist, WhitelistEntry, build_whitelist, parse_whitelist

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def dn(cn: str, ou: str = "1", o: str = "ORG", st: str = "Paris (75)") -> str:
    return f"CN={cn},OU={ou},O={o},ST={st},C=FR"


A1, A2 = dn("a1.fr", "1", "SISRA"), dn("a2.fr", "1", "SISRA")
B1, B2 = dn("b1.fr", "2", "SARA"), dn("b2.fr", "2", "SARA")


def listed(*rows: tuple[str, str] | tuple[str, str, str], at: datetime = NOW, sha: str = "", signer: str = "") -> Whitelist:
    entries = [WhitelistEntry(row[0], row[2] if len(row) > 2 else "d", parse_dn(row[1]), "s", None) for row in rows]
    return replace(build_whitelist(entries, at, sha), signer=signer)


def kinds(found: ListDiff) -> dict[str, int]:
    return {key: value for key, value in found.counts().items() if value and not key.startswith("domains")}


@pytest.fixture(autouse=True)
def _french() -> None:
    set_language("fr")


@pytest.mark.parametrize(("before", "after", "wanted"), [
    ([A1], [A1], {}),
    ([A1], ["CN=A1.fr, OU=1, O=\"Sisra\",ST=Paris(75),C=FR"], {}),
    ([A1], [B1], {"moved": 1, "new_operators": 1, "gone_operators": 1}),
    ([A1], [A2], {"replaced": 1}),
    ([A1], [A1, B1], {"added": 1, "new_operators": 1}),
    ([A1, A2], [A2], {"retired": 1}),
    ([A1, B1], [B1], {"retired": 1, "gone_operators": 1}),
    ([A1], [dn("a1.fr", "1", "SARA")], {"renamed": 1}),
    ([A1], [dn("a1.fr", "1", "SISRA", "Rhône (69)")], {"renamed": 1}),
    ([A1, A2], [A1, B2], {"moved": 1, "new_operators": 1}),
    ([A1, A2], [A2, A1], {}),
    ([A1, A1], [A1], {}),
    ([dn("a.fr")], [dn("a.fr", "9")], {"moved": 1, "new_operators": 1, "gone_operators": 1}),
])
def test_how_one_domain_changed(before: list[str], after: list[str], wanted: dict[str, int]) -> None:
    found = diff_lists(listed(*[("x.fr", one) for one in before]), listed(*[("x.fr", one) for one in after]))
    assert kinds(found) == wanted and found.empty is (not wanted)


def test_a_merger_with_several_hosts_is_one_move() -> None:
    old = listed(*[(f"d{n}.fr", A1 if n % 2 else A2) for n in range(40)])
    new = listed(*[(f"d{n}.fr", B1 if n % 3 else B2) for n in range(40)])
    found = diff_lists(old, new)
    assert len(found.changes) == 4
    (move,) = moves(found, ChangeKind.MOVED)
    assert len(move.domains) == 40 and {name.value("OU") for name in move.gone} == {"1"}
    told = story(found)
    assert told[0] == "40 domaines passent de CN=a1.fr, CN=a2.fr (SISRA) à CN=b1.fr, CN=b2.fr (SARA)"
    assert "nouvel opérateur : SARA (OU=2), 40 domaines" in told and "opérateur parti : SISRA (OU=1), 40 domaines" in told


def test_joined_left_and_texts() -> None:
    found = diff_lists(listed(("a.fr", A1), ("b.fr", A1, "old"), ("c.fr", A1)), listed(("b.fr", A1, "new"), ("c.fr", A1), ("d.fr", A1)))
    assert (found.joined, found.left, found.texts) == (("d.fr",), ("a.fr",), ("b.fr",))
    assert story(found) == ["1 domaine entre : d.fr", "1 domaine sort : a.fr", "1 domaine : description ou contact seulement"]
    assert story(diff_lists(listed(("a.fr", A1)), listed(("a.fr", A1)))) == ["aucune différence"]


def test_long_stories_are_cut_unless_full() -> None:
    old = listed(*[(f"d{n:03}.fr", dn(f"h{n}.fr", str(n))) for n in range(100)])
    new = listed(*[(f"d{n:03}.fr", dn(f"h{n}.fr", str(n + 1000))) for n in range(100)])
    found = diff_lists(old, new)
    assert len(story(found)) < 60 and "… et 88 changements semblables, 88 domaines" in story(found)
    assert len(story(found, full=True)) > 300
    assert len(headline(found)) <= 600


def test_our_domains_come_first() -> None:
    ours = parse_dn(A1)
    old = listed(("nous.fr", A1), ("eux.fr", A2), ("z.fr", B1), ("patient.fr", B1))
    new = listed(("nous.fr", A2), ("eux.fr", B1), ("z.fr", B1))
    found = diff_lists(old, new)
    effect = consequences(found, old, new, Interest(frozenset({"nous.fr"}), (ours,), citizen="patient.fr",
                                                    written=("z.fr", "eux.fr"), queued={"eux.fr": 3, "z.fr": 9}))
    assert effect.own_lost == ("nous.fr",) and effect.citizen_lost and effect.severity is Severity.SERIOUS
    assert [one.domain for one in effect.written] == ["eux.fr"] and [(one.domain, one.queued) for one in effect.queued] == [("eux.fr", 3)]
    told = story(found, effect)
    assert told[0] == "NOTRE DOMAINE nous.fr : change de certificat, N'EST PAS lié à notre certificat"
    assert told[1].startswith("LE DOMAINE CITOYEN") and told[2] == "file d'attente : 3 destinataire(s) de 1 domaine(s) touché(s)"
    assert headline(found, effect).startswith("NOTRE DOMAINE nous.fr")


def test_our_rollover_in_the_list_is_no_loss() -> None:
    """The list moves from our old certificate to the next one, which we serve too: nothing is lost."""
    old, new = listed(("nous.fr", A1)), listed(("nous.fr", A2))
    found = diff_lists(old, new)
    both = Interest(frozenset({"nous.fr"}), (parse_dn(A1), parse_dn(A2)))
    assert consequences(found, old, new, both).own_lost == ()
    assert consequences(found, old, new, replace(both, own_names=(parse_dn(A1),))).own_lost == ("nous.fr",)


@pytest.mark.parametrize(("old", "new", "severity"), [
    ([("a.fr", A1)], [("a.fr", A1)], Severity.NONE), ([("a.fr", A1)], [("a.fr", A1), ("b.fr", A1)], Severity.INFO),
    ([("a.fr", A1)], [("a.fr", A1), ("a.fr", A2)], Severity.INFO), ([("a.fr", A1)], [("a.fr", B1)], Severity.NOTABLE)])
def test_severity(old: list[tuple[str, str]], new: list[tuple[str, str]], severity: Severity) -> None:
    before, after = listed(*old), listed(*new)
    assert consequences(diff_lists(before, after), before, after, Interest()).severity is severity


def rules(old: Whitelist, new: Whitelist, policy: ShapePolicy, interest: Interest) -> list[tuple[str, bool]]:
    found = diff_lists(old, new)
    return [(one.rule, one.stops) for one in shape_alarms(new, old, (found, consequences(found, old, new, interest)), policy)]


def test_alarms_of_shape() -> None:
    old = listed(*[(f"d{n}.fr", A1) for n in range(10)], sha="1", signer="CN=ans")
    later = NOW + timedelta(days=1)
    ours = Interest(frozenset({"d0.fr"}), (parse_dn(A1),), citizen="d9.fr")
    none: list[tuple[str, bool]] = []
    same = [(f"d{n}.fr", A1) for n in range(10)]
    assert rules(old, listed(*same, at=later, sha="2", signer="CN=ans"), ShapePolicy(), ours) == none
    two = [(f"d{n}.fr", B1 if n in (1, 2) else A1) for n in range(10)]
    assert rules(old, listed(*two, at=later, sha="2"), ShapePolicy(), ours) == none, "20 % is not above 20 %"
    three = [(f"d{n}.fr", B1 if n in (1, 2, 3) else A1) for n in range(10)]
    assert rules(old, listed(*three, at=later, sha="2"), ShapePolicy(), ours) == [("LB-CHANGEMENTS", False)]
    assert rules(old, listed(*same, *[(f"n{n}.fr", A1) for n in range(3)], at=later), ShapePolicy(), ours) == [("LB-ENTREES", False)]
    assert rules(old, listed(*same[1:], at=later), ShapePolicy(), ours) == [("LB-NOTRE-DOMAINE", True)]
    assert rules(old, listed(*same[1:], at=later), ShapePolicy(own_stops=False), ours) == [("LB-NOTRE-DOMAINE", False)]
    assert rules(old, listed(*same[:9], at=later), ShapePolicy(), ours) == [("LB-CITOYEN", False)]
    assert rules(old, listed(*same, at=NOW + timedelta(days=8)), ShapePolicy(), ours) == [("LB-SAUT", False)]
    assert rules(old, listed(*same, sha="2"), ShapePolicy(), ours) == [("LB-MEME-DATE", False)]
    assert rules(old, listed(*same, at=later, signer="CN=autre"), ShapePolicy(), ours) == [("LB-SIGNATAIRE-CHANGE", False)]


def test_a_domain_that_we_never_had_bound_is_no_loss() -> None:
    """Already missing, or bound to another: `check` tells it; a list that leaves it so is not stopped."""
    old, new = listed(("a.fr", A1), at=NOW), listed(("a.fr", A2), at=NOW + timedelta(hours=1))
    assert rules(old, new, ShapePolicy(100, 100), Interest(frozenset({"nous.fr", "a.fr"}), (parse_dn(B1),))) == []


def test_a_national_list_whose_operator_moved_is_told(shared_dir: Path) -> None:
    raw = (shared_dir / "data/whitelist/listeblanche-2025-03-13.xml").read_bytes()
    old = parse_whitelist(parse_xml(raw, max_bytes=len(raw)))
    chance = random.Random(8655)
    rows = list(old.entries)
    rows += [replace(entry, domain=f"n{rank}.{entry.domain}") for rank, entry in enumerate(chance.sample(rows, 2101))]
    assert len(rows) == 8654
    wide = build_whitelist(rows, old.generated_at)
    sara = parse_dn("CN=smtp.sara.fr,OU=318000000000000,O=SARA,ST=Rhône (69),C=FR")
    moved = [replace(entry, operator_dn=sara) if entry.operator_dn.value("CN").endswith("sante-ra.fr") else entry for entry in rows]
    new = build_whitelist(moved, old.generated_at)
    found = diff_lists(wide, new)
    effect = consequences(found, wide, new, Interest(queued=dict.fromkeys(wide.domains(), 1)))
    told = story(found, effect)
    assert any(" domaines passent de CN=smtpmss.sante-ra.fr" in line and line.endswith("à CN=smtp.sara.fr (SARA)") for line in told)
    assert diff_lists(wide, wide).empty and len(operators(old)) == 343
