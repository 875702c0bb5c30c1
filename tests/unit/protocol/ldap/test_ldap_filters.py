"""Filters read from octets that another writer made (`protocol.ldap.filtertext`), matched and turned into words."""

from __future__ import annotations

import pytest

from mssante.protocol.ldap.ber import LdapFault, Reader
from mssante.protocol.ldap.ber import element as tlv
from mssante.protocol.ldap.filters import (
    MAX_DEPTH,
    MAX_SEARCHES,
    WORDS,
    Filter,
    fold,
    folded,
    matches,
    needs_words,
    read_filter,
    searches,
)
from mssante.protocol.ldap.filtertext import compile_filter

ENTRY = folded({"objectClass": ("top", "inetOrgPerson"), "cn": ("Mme Hélène LECŒUR-DUVAL",), "sn": ("LECŒUR-DUVAL",), "givenName": ("Hélène",),
                "mail": ("helene.duval@lab.test",), "l": ("Saint-Étienne", "LYON"), "title": ("Médecine générale",)})


def read(text: str) -> Filter:
    return read_filter(Reader(compile_filter(text)))


@pytest.mark.parametrize(("text", "told"), [
    ("(sn=lecoeur-duval)", True), ("(sn=lecoeur duval)", True), ("(sn=lecoeur)", False), ("(SN=LEC*)", True), ("(sn=*DUVAL)", True),
    ("(cn=*helene*lec*)", True), ("(cn=*lec*helene*)", False), ("(cn=*duval*duval*)", False), ("(l=lyon)", True), ("(l=saint etienne)", True),
    ("(mail=helene.duval@lab.test)", True), ("(mail=helene-duval@lab.test)", False), ("(mail=helene duval*)", False),
    ("(cn=*)", True), ("(fax=*)", False), ("(fax=1)", None), ("(!(fax=1))", None), ("(!(sn=x))", True),
    ("(|(fax=1)(sn=lec*))", True), ("(|(fax=1)(sn=x))", None), ("(&(fax=1)(sn=lec*))", None), ("(&(fax=1)(sn=x))", False),
    ("(&(objectClass=person)(sn=lec*))", False), ("(objectClass=inetorgperson)", True), ("(anr=duv)", True), ("(anr=hel lec)", True),
    ("(anr=yon)", False), ("(anr==helene)", True), ("(sn~=lecoeur-duval)", True), ("(sn>=a)", None), ("(sn=---)", False)])
def test_matching_has_three_values(text: str, told: bool | None) -> None:
    # RFC 4511 §4.5.1, §4.5.1.7
    assert matches(read(text), ENTRY) is told


@pytest.mark.parametrize(("text", "texts"), [
    ("(|(cn=*claire*mar*)(mail=*claire mar*)(givenName=*claire*)(sn=*claire mar*))", ("claire mar", "claire")),
    ("(&(objectClass=person)(|(sn=Ma*)(mail=ma*)))", ("ma",)), ("(&(sn=martin)(givenName=cl*))", ("martin cl",)), ("(anr==Duval)", ("duval",)),
    ("(&(|(sn=a)(sn=b))(|(l=c)(l=d)))", ("a c", "a d", "b c", "b d")), ("(mail=*)", ("",)), ("(!(sn=a))", ("",)), ("(employeeType=PER)", ("",)),
    ("(|(sn=a)(mail=*))", ("a", "")), ("(sn>=a)", ("",)), ("(&(sn=a*)(!(l=b)))", ("a",)), ("(cn=Éloïse*)", ("eloise",))])
def test_words_to_search(text: str, texts: tuple[str, ...]) -> None:
    assert searches(read(text)) == texts


@pytest.mark.parametrize(("text", "told"), [
    ("(cn=*duval*hel*)", True), ("(cn=*medecine*lyon*)", True), ("(cn=*dr*duval*)", True), ("(displayName=*lyon duv*)", True), ("(cn=*medecine*)", False),
    ("(cn=*duval*paris*)", False), ("(sn=*duval*hel*)", False), ("(cn=duval hel)", False), ("(|(sn=x)(cn=*duval*lyon*))", True)])
def test_words_typed_into_an_address_field(text: str, told: bool) -> None:
    words = {**ENTRY, WORDS: ("dr", "helene", "lecoeur", "duval", "medecine", "generale", "lyon")}
    assert (matches(read(text), words) is True) is told
    assert needs_words(read(text)) or not told
    if told:
        assert matches(read(text), ENTRY) is not True


def test_a_filter_of_too_many_texts_says_so() -> None:
    many = "(|" + "".join(f"(sn=nom{at})" for at in range(50)) + ")"
    assert len(searches(read(many))) == MAX_SEARCHES + 1
    crossed = "(&" + many * 3 + ")"
    assert MAX_SEARCHES < len(searches(read(crossed.replace("nom", "n")))) <= MAX_SEARCHES + 1


def test_true_and_false() -> None:
    # RFC 4526 §2
    assert matches(Filter(0xA0), ENTRY) is True and searches(Filter(0xA0)) == ("",)
    assert matches(Filter(0xA1), ENTRY) is False and searches(Filter(0xA1)) == ()


def test_depth_length_and_values_are_bounded() -> None:
    deep = tlv(0x87, b"cn")
    for _ in range(MAX_DEPTH):
        deep = tlv(0xA2, deep)
    read_filter(Reader(deep))
    for bad in (tlv(0xA2, deep), tlv(0xA0, *[tlv(0x87, b"cn")] * 200), tlv(0xA3, tlv(4, b"cn"), tlv(4, b"x" * 1001)), tlv(0xA2),
                tlv(0xA2, tlv(0x87, b"cn"), tlv(0x87, b"cn")), tlv(0xA4, tlv(4, b"cn"), tlv(0x30)), tlv(0xAA), tlv(0x87, b"\xff"),
                tlv(0xA4, tlv(4, b"cn"), tlv(0x30, tlv(0x82, b"a"), tlv(0x80, b"b"))),
                tlv(0xA4, tlv(4, b"cn"), tlv(0x30, tlv(0x80, b"a"), tlv(0x80, b"b"))),
                tlv(0xA4, tlv(4, b"cn"), tlv(0x30, tlv(0x83, b"a"))), tlv(0xA3, tlv(4, b"cn")), b"", b"\xa0"):
        with pytest.raises(LdapFault):
            read_filter(Reader(bad))


def test_an_extensible_match_is_undefined() -> None:
    # RFC 4511 §4.5.1.7.7
    found = read_filter(Reader(tlv(0xA9, tlv(0x83, b"x"))))
    assert matches(found, ENTRY) is None and searches(found) == ("",)


def test_folding() -> None:
    assert fold("  ŒUVRE   Élémentaire ") == "oeuvre elementaire" and fold("A  b") == "a b"
