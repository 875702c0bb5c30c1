"""The LDAPS door over a desk in memory, asked by the octets of our own client and by bad ones."""

import asyncio
from types import SimpleNamespace

import pytest

from mssante.directory.values import DirectoryEntry, Finding, Presence
from mssante.endpoints.ldap import BASE, LdapDoor, LdapParts
from mssante.transport.ldap_wire import Query, bind_request, message_size, read_message, search_request, tlv

ENTRIES = [DirectoryEntry("helene.duval@lab.test", "PER", family_name="DUVAL", given_name="Hélène", town="Lyon"),
           DirectoryEntry("duval.rouge@lab.test", "PER", family_name="DUVAL", given_name="Rouge", red_listed=True),
           DirectoryEntry("duvalier@lab.test", "PER", family_name="DUVALIER, Jean", given_name="Jean")]


class Desk:
    async def find(self, address, *, ask=False):
        found = tuple(one for one in ENTRIES if one.address == address)
        return Finding(address, Presence.PUBLISHED if found else Presence.ABSENT, found)

    async def search(self, query):
        return [one for one in ENTRIES if query.text.split()[0] in one.address]


class Accounts:
    async def authenticate(self, login, password, peer, protocol):
        assert protocol == "ldap"
        return SimpleNamespace(login=login, mailbox_ids=(1,)) if (login, password) == ("a@lab.test", "secret") else None


@pytest.fixture
async def client():
    door = LdapDoor(LdapParts(Desk(), Accounts(), None))
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

    yield SimpleNamespace(ask=ask, reader=reader, writer=writer)
    writer.close()
    await door.close()


async def bound(client, name="a@lab.test", password="secret"):
    return (await client.ask(bind_request(1, name, password)))[1].code


def find(text, **given):
    return search_request(2, Query(BASE, text, **given))


@pytest.mark.parametrize(("name", "password", "code"), [
    ("a@lab.test", "secret", 0), ("uid=a@lab.test,o=x", "secret", 0), ("mail=a@lab.test", "secret", 0), ("a@lab.test", "no", 49),
    ("a@lab.test", "", 53), ("", "", 0)])
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
    for address, many, code in (("helene.duval@lab.test", 1, 0), ("duval.rouge@lab.test", 0, 32), ("none@lab.test", 0, 32)):
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
