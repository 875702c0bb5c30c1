"""The CardDAV face over HTTP: who may ask, what each resource tells, what is refused and in which words."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from lxml import etree
from support.clock import FakeClock

from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence
from mssante.directory.vcard import card_of
from mssante.endpoints import carddav
from mssante.endpoints.carddav import CardDav, CardParts
from mssante.endpoints.carddav_tree import Kind, Place, path_of, place_of
from mssante.endpoints.web import WebDoor
from mssante.errors import OperatorFault
from mssante.services.cardbooks import FRESH_SECONDS, AddressBooks
from mssante.storage.interfaces import Account

SPACES = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/"'
NS = {"D": "DAV:", "C": "urn:ietf:params:xml:ns:carddav", "S": "http://calendarserver.org/ns/"}
BOOK, SEARCH = "/carddav/books/colleagues/", "/carddav/directory/"
ODD = "a/b%+c&d#'e@far.fr"


def entry(address: str, **given: str) -> DirectoryEntry:
    return DirectoryEntry(address, "PER", family_name=address.partition("@")[0].upper(), given_name="Léa", **given)


class Desk:
    def __init__(self) -> None:
        self.entries = {one.address: one for one in (entry("claire@ours.fr"), entry("paul@ours.fr"), entry(ODD), entry("anne@far.fr"))}
        self.hold: asyncio.Event | None = None
        self.fault: Exception | None = None

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        return Finding(address, Presence.UNKNOWN)

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        if self.hold is not None:
            await self.hold.wait()
        return [one for one in self.entries.values() if query.text.lower() in one.name.lower()]

    async def published(self, addresses: Sequence[str]) -> Mapping[str, tuple[DirectoryEntry, ...]]:
        if self.fault is not None:
            raise self.fault
        return {one: (self.entries[one],) for one in addresses if one in self.entries}


class Database:
    async def read(self, unit: Any, **given: Any) -> Any:
        return unit(None)


class Accounts:
    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        return Account(7 if login == "claire" else 8, login, "", True, (1,)) if password == "good" and protocol == "carddav" else None


def stores(desk: Desk) -> Any:
    def boxes(tx: Any, *, limit: int = 1000, after: str = "") -> list[Any]:
        return [SimpleNamespace(address=one) for one in sorted(desk.entries) if one.endswith("@ours.fr")]

    accounts = SimpleNamespace(mailboxes_by_id=lambda tx, ids: [SimpleNamespace(address="claire@ours.fr")], list_mailboxes=boxes)
    written = [SimpleNamespace(address=ODD, sent=1), SimpleNamespace(address="anne@far.fr", sent=0)]
    return SimpleNamespace(database=Database(), accounts=accounts, exchanges=SimpleNamespace(correspondents=lambda tx, box, limit: written))


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def xpath(self, path: str) -> Any:
        return etree.fromstring(self.body).xpath(path, namespaces=NS)


class Stage:
    def __init__(self) -> None:
        self.desk, self.clock = Desk(), FakeClock()
        self.books = AddressBooks(self.desk, stores(self.desk), self.clock, frozenset(("ours.fr",)))
        self.url = ""
        self.client: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: str = "", login: str = "claire:good", **headers: str) -> Answer:
        from yarl import URL

        given = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
        async with self.client.request(method, URL(self.url + path, encoded=True), data=body.encode(), allow_redirects=False,
                                       headers=given | {name.replace("_", "-"): value for name, value in headers.items()}) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def propfind(self, path: str, properties: str, depth: str = "0") -> Answer:
        return await self.ask("PROPFIND", path, f"<propfind {SPACES}><prop>{properties}</prop></propfind>", Depth=depth)

    async def report(self, path: str, name: str, inner: str) -> Answer:
        return await self.ask("REPORT", path, f"<{name} {SPACES}>{inner}</{name}>")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found, door = Stage(), WebDoor(None)
    port = await door.open("127.0.0.1:0", CardDav(CardParts(found.books, Accounts(), found.clock)).routes())  # type: ignore[arg-type]
    found.url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as found.client:
        yield found
    await door.close()


async def test_the_way_of_a_client_from_the_bare_host(stage: Stage) -> None:
    led = await stage.ask("PROPFIND", "/.well-known/carddav", login="")
    assert led.status == 301 and led.headers["Location"] == "/carddav/"
    found = await stage.propfind("/carddav/", "<current-user-principal/>")
    principal = found.xpath("string(//D:current-user-principal/D:href)")
    assert found.status == 207 and principal == "/carddav/principal/"
    found = await stage.propfind(principal, "<C:addressbook-home-set/><C:directory-gateway/><displayname/><resourcetype/>")
    home = found.xpath("string(//C:addressbook-home-set/D:href)")
    assert found.xpath("string(//C:directory-gateway/D:href)") == SEARCH and found.xpath("string(//D:displayname)") == "claire"
    assert found.xpath("//D:resourcetype/D:principal")
    found = await stage.propfind(home, "<resourcetype/><current-user-privilege-set/>", "1")
    assert found.xpath("//D:response[.//C:addressbook]/D:href/text()") == [BOOK], "the search is no book to copy"
    assert set(found.xpath("//D:privilege/*/text() | //D:privilege/*")) and not found.xpath("//D:write | //D:all")
    options = await stage.ask("OPTIONS", BOOK)
    assert "addressbook" in options.headers["DAV"] and "PUT" not in options.headers["Allow"]


async def test_the_book(stage: Stage) -> None:
    found = await stage.propfind(BOOK, "<getetag/><resourcetype/><sync-token/><S:getctag/><x xmlns='urn:y'/>", "1")
    hrefs = found.xpath("//D:response/D:href/text()")
    assert hrefs == [BOOK, path_of(Kind.COLLEAGUES, ODD), BOOK + "claire@ours.fr.vcf", BOOK + "paul@ours.fr.vcf"]
    assert found.xpath("string(//D:response[1]//D:sync-token)") == found.xpath("string(//D:response[1]//S:getctag)") != ""
    assert found.xpath("count(//D:propstat[contains(D:status, '404')]//*[local-name()='x'])") == 4
    tags = found.xpath("//D:getetag/text()")
    for href, tag in zip(hrefs[1:], tags, strict=True):
        card = await stage.ask("GET", href)
        assert card.status == 200 and card.headers["ETag"] == tag and card.headers["Content-Type"].startswith("text/vcard")
        assert (await stage.ask("GET", href, If_None_Match=f'"x", W/{tag}')).status == 304
        assert (await stage.ask("GET", href, If_None_Match='"x"')).status == 200
        head = await stage.ask("HEAD", href)
        assert head.status == 200 and head.body == b"" and head.headers["ETag"] == tag
    assert f"EMAIL;TYPE=INTERNET:{ODD}" in (await stage.ask("GET", path_of(Kind.COLLEAGUES, ODD))).body.decode()
    latest = await stage.ask("GET", hrefs[2], Accept="text/vcard; version=4.0")
    assert b"VERSION:4.0" in latest.body and latest.headers["ETag"] != tags[1]
    assert (await stage.ask("GET", hrefs[2], Accept="image/png")).status == 406
    assert (await stage.ask("GET", BOOK + "anne@far.fr.vcf")).status == 404, "in the directory, not in the book"
    assert (await stage.ask("GET", SEARCH + "anne@far.fr.vcf")).status == 200
    assert (await stage.ask("GET", BOOK)).headers["Content-Type"].startswith("text/plain")
    every = await stage.ask("PROPFIND", hrefs[1], Depth="0")
    assert every.xpath("string(//D:getcontenttype)").startswith("text/vcard") and not every.xpath("//C:address-data")
    bare = await stage.ask("PROPFIND", BOOK, f"<propfind {SPACES}><propname/></propfind>", Depth="0")
    assert bare.xpath("//D:displayname") and not bare.xpath("string(//D:displayname)")


async def test_multiget(stage: Stage) -> None:
    hrefs = [BOOK + "claire@ours.fr.vcf", stage.url + BOOK + "paul@ours.fr.vcf", BOOK + "no@ours.fr.vcf", SEARCH + "anne@far.fr.vcf", "::["]
    found = await stage.report(BOOK, "C:addressbook-multiget", "<prop><getetag/><C:address-data/></prop>" + "".join(f"<href>{one}</href>" for one in hrefs))
    assert found.xpath("count(//C:address-data)") == 2 and found.xpath("//D:response[D:status]/D:href/text()") == hrefs[2:]
    assert "\r\nFN:Léa CLAIRE\r\n" in found.xpath("string(//C:address-data[1])")
    found = await stage.report(BOOK, "C:addressbook-multiget", f"<prop><getetag/></prop><href>{hrefs[0]}</href>")
    assert found.xpath("//D:getetag") and not found.xpath("//C:address-data")
    few = '<prop><C:address-data version="4.0"><C:prop name="EMAIL"/></C:address-data></prop>'
    found = await stage.report(BOOK, "C:addressbook-multiget", f"{few}<href>{hrefs[0]}</href>")
    assert found.xpath("string(//C:address-data)") == "BEGIN:VCARD\r\nVERSION:4.0\r\nEMAIL;TYPE=work:claire@ours.fr\r\nEND:VCARD\r\n"
    many = "".join(f"<href>{SEARCH}a{n}@far.fr.vcf</href>" for n in range(201))
    assert (await stage.report(SEARCH, "C:addressbook-multiget", f"<prop/>{many}")).status == 403


def asking(text: str, more: str = "") -> str:
    return (f"<prop><C:address-data/></prop><C:filter><C:prop-filter name='FN'><C:text-match>{text}</C:text-match></C:prop-filter></C:filter>{more}")


async def test_query(stage: Stage) -> None:
    found = await stage.report(SEARCH, "C:addressbook-query", asking("anne"))
    assert found.xpath("//D:href/text()") == [SEARCH + "anne@far.fr.vcf"]
    found = await stage.report(BOOK, "C:addressbook-query", asking("anne"))
    assert found.status == 207 and not found.xpath("//D:response")
    found = await stage.report(BOOK, "C:addressbook-query", asking("lea", "<C:limit><C:nresults>1</C:nresults></C:limit>"))
    assert found.xpath("count(//C:address-data)") == 1 and "507" in found.xpath("string(//D:response[last()]/D:status)")
    assert found.xpath("//D:response[last()]/D:error/D:number-of-matches-within-limits")
    refused = await stage.report(SEARCH, "C:addressbook-query", "<prop/><C:filter/>")
    assert refused.status == 403 and refused.xpath("//C:supported-filter") and b"CARDDAV-FILTRE" in refused.body
    assert (await stage.report(BOOK, "C:addressbook-query", "<prop/><C:filter/>")).status == 207, "a small book may be read whole"


async def test_changes_since_a_state(stage: Stage) -> None:
    def asked(token: str, more: str = "") -> str:
        return f"<sync-token>{token}</sync-token><sync-level>1</sync-level>{more}<prop><getetag/></prop>"

    first = await stage.report(BOOK, "sync-collection", asked(""))
    token = first.xpath("string(D:sync-token)")
    assert first.xpath("count(//D:getetag)") == 3
    same = await stage.report(BOOK, "sync-collection", asked(token))
    assert not same.xpath("//D:response") and same.xpath("string(D:sync-token)") == token
    stage.desk.entries["claire@ours.fr"] = entry("claire@ours.fr", town="LYON")
    del stage.desk.entries["paul@ours.fr"]
    stage.clock._elapsed += FRESH_SECONDS + 1
    found = await stage.report(BOOK, "sync-collection", asked(token))
    assert found.xpath("//D:response[D:propstat]/D:href/text()") == [BOOK + "claire@ours.fr.vcf"]
    assert found.xpath("//D:response[contains(D:status, '404')]/D:href/text()") == [BOOK + "paul@ours.fr.vcf"]
    assert found.xpath("string(D:sync-token)") not in ("", token)
    assert (await stage.report(BOOK, "sync-collection", asked(token, "<limit><nresults>1</nresults></limit>"))).status == 507
    lost = await stage.report(BOOK, "sync-collection", asked("urn:other"))
    assert lost.status == 400 and lost.xpath("/D:error/D:valid-sync-token")
    assert (await stage.report(SEARCH, "sync-collection", asked(""))).status == 403


async def test_who_may_ask(stage: Stage) -> None:
    for login in ("", "claire:bad"):
        for method, path in (("PROPFIND", "/carddav/"), ("OPTIONS", "/carddav"), ("GET", BOOK + "claire@ours.fr.vcf"), ("PUT", "/carddav/x")):
            answer = await stage.ask(method, path, login=login)
            assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Basic ") and b"MARTIN" not in answer.body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "MKCOL", "PROPPATCH", "MOVE", "COPY", "LOCK", "POST", "PATCH", "ACL"])
async def test_writes_are_refused_with_words(stage: Stage, method: str) -> None:
    answer = await stage.ask(method, BOOK + "claire@ours.fr.vcf", "x")
    assert answer.status == 403 and answer.xpath("/D:error/D:need-privileges") and "CARDDAV-LECTURE" in answer.xpath("string(//D:responsedescription)")


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), [
    ("PROPFIND", "/carddav/", "", {}, 403), ("PROPFIND", "/carddav/", "", {"Depth": "infinity"}, 403), ("PROPFIND", "/carddav/", "", {"Depth": "2"}, 400),
    ("PROPFIND", "/carddav/", "<a", {"Depth": "0"}, 400), ("PROPFIND", "/carddav/none", "", {"Depth": "0"}, 404),
    ("PROPFIND", "/carddav/", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', {"Depth": "0"}, 400),
    ("PROPFIND", "/carddav/", "<a>" + "x" * 300_000 + "</a>", {"Depth": "0"}, 413),
    ("REPORT", "/carddav/", f"<C:addressbook-query {SPACES}><C:filter/></C:addressbook-query>", {}, 403), ("REPORT", BOOK, "<principal-match xmlns='DAV:'/>", {}, 403),
    ("GET", BOOK + "none@ours.fr.vcf", "", {}, 404), ("GET", BOOK + "claire@ours.fr", "", {}, 404), ("GET", BOOK + "..%2f..%2fetc%2fpasswd.vcf", "", {}, 404),
    ("GET", BOOK + "%00.vcf", "", {}, 404), ("GET", BOOK + "a" * 1100 + ".vcf", "", {}, 404)])
async def test_bad_requests(stage: Stage, method: str, path: str, body: str, headers: dict[str, str], status: int) -> None:
    answer = await stage.ask(method, path, body, **headers)
    assert answer.status == status and b"/etc" not in answer.body and answer.xpath("/D:error/D:responsedescription")


async def test_too_many_requests(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carddav, "LIMIT", 3)
    answers = [await stage.ask("OPTIONS", BOOK) for _ in range(4)]
    assert [one.status for one in answers] == [200, 200, 200, 429] and 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert (await stage.ask("OPTIONS", BOOK, login="paul:good")).status == 200, "another account is not held back"


async def test_searches_at_once_and_too_long(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carddav, "AT_ONCE", 1)
    stage.desk.hold = asyncio.Event()
    running = asyncio.create_task(stage.report(SEARCH, "C:addressbook-query", asking("anne")))
    while not stage.desk.hold._waiters:
        await asyncio.sleep(0)
    assert (await stage.ask("OPTIONS", BOOK)).status == 429
    stage.desk.hold.set()
    assert (await running).status == 207 and (await stage.ask("OPTIONS", BOOK)).status == 200
    stage.desk.hold = asyncio.Event()
    monkeypatch.setattr(carddav, "SECONDS", 0.01)
    assert (await stage.report(SEARCH, "C:addressbook-query", asking("anne"))).status == 503


async def test_a_directory_that_is_silent_is_no_empty_book(stage: Stage) -> None:
    stage.desk.fault = OperatorFault("mirror", rule="MIROIR-LECTURE")
    answer = await stage.propfind(BOOK, "<getetag/>", "1")
    assert answer.status == 503 and b"multistatus" not in answer.body


def test_places() -> None:
    assert place_of("/carddav") == place_of("https://x:1/carddav/?a#b") == Place(Kind.ROOT)
    for address in (ODD, "é@x.fr", "a..b@x.fr"):
        path = path_of(Kind.DIRECTORY, address)
        assert place_of(path) == Place(Kind.DIRECTORY, address) and path.isascii() and path.count("/") == 3
    for path in ("", "/", "/carddavx/", BOOK + "a/b@x.fr.vcf", BOOK + ".vcf", "/carddav/books/a@x.fr.vcf", "/carddav/../books/"):
        assert place_of(path) is None
    assert card_of([entry("a@x.fr")]).address == "a@x.fr"
