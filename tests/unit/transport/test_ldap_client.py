"""Our LDAP client before servers that lie, and its octets: filters, elements, limits. The real server is in tests/interop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.pki import build_igc, pem_files

from mssante.errors import InputFault, MssFault
from mssante.protocol.ldap import client as ldap_wire
from mssante.protocol.ldap.ber import LdapFault, message_size
from mssante.protocol.ldap.ber import element as tlv
from mssante.protocol.ldap.client import LdapEntry, read_message
from mssante.protocol.ldap.filtertext import compile_filter, escaped
from mssante.transport.annuaire_ldap import LdapDirectory, LdapSource, attribute_map, mailbox_of
from mssante.transport.ldap_client import LdapClient, LdapTarget

IGC = build_igc()
Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(("text", "octets"), [
    ("(mail=a@b.fr)", "a30e04046d61696c0406614062" + "2e6672"), ("(mail=*)", "87046d61696c"), ("(!(cn=x))", "a209a30704" + "02636e040178"),
    ("(cn=a*b*c)", "a40f0402636e300980016181016282" + "0163"), ("(n>=5)", "a50604016e040135"), ("(cn=\\2a)", "a3070402636e04012a"),
    ("(&(a=1)(b=*))", "a00b" + "a306040161040131" + "870162")])
def test_filters_have_the_octets_of_the_rfc(text: str, octets: str) -> None:
    assert compile_filter(text).hex() == octets


@pytest.mark.parametrize("text", ["", "mail=x", "(mail=x", "(mail=x))", "(&)", "(!(a=b)(c=d))", "(=x)", "(a b=c)", "(a=\\zz)", "(a=b(c)", "()",
                                  "(a=x)(b=y)", "(!" * 30 + "(a=b)" + ")" * 30, "(a=" + "x" * 9000 + ")", "(a:=b)", "(a=b\0)"])
def test_a_bad_filter_is_told(text: str) -> None:
    with pytest.raises(LdapFault) as caught:
        compile_filter(text)
    assert caught.value.rule == "LDAP-FILTRE"


def test_a_value_is_escaped_so_that_it_stays_a_value() -> None:
    value = "a*)(uid=*))(|(cn=é\\\0"
    assert compile_filter(f"(mail={escaped(value)})") == tlv(0xA3, tlv(0x04, b"mail"), tlv(0x04, value.encode()))


def entry(dn: bytes = b"cn=x", *attributes: bytes) -> bytes:
    return tlv(0x64, tlv(0x04, dn), tlv(0x30, *attributes))


def attribute(name: bytes, *values: bytes) -> bytes:
    return tlv(0x30, tlv(0x04, name), tlv(0x31, *[tlv(0x04, one) for one in values]))


def message(operation: bytes, number: int = 1, controls: bytes = b"") -> bytes:
    return tlv(0x30, tlv(0x02, bytes((number,))), operation, controls)


def done(code: int = 0, kind: int = 0x65) -> bytes:
    return tlv(kind, tlv(0x0A, bytes((code,))), tlv(0x04), tlv(0x04, b"text"))


def cookie(value: bytes) -> bytes:
    inner = tlv(0x30, tlv(0x02, b"\0"), tlv(0x04, value))
    return tlv(0xA0, tlv(0x30, tlv(0x04, ldap_wire.PAGED), tlv(0x04, inner)))


def test_an_entry_is_read() -> None:
    found = read_message(message(entry(b"cn=x", attribute(b"Mail;lang-fr", b"a", b"b"), attribute(b"mail", b"c"), attribute(b"sn")))).entry
    assert found is not None and found.attributes == {"mail": (b"a", b"b", b"c"), "sn": ()} and found.text("MAIL") == "a"
    result = read_message(message(done(), controls=cookie(b"next"))).result
    assert result is not None and result.code == 0 and result.cookie == b"next"


@pytest.mark.parametrize("octets", [
    b"", b"\x30", b"\x30\x80", b"\x30\x05\x02", b"\x30\x03\x02\x01\x01", message(b"\x30\x00"), message(tlv(0x64)), message(tlv(0x65)),
    message(tlv(0x65, tlv(0x0A))), message(b"\x64\x84\xff\xff\xff\xff"), message(b"\x64\x7f"), message(entry(b"x", tlv(0x30, tlv(0x04, b"a")))),
    message(entry(b"x", attribute(b"a", *[b"v"] * (ldap_wire.MAX_VALUES + 1)))), message(done(), controls=tlv(0xA0, tlv(0x30))),
    message(entry(b"x", *[attribute(f"a{rank}".encode()) for rank in range(ldap_wire.MAX_ATTRIBUTES + 1)])), message(b"\x64\x80\x00\x00")])
def test_octets_of_no_use_get_a_typed_error(octets: bytes) -> None:
    with pytest.raises(LdapFault) as caught:
        read_message(octets)
    assert caught.value.rule == "LDAP-FORME"


@pytest.mark.parametrize("octets", [b"HTTP/1.1", b"\x30\x80", b"\x30\x85\1\1\1\1\1", b"\x31\x00"])
def test_the_size_of_a_message_is_told_or_refused(octets: bytes) -> None:
    assert message_size(b"\x30\x03") == 5 and message_size(b"\x30\x82\x01") is None and message_size(b"\x30\x82\x01\x00") == 260
    with pytest.raises(LdapFault):
        message_size(octets)
    with pytest.raises(LdapFault) as caught:
        message_size(b"\x30\x84\x7f\xff\xff\xff", ldap_wire.MAX_ANSWER)
    assert caught.value.rule == "LDAP-TAILLE"
    big = b"\x30\x83" + (ldap_wire.MAX_ANSWER - 5).to_bytes(3, "big")
    assert message_size(big, ldap_wire.MAX_ANSWER) == ldap_wire.MAX_ANSWER, "an answer may be longer than a request"
    with pytest.raises(LdapFault):
        message_size(big)


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = LdapTarget("", folder / "anchors.pem")
        self.servers: list[asyncio.Server] = []

    async def play(self, lines: Play, *, seconds: float = 5.0) -> LdapTarget:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pem_files(self.folder, "server", *IGC.leaf("localhost", san=("localhost",))))
        (self.folder / "anchors.pem").write_bytes(IGC.anchors_pem)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await lines(reader, writer)
            except (OSError, EOFError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        self.servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return LdapTarget(f"ldaps://localhost:{port}", self.folder / "anchors.pem", seconds, seconds, seconds)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server(tmp_path)
    yield found
    for one in found.servers:
        one.close()


def answers(*octets: bytes) -> Play:
    async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"".join(octets))
        await writer.drain()
        await reader.read(4096)

    return lines


async def search(target: LdapTarget, most: int = 1000) -> list[LdapEntry]:
    async with LdapClient(target) as client:
        return [one async for one in client.search("", "(mail=*)", ["mail"], most=most, page=10)]


@pytest.mark.parametrize(("octets", "rule"), [
    (b"HTTP/1.1 200 OK\r\n\r\n", "LDAP-FORME"), (b"\x30\x84\x7f\xff\xff\xff", "LDAP-TAILLE"), (b"", "LDAP-DELAI"), (b"\x30\x50\x02", "LDAP-DELAI"),
    (message(done(51)), "LDAP-CODE-51"), (message(done(10)), "LDAP-CODE-10"), (message(done(4)), "LDAP-NOMBRE"),
    (message(done(52, 0x78), 0), "LDAP-INJOIGNABLE"), (message(done(), 9), "LDAP-INJOIGNABLE"), (message(entry()) * 50, "LDAP-NOMBRE")])
async def test_a_lying_server_gets_a_typed_error(server: Server, octets: bytes, rule: str) -> None:
    target = await server.play(answers(octets), seconds=0.3 if rule == "LDAP-DELAI" else 5.0)
    with pytest.raises(MssFault) as caught:
        await search(target, most=20)
    assert caught.value.rule == rule


async def test_references_are_never_followed_and_do_not_end_a_search(server: Server) -> None:
    reference = tlv(0x73, tlv(0x04, b"ldap://ailleurs.example/dc=x"))
    target = await server.play(answers(message(reference), message(entry(b"cn=a")), message(done())))
    assert [one.dn for one in await search(target)] == ["cn=a"]


async def test_empty_pages_without_end_come_to_one(server: Server) -> None:
    asked = []

    async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(4096):
            asked.append(octets)
            writer.write(message(done(), len(asked), cookie(str(len(asked)).encode())))

    with pytest.raises(MssFault) as caught:
        await search(await server.play(lines), most=10)
    assert caught.value.rule == "LDAP-NOMBRE" and len(asked) < 130


async def test_a_slow_drip_ends_by_the_time_of_the_search(server: Server) -> None:
    async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        while True:
            writer.write(message(entry()))
            await writer.drain()
            await asyncio.sleep(0.02)

    target = await server.play(lines, seconds=0.3)
    with pytest.raises(MssFault) as caught:
        await search(target, most=1_000_000)
    assert caught.value.rule == "LDAP-DELAI"


async def test_a_password_is_never_said_before_tls(tmp_path: Path) -> None:
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4096))
        writer.write(message(done(0, 0x78)) + message(done(0, 0x61), 2))  # StartTLS and a forged bind in one breath
        heard.extend(await reader.read(4096))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    (tmp_path / "anchors.pem").write_bytes(IGC.anchors_pem)
    port = listening.sockets[0].getsockname()[1]
    with pytest.raises(MssFault):
        await LdapClient(LdapTarget(f"ldap://localhost:{port}", tmp_path / "anchors.pem", 2.0), "cn=a", "tres-secret").open()
    listening.close()
    assert b"tres-secret" not in heard and ldap_wire.STARTTLS in heard


@pytest.mark.parametrize("url", ["", "http://x", "ldaps://", "ldaps://x:99999", "ldapi:///x", "ldaps://[::1"])
def test_a_bad_address_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(MssFault) as caught:
        LdapTarget(url, tmp_path).place  # noqa: B018
    assert caught.value.rule == "LDAP-CONFIG"


def test_the_mapping_is_the_configuration_s() -> None:
    assert attribute_map({"town": "", "holder_id": "employeeNumber"}).keys() >= {"address", "holder_id"} and "town" not in attribute_map({"town": ""})
    for wrong in ({"nothing": "x"}, {"town": "l)(x=*"}, {"address": ""}, {"lines": "street"}, {"rank": "x"}):
        with pytest.raises(InputFault):
            attribute_map(wrong)
    found = mailbox_of(LdapEntry("x", {"mail": (b"A@B.fr",), "t": (b"app",), "sn": ("é\r\nx".encode() * 500,), "usercertificate": (b"no", b"\x30x")}),
                       attribute_map({"type": "t"}))
    assert (found.entry.address, found.entry.type, found.certificates) == ("a@b.fr", "APP", (b"\x30x",)) and len(found.entry.family_name) <= 500


async def test_a_server_that_fails_is_left_in_peace(tmp_path: Path) -> None:
    directory = LdapDirectory(LdapSource(LdapTarget("ldaps://localhost:1", tmp_path / "none"), "dc=x", attribute_map({})), FakeClock())
    rules = []
    for _ in range(6):
        with pytest.raises(MssFault) as caught:
            await directory.find("a@b.fr")
        rules.append(caught.value.rule)
    assert rules == ["LDAP-INJOIGNABLE"] * 5 + ["ANNUAIRE-COUPE"]
