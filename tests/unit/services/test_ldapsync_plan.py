"""The plan of a synchronisation, on values: reading of entries, decisions, guard, groups."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from mssante.errors import InputFault
from mssante.model.identifiers import luhn_ok
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.services.ldapsync_groups import MAX_GROUP, dn_key, teams_of
from mssante.services.ldapsync_plan import Action, Held, Rules, Standing, guard, plan_people
from mssante.services.ldapsync_values import DEFAULTS, RawEntry, Reading, Sighting, contested, field_map, people_of
from mssante.storage.delegations import Link
from mssante.storage.delegations import Person as Login

DOMAIN = "hopital.mssante.fr"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RPPS = next(number for number in (f"1000123456{digit}" for digit in range(10)) if luhn_ok(number))
FIELDS = {**DEFAULTS, "holder_id": "employeeNumber", "disabled": "userAccountControl"}
READING = Reading(frozenset({DOMAIN}), FIELDS)


def entry(who: str = "lea", **more: Any) -> RawEntry:
    """One entry; a value None takes an attribute away."""
    values: dict[str, Any] = {"entryuuid": f"id-{who}", "mail": f"{who}@{DOMAIN}", "givenname": who.title(), "sn": "Essai",
                              "employeenumber": RPPS, "useraccountcontrol": "512"} | more
    return RawEntry(f"uid={who},dc=x", {name: tuple(one if isinstance(one, bytes) else one.encode()
                                                    for one in (value if isinstance(value, tuple) else (value,)))
                                        for name, value in values.items() if value is not None})


def seen(*entries: RawEntry, reading: Reading = READING) -> dict[str, Sighting]:
    return people_of(entries, reading)


def standing(*names: str, active: bool = True, taken: Mapping[str, int] = {}, others: tuple[str, ...] = (), **held: Any) -> Standing:
    """People that are linked, each with account and mailbox of the same number from 1; others: logins not ours."""
    links, logins, boxes = {}, {}, {}
    for number, who in enumerate(names, 1):
        login = f"{who}@{DOMAIN}"
        document = Held(login, **{"given_name": who.title(), "family_name": "Essai", **held}).document()
        links[f"id-{who}"] = Link("ldap", f"id-{who}", number, number, "", document, active, NOW, NOW)
        logins[login] = Login(number, login, active, number)
        boxes[number] = Mailbox(number, login, MailboxType.PER, MailboxState.ACTIVE, number, holder_id="8" + RPPS)
    logins |= {login: Login(90 + rank, login, True, 0) for rank, login in enumerate(others)}
    return Standing(links, logins, {box.address: box.id for box in boxes.values()} | dict(taken), boxes)


def decided(people: Mapping[str, Sighting], here: Standing, *, holder: bool = True) -> tuple[list[tuple[str, str]], list[str]]:
    changes, problems = plan_people(people, {*people, *here.links}, here, Rules(holder, contested(people.values())))
    return [(one.action.value, one.login) for one in changes], [one.rule for one in problems]


LEA, TOM = f"lea@{DOMAIN}", f"tom@{DOMAIN}"
CASES: dict[str, tuple[Any, Standing, list[tuple[str, str]], list[str]]] = {
    "joiner": ([entry()], standing(), [("create", LEA)], []),
    "nothing": ([entry()], standing("lea"), [], []),
    "absent": ([entry("tom")], standing("lea", "tom"), [("leave", LEA)], []),
    "absent already": ([entry("tom")], standing("lea", "tom", active=False), [("return", TOM)], []),
    "disabled": ([entry(useraccountcontrol="514")], standing("lea"), [("leave", LEA)], []),
    "disabled joiner": ([entry(useraccountcontrol="66050")], standing(), [], []),
    "returner": ([entry()], standing("lea", active=False), [("return", LEA)], []),
    "names": ([entry(sn="Autre")], standing("lea"), [("update", LEA)], []),
    "renamed": ([entry(mail=(f"l.essai@{DOMAIN}", LEA))], standing("lea"), [], []),
    "renamed, mailbox kept": ([entry(mail=f"l.essai@{DOMAIN}")], standing("lea"), [("rename", f"l.essai@{DOMAIN}")], ["SYNC-ADRESSE"]),
    "renamed, alias made": ([entry(mail=f"l.essai@{DOMAIN}")], standing("lea", taken={f"l.essai@{DOMAIN}": 1}),
                            [("rename", f"l.essai@{DOMAIN}")], []),
    "renamed to a login": ([entry(mail="chef")], standing("lea", others=("chef",)), [], ["SYNC-PRIS", "SYNC-ADRESSE"]),
    "renamed to a mailbox": ([entry(mail=f"accueil@{DOMAIN}")], standing("lea", taken={f"accueil@{DOMAIN}": 50}), [],
                             ["SYNC-PRIS", "SYNC-ADRESSE"]),
    "swap": ([entry(mail=TOM), entry("tom", mail=LEA)], standing("lea", "tom"), [], ["SYNC-PRIS", "SYNC-ADRESSE"] * 2),
    "login exists": ([entry()], standing(others=(LEA,)), [], ["SYNC-PRIS"]),
    "mailbox or alias exists": ([entry()], standing(taken={LEA: 50}), [], ["SYNC-PRIS"]),
    "mail of a linked one": ([entry(), entry("faux", mail=LEA)], standing("lea"), [], ["SYNC-DOUBLON"]),
    "two joiners, one mail": ([entry(), entry("tom", mail=LEA.upper())], standing(), [], ["SYNC-DOUBLON"] * 2),
    "one of them disabled": ([entry(useraccountcontrol="2"), entry("tom", mail=LEA)], standing(), [("create", LEA)], []),
    "one identifier twice": ([entry(), entry("tom", entryuuid="ID-LEA")], standing("lea"), [], ["SYNC-DOUBLON"]),
    "twice and gone": ([entry(useraccountcontrol="2")] * 2, standing("lea"), [("leave", LEA)], ["SYNC-DOUBLON"]),
    "other domain": ([entry(mail="lea@ailleurs.fr")], standing(), [], ["SYNC-DOMAINE"]),
    "moved to another domain": ([entry(mail="lea@ailleurs.fr")], standing("lea"), [("rename", "lea@ailleurs.fr")], ["SYNC-ADRESSE"]),
    "no holder": ([entry(employeenumber=None)], standing(), [], ["SYNC-TITULAIRE"]),
    "wrong holder": ([entry(employeenumber=RPPS[:-1] + str((int(RPPS[-1]) + 1) % 10))], standing(), [], ["SYNC-VALEUR"]),
    "structure as holder": ([entry(employeenumber="3" + "1" * 14)], standing("lea"), [], ["SYNC-VALEUR"]),
    "other holder": ([entry(employeenumber="0123456789")], standing("lea"), [], ["SYNC-TITULAIRE"]),
    "control characters": ([entry(sn="a\r\nX: y")], standing("lea"), [], ["SYNC-VALEUR"]),
    "invisible characters": ([entry(givenname="a\u202eb")], standing(), [], ["SYNC-VALEUR"]),
    "not UTF-8": ([entry(sn=b"\xff\xfe")], standing(), [], ["SYNC-VALEUR"]),
    "huge": ([entry(sn="x" * 1_000_000)], standing("lea"), [], ["SYNC-VALEUR"]),
    "many values": ([entry(mail=tuple(f"a{rank}@{DOMAIN}" for rank in range(5000)))], standing("lea"), [], ["SYNC-VALEUR"]),
    "no mail": ([entry(mail=None)], standing("lea"), [], ["SYNC-VALEUR"]),
    "white space": ([entry(mail="lea essai")], standing(), [], ["SYNC-VALEUR"]),
    "reserved": ([entry(mail=f"postmaster@{DOMAIN}")], standing(), [], ["SYNC-VALEUR"]),
    "flag unreadable": ([entry(useraccountcontrol="actif")], standing("lea"), [], ["SYNC-VALEUR"]),
    "flag missing": ([entry(useraccountcontrol=None)], standing("lea", active=False), [], ["SYNC-VALEUR"]),
    "wrong and disabled": ([entry(sn="\0", useraccountcontrol="2")], standing("lea"), [("leave", LEA)], ["SYNC-VALEUR"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_people_become(name: str) -> None:
    entries, here, changes, rules = CASES[name]
    found, told = decided(seen(*entries), here)
    assert (found, told) == (changes, rules)


def test_an_account_removed_here_is_not_made_again() -> None:
    here = standing("lea")
    gone = Standing(here.links, {}, here.taken, here.boxes)
    assert decided(seen(entry()), gone) == ([], ["SYNC-COMPTE-DISPARU"])
    again = Standing(here.links, {LEA: Login(77, LEA, True, 0)}, here.taken, here.boxes)  # somebody else of that name
    assert decided(seen(entry("tom")), again) == ([("forget", LEA), ("create", TOM)], [])
    broken = Link("ldap", "id-lea", 1, 1, "", "[not json", True, NOW, NOW)
    assert Held.of(broken).login == ""


def test_without_the_holder_where_it_is_not_required() -> None:
    assert decided(seen(entry(employeenumber=None)), standing(), holder=False) == ([("create", LEA)], [])


def test_binary_identifiers_are_hexadecimal() -> None:
    reading = Reading(frozenset({DOMAIN}), {**FIELDS, "external_id": "objectGUID"})
    found = seen(entry(objectguid=bytes(range(240, 256)), entryuuid=None), reading=reading)
    assert list(found) == [bytes(range(240, 256)).hex()]


@pytest.mark.parametrize("value", [None, "", "é", "x" * 200, "a\nb", ("a", "b")])
def test_an_entry_without_identifier_refuses_all(value: Any) -> None:
    with pytest.raises(InputFault) as caught:
        seen(entry("tom"), entry(entryuuid=value))
    assert caught.value.rule == "SYNC-PARTIEL"


def test_other_flags_than_that_of_active_directory() -> None:
    reading = Reading(frozenset({DOMAIN}), {**FIELDS, "disabled": "nsAccountLock"})
    for value, disabled in ((None, False), ("TRUE", True), ("true", True), ("FALSE", False), ("1", True)):
        assert seen(entry(nsaccountlock=value), reading=reading)["id-lea"].disabled is disabled


@pytest.mark.parametrize("configured", [{"external_id": ""}, {"rights": "memberOf"}, {"login": "mail)(uid=*"}, {"mail": "userPassword"},
                                        {"display_name": "unicodePwd"}, {"holder_id": "a;binary"}])
def test_fields_that_are_refused(configured: dict[str, str]) -> None:
    with pytest.raises(InputFault) as caught:
        field_map(configured)
    assert caught.value.rule == "CFG-SYNC"


@pytest.mark.parametrize(("leaving", "of", "percent", "held"), [
    (0, 0, 0, False), (3, 3, 20, False), (4, 10, 20, True), (20, 100, 20, False), (21, 100, 20, True), (100, 100, 100, False), (4, 50, 0, True)])
def test_the_guard(leaving: int, of: int, percent: float, held: bool) -> None:
    assert (guard(leaving, of, percent, "x") is not None) is held


@pytest.mark.parametrize(("one", "other"), [
    ("CN=Léa Essai,OU=Équipe,DC=x", "cn=léa essai , ou=équipe,dc=X"), (r"cn=a\2cb,dc=x", r"cn=a\,b,dc=x"),
    (r"cn=\c3\a9,dc=x", "cn=é,dc=x"), (r"cn=a\\,dc=x", r"cn=a\5c,dc=x")])
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert dn_key(one) == dn_key(other)


def test_names_that_are_not() -> None:
    assert len({dn_key(text) for text in (r"cn=a\,dc=x", "cn=a,dc=x", r"cn=a\,dc\=x", "cn=a", r"cn=a\\,dc=x", "")}) == 6
    assert dn_key("cn=" + "x" * 5000) == ()


def group(name: str, *members: str) -> RawEntry:
    return RawEntry(f"cn={name},ou=groupes,dc=x", {"cn": (name.encode(),), "member": tuple(one.encode() for one in members)})


BOX = f"accueil@{DOMAIN}"
PEOPLE = seen(entry(), entry("tom"), entry("zoe"))


def teams(groups: list[RawEntry], wanted: dict[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    found, problems = teams_of(groups, wanted, "member", PEOPLE)
    return {one.address: sorted(one.members) for one in found}, [one.rule for one in problems]


def test_members_by_name_by_dn_by_login() -> None:
    groups = [group("Accueil", "UID=lea, DC=x", "uid=inconnue,dc=x", "x)(uid=*"), group("Nuit", TOM)]
    assert teams(groups, {"accueil": BOX.upper(), "CN=Nuit, OU=groupes,DC=x": BOX}) == ({BOX: ["id-lea", "id-tom"]}, [])


def test_groups_in_groups_and_cycles() -> None:
    groups = [group("a", "uid=lea,dc=x", "cn=b,ou=groupes,dc=x"), group("b", "cn=c,ou=groupes,dc=x"),
              group("c", "cn=a,ou=groupes,dc=x", "uid=tom,dc=x", "cn=c,ou=groupes,dc=x")]
    assert teams(groups, {"a": BOX}) == ({BOX: ["id-lea", "id-tom"]}, [])


def test_groups_that_leave_their_mailbox_alone() -> None:
    many = [f"uid=u{rank},dc=x" for rank in range(MAX_GROUP + 1)]
    groups = [group("vide"), group("grand", *many), group("autour", "cn=grand,ou=groupes,dc=x"), group("bon", "uid=lea,dc=x"),
              RawEntry("cn=bis,dc=y", {"cn": (b"bon2",)}), RawEntry("cn=bis,dc=z", {"cn": (b"bon2",)})]
    for name, rule in (("vide", "VIDE"), ("grand", "TAILLE"), ("autour", "TAILLE"), ("nul", "ABSENT"), ("bon2", "AMBIGU")):
        assert teams(groups, {name: BOX}) == ({}, [f"SYNC-GROUPE-{rule}"])
        assert teams(groups, {name: BOX, "bon": BOX}) == ({}, [f"SYNC-GROUPE-{rule}"]), "one that is wrong holds the whole mailbox"


def test_a_link_says_no_more_than_it_needs() -> None:
    assert set(json.loads(Held("a").document())) == {"login", "givenName", "familyName", "displayName", "leftAccount", "leftMailbox"}
    assert {one.value for one in Action} == {"create", "rename", "update", "return", "leave", "forget"}
