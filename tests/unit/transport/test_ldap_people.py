"""Reading of a whole local directory: what is asked, bounds, the password file. The wire itself is tested against slapd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from mssante.errors import MssFault
from mssante.protocol.ldap.client import LdapEntry
from mssante.transport.ldap_client import LdapTarget
from mssante.transport.ldap_people import MAX_PASSWORD, LdapPeople, PeopleQuestion, Search

TARGET = LdapTarget("ldaps://localhost:636", Path("anchors.pem"))
QUESTION = PeopleQuestion(TARGET, Search("dc=x", "(mail=*)", ("mail",)), Search("ou=g,dc=x", "(cn=*)", ("cn", "member")))


class FakeClient:
    """Notes what is asked; gives three entries a search, the second with hostile values."""

    asked: list[tuple[Any, ...]] = []
    fault: MssFault | None = None

    def __init__(self, target: LdapTarget, bind_dn: str, password: str) -> None:
        FakeClient.asked = [(bind_dn, password)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *given: object) -> None:
        """Nothing is open."""

    async def search(self, base: str, filter_text: str, attributes: Sequence[str], *, most: int) -> AsyncIterator[LdapEntry]:
        FakeClient.asked.append((base, filter_text, tuple(attributes), most))
        for value in (b"a", b"*)(uid=*", b"c" * 100):
            yield LdapEntry("uid=*)(x", {"mail": (value,)})
        if FakeClient.fault is not None:
            raise FakeClient.fault


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.transport.ldap_people.LdapClient", FakeClient)
    monkeypatch.setattr(FakeClient, "fault", None)


async def test_two_questions_and_no_value_of_the_directory_in_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes("clé secrète \r\n".encode())
    people, groups = await LdapPeople(replace(QUESTION, bind_dn="cn=r", password_file=tmp_path / "secret")).read()
    assert (len(people), len(groups), people[1].attributes) == (3, 3, {"mail": (b"*)(uid=*",)})
    assert FakeClient.asked == [("cn=r", "clé secrète "), ("dc=x", "(mail=*)", ("mail",), 50_000), ("ou=g,dc=x", "(cn=*)", ("cn", "member"), 50_000)]
    assert (await LdapPeople(replace(QUESTION, groups=None)).read())[1] == []


async def _rule(question: PeopleQuestion) -> str:
    with pytest.raises(MssFault) as caught:
        await LdapPeople(question).read()
    return caught.value.rule


async def test_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _rule(replace(QUESTION, most_octets=100)) == "SYNC-TAILLE"
    assert await _rule(replace(QUESTION, most_octets=200)) == "SYNC-TAILLE", "both searches count together"
    monkeypatch.setattr(FakeClient, "fault", MssFault("cut", rule="LDAP-NOMBRE"))
    assert await _rule(QUESTION) == "LDAP-NOMBRE"


@pytest.mark.parametrize("octets", [b"", b"\n", b"\xff", b"x" * (MAX_PASSWORD + 1), None])
async def test_password_files_that_are_refused(tmp_path: Path, octets: bytes | None) -> None:
    if octets is not None:
        (tmp_path / "secret").write_bytes(octets)
    assert await _rule(replace(QUESTION, bind_dn="cn=r", password_file=tmp_path / "secret")) == "SYNC-SECRET"


@pytest.mark.parametrize(("question", "rule"), [
    (replace(QUESTION, target=LdapTarget("http://x", Path("a"))), "LDAP-CONFIG"), (replace(QUESTION, people=Search("", "(a=b)", ())), "CFG-SYNC"),
    (replace(QUESTION, groups=Search("", "(a=b)", ())), "CFG-SYNC"), (replace(QUESTION, people=Search("dc=x", "(a=b", ())), "LDAP-FILTRE"),
    (replace(QUESTION, groups=Search("dc=x", "a=b", ())), "LDAP-FILTRE")])
def test_questions_that_cannot_be_asked(question: PeopleQuestion, rule: str) -> None:
    with pytest.raises(MssFault) as caught:
        question.check()
    assert caught.value.rule == rule
    QUESTION.check()
