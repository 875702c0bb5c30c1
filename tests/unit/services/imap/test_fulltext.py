"""SEARCH TEXT and BODY through the index: same results with and without it, whatever it has reached."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build, offer, simple
from support.pdffiles import pdf_of

from mssante.endpoints.imap import ImapEndpoint
from mssante.protocol.imap.collation import fold
from mssante.protocol.imap.searchkeys import TextKey, TextPlace
from mssante.services.imap.searchtext import TextSearch


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def logged_in(stage: Stage) -> Client:
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    assert (await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"'))[-1].startswith("l OK")
    assert (await client.ask("s SELECT INBOX"))[-1].startswith("s OK")
    return client


async def search(client: Client, keys: str) -> list[int]:
    await client.ask("n NOOP")  # what was delivered meanwhile is told
    lines = await client.ask("q SEARCH " + keys)
    assert lines[-1].startswith("q OK"), lines
    return [int(word) for word in lines[0].split()[2:]]


def attached(media: str, name: str, raw: bytes) -> bytes:
    return (f"From: a@b.fr\r\nSubject: piece\r\nMIME-Version: 1.0\r\nContent-Type: {media}; name={name}\r\n"
            "Content-Transfer-Encoding: base64\r\n\r\n").encode() + base64.encodebytes(raw).replace(b"\n", b"\r\n")


def xdm() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("IHE_XDM/SUBSET01/DOC0001.XML", '<ClinicalDocument xmlns="urn:hl7-org:v3"><title>Bilan néphrologique</title></ClinicalDocument>')
    return buffer.getvalue()


QUESTIONS = ['BODY "fracture du tibia"', "BODY BILAN", "BODY nephro", "TEXT radio.pdf", "BODY doc0001", 'TEXT "Subject: bonjour"', "BODY bonjour", "TEXT bonjour",
             'BODY "premier message."', "NOT BODY message", "OR BODY premier BODY tibia", "BODY x", "TEXT @", 'BODY ""', "BODY absent", 'FUZZY BODY "message premier"',
             'BODY "docteur"', 'TEXT "p { color"']


async def test_results_are_the_same_before_during_and_after_indexing(stage: Stage) -> None:
    client = await logged_in(stage)
    for name in ("hello", "second", "html", "mixed"):
        await stage.deliver("INBOX", name)
    await stage.deliver_octets("INBOX", attached("application/pdf", "radio.pdf", pdf_of(["Fracture du tibia"])))
    before = {one: await search(client, one) for one in QUESTIONS}
    assert before['BODY "fracture du tibia"'] == before["TEXT radio.pdf"] == [5]
    assert before["TEXT bonjour"] == [1, 3, 4] and before["BODY bonjour"] == [3, 4]
    assert before['BODY "docteur"'] == [3] and before['TEXT "p { color"'] == []
    assert await stage.indexer().catch_up() == 5
    assert {one: await search(client, one) for one in QUESTIONS} == before
    await stage.deliver_octets("INBOX", attached("application/zip", "IHE_XDM.ZIP", xdm()))
    half = {one: await search(client, one) for one in QUESTIONS}  # five from the index, one read
    assert half["BODY nephro"] == half["BODY doc0001"] == [6]
    assert await stage.indexer().catch_up() == 1
    assert {one: await search(client, one) for one in QUESTIONS} == half


async def test_an_indexed_message_is_not_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await logged_in(stage)
    for _ in range(3):
        await stage.deliver("INBOX", "hello")
    await stage.indexer().catch_up()

    async def never(self: object, ids: object) -> None:
        raise AssertionError("a message was read")

    monkeypatch.setattr(TextSearch, "_read", never)
    assert await search(client, "BODY premier") == [1, 2, 3]
    assert await search(client, "2:3 TEXT alpha") == [2, 3]


async def test_expunged_messages_are_never_found(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello")
    await stage.deliver("INBOX", "hello")
    client = await logged_in(stage)
    await stage.indexer().catch_up()
    await client.ask("a STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ask("b EXPUNGE")
    assert await search(client, "BODY premier") == [1]


async def test_a_copy_in_another_folder_is_found_at_once(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello")
    client = await logged_in(stage)
    await stage.indexer().catch_up()
    await client.ask("a COPY 1 Archive")
    await client.ask("b SELECT Archive")
    assert await search(client, "BODY premier") == [1]
    lines = await client.ask("c ESEARCH IN (personal) RETURN (COUNT) BODY premier")
    assert sum(" COUNT 1" in line for line in lines) == 2


async def test_without_an_index_every_message_is_read(tmp_path: Path) -> None:
    stage = await build(tmp_path)
    endpoint = ImapEndpoint(replace(stage.services, texts=None), offer=offer())
    client = Client(endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    await client.ask("s SELECT INBOX")
    await stage.deliver("INBOX", "hello")
    await stage.deliver_octets("INBOX", attached("application/pdf", "radio.pdf", pdf_of(["Fracture"])))
    assert await search(client, "BODY premier") == [1]
    assert await search(client, "BODY radio.pdf") == [2]
    assert await search(client, "BODY fracture") == []  # PDF files are read once, by the indexer
    await stage.close()


_WORDS = st.lists(st.sampled_from(["été", "Ça", "cœur", "a-b", "12/03", "x,", "(y)", "Straße", "É.", "résumé"]), min_size=1, max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(_WORDS, min_size=1, max_size=4), wanted=st.lists(st.tuples(_WORDS, st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=4))
async def test_index_gives_all_that_a_plain_scan_gives(tmp_path_factory: pytest.TempPathFactory, bodies: list[list[str]],
                                                       wanted: list[tuple[list[str], int, int]]) -> None:
    stage = await build(tmp_path_factory.mktemp("mail"))
    texts = [" ".join(words) for words in bodies]
    for text in texts:
        await stage.deliver_octets("INBOX", simple("s", "a@b.fr", text))
    client = await logged_in(stage)
    needles = [" ".join(words)[start:start + length].strip() for words, start, length in wanted]
    await stage.indexer().catch_up()
    for needle in filter(None, needles):
        assert stage.services.texts is not None
        plain = [number for number, text in enumerate(texts, 1) if fold(needle) in fold(text)]
        key = needle.encode()
        client.send(b"q SEARCH CHARSET UTF-8 BODY {%d+}\r\n%s\r\n" % (len(key), key))
        line = await client.line()
        assert (await client.line()).startswith("q OK")
        assert [int(word) for word in line.split()[2:]] == plain
    await stage.close()


async def test_statements_do_not_grow_with_messages(stage: Stage) -> None:
    assert TextKey(TextPlace.BODY, "x")
    client = await logged_in(stage)
    reads = []
    for count in (2, 30):
        for _ in range(count):
            await stage.deliver("INBOX", "hello")
        await stage.indexer().catch_up()
        seen: list[str] = []
        first = stage.stores.database.read

        async def counted(unit: object, *, quick: bool = False, first: object = first, seen: list[str] = seen) -> object:
            seen.append("read")
            return await first(unit, quick=quick)  # type: ignore[operator]

        stage.stores.database.read = counted  # type: ignore[method-assign, assignment]
        assert len(await search(client, "TEXT premier")) >= count
        stage.stores.database.read = first  # type: ignore[method-assign]
        reads.append(len(seen))
    assert reads[0] == reads[1] <= 1  # that of NOOP
