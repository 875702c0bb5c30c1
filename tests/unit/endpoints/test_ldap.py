"""The LDAPS door over a desk in memory, asked by the octets of our own client and by bad ones."""

import asyncio
from types import SimpleNamespace

import pytest

from mssante.directory.values import DirectoryEntry, Finding, Presence
from mssante.endpoints import ldap
from mssante.endpoints.ldap import BASE, LdapDoor, LdapParts
from mssante.protocol.ldap.ber import element as tlv
from mssante.protocol.ldap.ber import message_size
from mssante.protocol.ldap.client import Query, bind_request, read_message, search_request
from mssante.services.sasl import TryLater

ENTRIES = [DirectoryEntry("helene.duval@lab.test", "PER", title="DR", family_name="DUVAL", given_name="Hélène", town="Lyon"),
           DirectoryEntry("duval.rouge@lab.test", "PER", family_name="DUVAL", given_name="Rouge", red_listed=True),
           DirectoryEntry("duvalier@lab.test", "PER", family_name="DUVALIER, Jean", given_name="Jean"),
           DirectoryEntry("cabinet@lab.test", "ORG", service="Cabinet", trade_name="Nord", town="Lille"),
           DirectoryEntry("cabinet@lab.test", "ORG", service="Cabinet", trade_name="Sud", town="Lille"),
           DirectoryEntry("mixte@lab.test", "ORG", service="Mixte"), DirectoryEntry("mixte@lab.test", "ORG", red_listed=True)]


class Desk:
    def __init__(self):
        self.asked, self.gate = [], None

    async def find(self, address, *, ask=False):
        found = tuple(one for one in ENTRIES if one.address == address)
        return Finding(address, Presence.PUBLISHED if found else Presence.ABSENT, found)

    async def search(self, query):
        self.asked.append(query.text)
        if self.gate is not None:
            await self.gate.wait()
        return [one for one in ENTRIES if query.text.split()[0] in one.address]


class Accounts:
    async def authenticate(self, login, password, peer, protocol):
        assert protocol == "ldap"
        if login == "guessed@lab.test":
            raise TryLater
        return SimpleNamespace(id=1, login=login, mailbox_ids=(1,)) if (login, password) == ("a@lab.test", "secret") else None


@pytest.fixture
async def client():
    desk = Desk()
    door = LdapDoor(LdapParts(desk, Accounts(), None))
    port = await door.open("127.0.0.1:0")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def answer():
        head = await reader.readexactly(2)
        while (size := message_size(head)) is None:
            head += await reader.readexactly(1)
        return read_message(head + await reader.readexactly(size - len(head)))

    async def ask(octets):
        writer.write(octets)
        found = [await answer()]
        while found[-1].result is None:
            found.append(await answer())
        return [one.entry for one in found[:-1]], found[-1].result

    yield SimpleNamespace(ask=ask, reader=reader, writer=writer, port=port, desk=desk)
    writer.close()
    await door.close()


async def bound(client, name="a@lab.test", password="secret"):
    return (await client.ask(bind_request(1, name, password)))[1].code


def find(text, **given):
    return search_request(2, Query(BASE, text, **given))


@pytest.mark.parametrize(("name", "password", "code"), [
    ("a@lab.test", "secret", 0), ("uid=a@lab.test,o=x", "secret", 0), ("mail=a@lab.test", "secret", 0), ("a@lab.test", "no", 49),
    ("a@lab.test", "", 53), ("", "", 0), ("guessed@lab.test", "x", 51)])
async def test_bind(client, name, password, code):
    assert await bound(client, name, password) == code


async def test_anonymous_sees_only_the_root(client):
    entries, result = await client.ask(search_request(2, Query("", "(objectClass=*)", scope=0)))
    assert result.code == 0 and entries[0].text("namingContexts") == BASE
    assert (await client.ask(find("(cn=duv*)")))[1].code == 50


@pytest.mark.parametrize("text", ["(|(mail=duv*)(cn=duv*)(sn=duv*))", "(anr=duval)", "(&(objectClass=person)(sn=*duval*))"])
async def test_completes_without_the_red_list(client, text):
    await bound(client)
    entries, result = await client.ask(find(text))
    assert result.code == 0
    assert {one.text("mail") for one in entries} == {"helene.duval@lab.test", "duvalier@lab.test"}


async def test_accents_do_not_matter(client):
    await bound(client)
    assert [one.text("givenName") for one in (await client.ask(find("(givenName=helene)")))[0]] == ["Hélène"]


async def test_limits_and_pages(client):
    await bound(client)
    entries, result = await client.ask(find("(sn=duv*)", size_limit=1))
    assert (len(entries), result.code) == (1, 4)
    entries, result = await client.ask(find("(sn=duv*)", page=1))
    assert len(entries) == 1 and result.cookie
    entries, result = await client.ask(find("(sn=duv*)", page=1, cookie=result.cookie))
    assert (len(entries), result.cookie, entries[0].text("mail")) == (1, b"", "duvalier@lab.test")


async def test_nobody_copies_the_directory(client):
    await bound(client)
    for text in ("(objectClass=*)", "(mail=*)", "(|(sn=duv*)(mail=*))", "(!(sn=duv*))"):
        entries, result = await client.ask(find(text))
        assert (entries, result.code) == ([], 11)


async def test_an_entry_of_the_red_list_is_not_read_by_its_name(client):
    await bound(client)
    for address, many, code in (("helene.duval@lab.test", 1, 0), ("duval.rouge@lab.test", 0, 32), ("none@lab.test", 0, 32),
                                ("mixte@lab.test", 0, 32)):
        query = Query(f"mail={address},{BASE}", "(objectClass=*)", scope=0)
        entries, result = await client.ask(search_request(2, query))
        assert (len(entries), result.code) == (many, code)


async def test_writes_are_refused(client):
    await bound(client)
    client.writer.write(tlv(0x30, tlv(2, b"\x02"), tlv(0x4A, b"mail=x")))
    assert b"\x6b" in (octets := await client.reader.read(200)) and b"\x0a\x01\x35" in octets


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.0\r\n\r\n", b"\x30\x80\0\0", b"\x30\x84\x7f\xff\xff\xff", b"\x30\x05\x02\x01\x01\x63\x00",
                                    tlv(0x30, tlv(2, b"\x01"), tlv(0x63, b"\xa2" * 3000))])
async def test_octets_that_are_no_ldap_end_the_connection(client, octets):
    client.writer.write(octets)
    assert b"1.3.6.1.4.1.1466.20036" in await client.reader.read()


async def test_who_am_i(client):
    # RFC 4532
    asked = tlv(0x30, tlv(2, b"\x03"), tlv(0x77, tlv(0x80, b"1.3.6.1.4.1.4203.1.11.3")))
    client.writer.write(asked)
    assert b"u:" not in await client.reader.read(200)
    await bound(client)
    client.writer.write(asked)
    assert b"u:a@lab.test" in await client.reader.read(200)


async def test_rows_of_one_address_make_one_entry(client):
    await bound(client)
    by_name = search_request(2, Query(f"mail=cabinet@lab.test,{BASE}", "(objectClass=*)", scope=0))
    for asked in (find("(ou=cabinet)"), by_name, find("(&(ou=cabinet)(o=sud))")):
        entries, result = await client.ask(asked)
        assert (len(entries), result.code) == (1, 0)
        assert entries[0].attributes["o"] == (b"Nord", b"Sud") and entries[0].attributes["l"] == (b"Lille",)
    assert (await client.ask(find("(ou=mixte)")))[0] == []  # red-listed on one of its rows


async def test_what_only_widens_an_answer_is_left_out_and_said(client):
    await bound(client)
    entries, result = await client.ask(find("(|(cn=*duvalier*jean*)(mail=*duvalier jean*)(givenName=*duvalier*))"))
    assert ([one.text("mail") for one in entries], result.code, client.desk.asked) == (["duvalier@lab.test"], 4, ["duvalier jean"])
    client.desk.asked.clear()
    entries, result = await client.ask(find("(|(cn=*absent*duvalier*)(sn=*duvalier*))"))  # nothing under the narrow text: the wide one serves
    assert ([one.text("mail") for one in entries], result.code, client.desk.asked) == (["duvalier@lab.test"], 0, ["absent duvalier", "duvalier"])


async def other(client):
    """Another connection of the same account: its streams, bound."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(bind_request(1, "a@lab.test", "secret"))
    assert read_message(await reader.read(200)).result.code == 0
    return reader, writer


async def test_searches_at_once_of_one_account_are_bounded(client):
    client.desk.gate = asyncio.Event()
    others = [await other(client) for _ in range(ldap.ACCOUNT_SEARCHES)]
    for _, writer in others:
        writer.write(find("(sn=duv*)"))
    while len(client.desk.asked) < len(others):
        await asyncio.sleep(0)
    await bound(client)
    assert (await client.ask(find("(sn=duv*)")))[1].code == 51
    client.desk.gate.set()
    for reader, writer in others:
        assert b"duvalier@lab.test" in await reader.read(4096)
        writer.close()
    assert (await client.ask(find("(sn=duv*)")))[1].code == 0


async def test_the_connection_unused_for_longest_makes_room(client):
    others = [await other(client) for _ in range(ldap.ACCOUNT_CONNECTIONS)]
    others[0][1].write(find("(sn=duvalier*)"))  # used: the second is now the oldest
    assert b"duvalier@lab.test" in await others[0][0].read(4096)
    await bound(client)
    with pytest.raises(ConnectionError):
        if await others[1][0].read(10) == b"":
            raise ConnectionResetError
    assert (await client.ask(find("(sn=duvalier*)")))[1].code == 0
    others[0][1].write(find("(sn=duvalier*)"))
    assert b"duvalier@lab.test" in await others[0][0].read(4096)
    for _, writer in others:
        writer.close()


async def test_words_of_an_address_field_in_any_order(client):
    await bound(client)
    for typed in ("(cn=*helene*lyon*)", "(cn=*duval*helene*)"):
        assert [one.text("mail") for one in (await client.ask(find(typed)))[0]] == ["helene.duval@lab.test"], typed
    assert (await client.ask(find("(cn=*helene*lille*)")))[0] == []


async def test_a_title_does_not_hide_a_name(client):
    await bound(client)
    for asked in ("(cn=hel*)", "(cn=duval h*)", "(displayName=helene duval)", "(&(mail=*)(|(cn=hel*)(displayName=hel*)))"):
        entries = (await client.ask(find(asked)))[0]
        assert [one.attributes["cn"] for one in entries] == [("DR Hélène DUVAL".encode(),)], asked
