"""The IMAP source against servers that play a part: honest, lying, hostile, dying. Real TLS on loopback."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.pki import build_igc, pem_files

from mssante.errors import InputFault, MssFault, PeerFault
from mssante.services.importing_source import ItemFault, SourceFolder, SourceItem
from mssante.transport.imap_source import GROUP_OCTETS, ImapAccount, ImapSource, quoted

INBOX = SourceFolder("INBOX", ("INBOX",))
Answer = Callable[[bytes, bytes], bytes | None]  # (tag, command line) -> octets to send, None: hang up


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts its authority."""
    folder = tmp_path_factory.mktemp("tls")
    igc = build_igc()
    certificate, key = igc.leaf("localhost")
    pem_files(folder / "certs", "mta", [certificate, igc.organisations.certificate], key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certs" / "mta.pem", folder / "certs" / "mta.key")
    return server, ssl.create_default_context(cadata=igc.anchors_pem.decode())


class Played:
    """A server of one account: `answers` maps the start of a command to what is said."""

    def __init__(self, **answers: bytes | Answer | None) -> None:
        self.answers: dict[str, bytes | Answer | None] = {
            "CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n%t OK done\r\n", "LOGIN": b"%t OK in\r\n", "LOGOUT": b"* BYE\r\n%t OK out\r\n",
            "LIST": b'* LIST () "/" INBOX\r\n%t OK done\r\n', "EXAMINE": b"* OK [UIDVALIDITY 7] x\r\n%t OK [READ-ONLY] done\r\n",
            "UID SEARCH": b"* SEARCH 3 1 2\r\n%t OK done\r\n", **{name.replace("_", " "): said for name, said in answers.items()}}
        self.seen: list[bytes] = []
        self.tasks: set[asyncio.Task[None] | None] = set()
        self.greeting = b"* OK hello\r\n"
        self.tls: ssl.SSLContext | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.tasks.add(asyncio.current_task())
        writer.write(self.greeting)
        try:
            while line := await reader.readline():
                tag, _, command = line.rstrip(b"\r\n").partition(b" ")
                self.seen.append(command)
                name = next((one for one in self.answers if command.upper().startswith(one.encode())), "")
                said = self.answers.get(name, b"%t BAD no\r\n")
                said = said(tag, command) if callable(said) else said
                if said is None:
                    break
                writer.write(said.replace(b"%t", tag))
                await writer.drain()
                if name == "STARTTLS" and self.tls is not None:
                    await writer.start_tls(self.tls)
        except (ConnectionError, ssl.SSLError):
            pass
        writer.close()


@asynccontextmanager
async def playing(played: Played, contexts: tuple[ssl.SSLContext, ssl.SSLContext], *, implicit: bool = True,
                  seconds: float = 5) -> AsyncIterator[ImapSource]:
    """A source on a server that plays."""
    server = await asyncio.start_server(played.serve, "localhost", 0, ssl=contexts[0] if implicit else None)
    port = server.sockets[0].getsockname()[1]
    source = ImapSource(ImapAccount("localhost", port, 'me "x"', "pass\\word", contexts[1], implicit, seconds))
    try:
        yield source
    finally:
        await source.close()
        server.close()
        await asyncio.gather(*[task for task in played.tasks if task is not None], return_exceptions=True)


def fetching(octets: dict[int, bytes], sizes: dict[int, int] | None = None) -> Answer:
    """Answer UID FETCH for these messages; partial when asked. sizes: what is said of them."""
    def answer(tag: bytes, command: bytes) -> bytes:
        uids = [int(one) for one in command.split()[2].split(b",")]
        asked = re.search(rb"<(\d+)\.(\d+)>", command)
        out = b""
        for uid in uids:
            raw = octets.get(uid)
            if raw is None:
                continue
            if b"BODY" not in command:
                out += b'* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE "01-Feb-2025 00:00:00 +0000" RFC822.SIZE %d)\r\n' % (
                    uid, uid, (sizes or {}).get(uid, len(raw)))
                continue
            part = raw[int(asked[1]):int(asked[1]) + int(asked[2])] if asked else raw
            mark = b"<%d>" % int(asked[1]) if asked else b""
            out += b"* %d FETCH (UID %d BODY[]%b {%d}\r\n%b)\r\n" % (uid, uid, mark, len(part), part)
        return out + tag + b" OK done\r\n"
    return answer


async def all_items(source: ImapSource) -> list[SourceItem]:
    """Give every item of INBOX."""
    return [item async for page in source.pages(INBOX) for item in page]


async def whole(source: ImapSource, item: SourceItem) -> bytes:
    """Give the octets of an item."""
    return b"".join([piece async for piece in source.octets(item)])


def test_only_this_module_imports_the_extra() -> None:
    package = Path(__file__).resolve().parents[3] / "mssante"
    found = [file.name for file in package.rglob("*.py") if re.search(r"^\s*(?:from|import) aioimaplib", file.read_text(), re.MULTILINE)]
    assert found == ["imap_source.py"]


async def test_small_messages_come_together_and_large_ones_in_pieces(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    letters = {1: b"A: b\r\n\r\n) x\r\n", 2: b"L" * (2 * GROUP_OCTETS + 5), 3: b"C: d\r\n\r\n"}
    played = Played(UID_FETCH=fetching(letters))
    async with playing(played, contexts) as source:
        await source.open()
        assert await source.folders() == [INBOX]
        items = await all_items(source)
        assert [(one.identity, one.flags, one.size) for one in items] == [("7 1", 1, 13), ("7 2", 1, len(letters[2])), ("7 3", 1, 8)]
        source.plan(items)
        assert [await whole(source, item) for item in items] == [letters[uid] for uid in (1, 2, 3)]
        source.plan([items[0], items[2]])
        played.seen.clear()
        assert [await whole(source, items[0]), await whole(source, items[2])] == [letters[1], letters[3]]
        assert played.seen == [b"UID FETCH 1,3 (UID BODY.PEEK[])"]


async def test_login_is_quoted_and_examine_changes_nothing(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    played = Played(UID_FETCH=fetching({}))
    async with playing(played, contexts) as source:
        await source.open()
        assert await all_items(source) == []
    assert b'LOGIN "me \\"x\\"" "pass\\\\word"' in played.seen
    assert not [one for one in played.seen if one.startswith((b"SELECT", b"STORE"))]
    with pytest.raises(InputFault):
        quoted("a\r\nb")


async def test_a_message_that_went_away_is_a_fault_of_its_own(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    letters = {1: b"a", 2: b"b" * (GROUP_OCTETS + 1), 3: b"c"}
    async with playing(Played(UID_FETCH=fetching(letters)), contexts) as source:
        await source.open()
        items = await all_items(source)
        source.plan(items)
        del letters[1], letters[2]
        for item in items[:2]:
            with pytest.raises(ItemFault):
                await whole(source, item)
        assert await whole(source, items[2]) == b"c"


async def test_a_refused_folder_is_a_note(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with playing(Played(EXAMINE=b"%t NO no\r\n"), contexts) as source:
        await source.open()
        assert await all_items(source) == []
        assert [(one.folder, one.lost) for one in source.notes()] == [("INBOX", True)]
        assert source.notes() == []


@pytest.mark.parametrize(("said", "rule"), [
    (b"%t NO no\r\n", "IMPORT-LOGIN"), (b"%t BAD no\r\n", "IMPORT-LOGIN"), (None, "IMPORT-IMAP")])
async def test_a_refused_login(said: bytes | None, rule: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with playing(Played(LOGIN=said), contexts) as source:
        with pytest.raises(MssFault) as caught:
            await source.open()
    assert caught.value.rule == rule and "pass\\word" not in str(caught.value)


async def test_a_server_that_forbids_login(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    played = Played(CAPABILITY=b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n%t OK\r\n")
    async with playing(played, contexts) as source:
        with pytest.raises(PeerFault):
            await source.open()
    assert not any(one.startswith(b"LOGIN") for one in played.seen)


@pytest.mark.parametrize("search", [
    b"* 1 FETCH (UID 1 BODY[] {9999999999}\r\n" + b"x" * 3_000_000, b"* SEARCH" + b" 1" * 5_000_000, b"\r\n" * 40_000, None])
async def test_hostile_answers_end_the_import_with_a_fault(search: bytes | None, monkeypatch: pytest.MonkeyPatch,
                                                           contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    monkeypatch.setattr("mssante.transport.imap_source.LIST_OCTETS", 2_000_000)
    async with playing(Played(UID_SEARCH=search), contexts, seconds=1) as source:
        await source.open()
        with pytest.raises(PeerFault, match="IMPORT-IMAP"):
            await asyncio.wait_for(all_items(source), 20)


async def test_a_message_longer_than_said_is_cut_off(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    played = Played(UID_FETCH=fetching({1: b"x" * 5_000_000}, {1: 10}))
    async with playing(played, contexts) as source:
        await source.open()
        (item,) = await all_items(source)
        source.plan([item])
        with pytest.raises(PeerFault, match="too long"):
            await whole(source, item)


async def test_a_thousand_folders_in_one_piece(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    listed = b"".join(b'* LIST () "/" f%04d\r\n' % rank for rank in range(3000))
    async with playing(Played(LIST=listed + b"%t OK done\r\n"), contexts) as source:
        await source.open()
        assert len(await source.folders()) == 3000


async def test_starttls_and_what_was_said_before_it(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    played = Played(STARTTLS=b"%t OK go\r\n", UID_FETCH=fetching({1: b"a"}))
    played.tls = contexts[0]
    async with playing(played, contexts, implicit=False) as source:
        await source.open()
        assert len(await all_items(source)) == 1
    order = [one.split()[0] for one in played.seen]
    assert order[:4] == [b"CAPABILITY", b"STARTTLS", b"CAPABILITY", b"LOGIN"]


@pytest.mark.parametrize("said", [b"%t OK go\r\n* CAPABILITY IMAP4rev1\r\n", b"%t OK go\r\n* PREAUTH", b"%t NO no\r\n", b"%t OK go\r\n", None])
async def test_starttls_that_is_refused_or_poisoned(said: bytes | None, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The fourth says yes and then speaks no TLS."""
    played = Played(STARTTLS=said)
    async with playing(played, contexts, implicit=False, seconds=1) as source:
        with pytest.raises(PeerFault):
            await asyncio.wait_for(source.open(), 20)
    assert not any(one.startswith(b"LOGIN") for one in played.seen), "no password in clear"


async def test_a_certificate_of_another_name_or_authority_is_refused(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with playing(Played(), (contexts[0], ssl.create_default_context())) as source:
        with pytest.raises(PeerFault, match="IMPORT-TLS"):
            await source.open()
    played = Played()
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0, ssl=contexts[0])
    port = server.sockets[0].getsockname()[1]
    source = ImapSource(ImapAccount("127.0.0.1", port, "me", "x", contexts[1]))
    with pytest.raises(PeerFault, match="IMPORT-TLS"):
        await source.open()
    await source.close()
    server.close()
