"""SORT against a naive sort, SEARCH of header fields against a scan of the messages, ESEARCH bounds."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build

from mssante.protocol.imap.collation import casemap, fold
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.dates import parse_date
from mssante.protocol.mime.headers import decode_words, read_headers
from mssante.protocol.mime.subject import base_subject
from mssante.services.imap import multisearch
from mssante.services.imap.settings import ImapSettings

SUBJECTS = ["Bilan", "Re: Bilan", "[liste] bilan (fwd)", "=?utf-8?q?=C3=89tude?=", "etude", "Zèbre", "", "A" * 600 + "fin", "Été =?utf-8?q?_x?="]
PEOPLE = ["Zoé <a@x.fr>", "=?utf-8?q?=C3=89va?= <b@x.fr>", "c@x.fr", "Groupe: d@x.fr, e@x.fr;", '"q, r" <B@y.fr>', ""]
DATES = ["Mon, 02 Mar 2026 10:00:00 +0100", "Mon, 02 Mar 2026 09:30:00 -0500", "02 Mar 2026 11:00:00 +0000", "hier", ""]


def made(random_of: random.Random) -> bytes:
    lines = [("Subject", random_of.choice(SUBJECTS)), ("From", random_of.choice(PEOPLE)), ("To", random_of.choice(PEOPLE)),
             ("Cc", random_of.choice(PEOPLE)), ("Date", random_of.choice(DATES)), ("X-Mot", random_of.choice(["un", "Dé", ""]))]
    random_of.shuffle(lines)
    header = "".join(f"{name}: {value}\r\n" for name, value in lines if value or random_of.random() < 0.3)
    return header.encode() + b"\r\n" + b"x" * random_of.randrange(30)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made_stage = await build(tmp_path, ImapSettings(hostname="imap.example", chunk_messages=7))
    yield made_stage
    await made_stage.close()


async def client_of(stage: Stage) -> Client:
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    await client.ask("s SELECT INBOX")
    return client


async def filled(stage: Stage, seed: int, count: int = 60) -> tuple[Client, list[bytes]]:
    random_of = random.Random(seed)
    messages = [made(random_of) for _ in range(count)]
    for message in messages:
        await stage.deliver_octets("INBOX", message)
    return await client_of(stage), messages


def field(message: bytes, name: bytes) -> bytes:
    return read_headers(message).get(name) or b""


def mailbox(message: bytes, name: bytes) -> str:
    people = parse_addresses(field(message, name))
    return casemap((people[0].local or b"").decode("utf-8", "replace")) if people else ""


def display(message: bytes, name: bytes) -> str:
    people = parse_addresses(field(message, name))
    if not people:
        return ""
    one = people[0]
    shown = decode_words(one.display or b"")
    address = (one.local or b"") + (b"@" + one.domain if one.domain else b"")
    return casemap(shown or address.decode("utf-8", "replace"))


KEYS = {
    "SUBJECT": lambda message: casemap(base_subject(decode_words(field(message, b"subject"), 512))[0]),
    "FROM": lambda message: mailbox(message, b"from"),
    "TO": lambda message: mailbox(message, b"to"),
    "CC": lambda message: mailbox(message, b"cc"),
    "DISPLAYFROM": lambda message: display(message, b"from"),
    "DISPLAYTO": lambda message: display(message, b"to"),
    "SIZE": len,
    "DATE": lambda message: getattr(parse_date(field(message, b"date")), "timestamp", lambda: 1772368245.0)(),
    "ARRIVAL": lambda message: 0,
}


@pytest.mark.parametrize("seed", range(4))
async def test_sort_is_what_a_naive_sort_gives(stage: Stage, seed: int) -> None:
    client, messages = await filled(stage, seed)
    random_of = random.Random(seed)
    for round_number in range(12):
        order = [(random_of.choice(sorted(KEYS)), random_of.random() < 0.5) for _ in range(random_of.randint(1, 3))]
        text = " ".join(("REVERSE " if reverse else "") + name for name, reverse in order)
        lines = await client.ask(f"t{round_number} UID SORT ({text}) UTF-8 ALL")
        expected = list(range(len(messages)))
        for name, reverse in reversed(order):
            expected.sort(key=lambda place, name=name: KEYS[name](messages[place]), reverse=reverse)
        assert lines[0] == "* SORT " + " ".join(str(place + 1) for place in expected), text


@pytest.mark.parametrize("seed", range(3))
async def test_search_of_headers_is_what_a_scan_of_the_messages_gives(stage: Stage, seed: int) -> None:
    client, messages = await filled(stage, seed)
    for number, (key, name) in enumerate([("SUBJECT", b"subject"), ("FROM", b"from"), ("TO", b"to"), ("CC", b"cc"),
                                          ("HEADER Subject", b"subject"), ("HEADER X-Mot", b"x-mot")]):
        for text in ("bilan", "etude", "FIN", "a@x", "zoe", "groupe", "de", "q, r", "introuvable", ""):
            if name in (b"from", b"to", b"cc"):
                texts = [", ".join(decode_words(one.display or b"") + " <" + ((one.local or b"") + b"@" + (one.domain or b"")).decode() + ">"
                                   for one in parse_addresses(field(message, name))) for message in messages]
            else:
                texts = [decode_words(field(message, name), 16_384) for message in messages]
            expected = [place + 1 for place, (message, value) in enumerate(zip(messages, texts, strict=True))
                        if fold(text) in fold(value) and (value or (name == b"x-mot" and read_headers(message).get(name) is not None))]
            for again in range(2):  # from the store, then from what is kept
                (line, _) = await client.ask(f'u{number}{again} SEARCH {key} "{text}"')
                assert line == " ".join(["* SEARCH", *map(str, expected)]), (key, text)


async def test_without_room_in_the_cache_answers_are_the_same(tmp_path: Path) -> None:
    answers = []
    for size in (64 * 1024 * 1024, 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        made_stage = await build(folder, ImapSettings(hostname="imap.example", cache_bytes=size))
        client, _ = await filled(made_stage, 5, 20)
        answers.append([await client.ask(f"t{number} {command}") for number, command in enumerate(
            ["SORT (SUBJECT DATE) UTF-8 ALL", "SEARCH FROM zo", "THREAD REFERENCES UTF-8 ALL", "SORT (SUBJECT DATE) UTF-8 ALL"])])
        await made_stage.close()
    assert answers[0] == answers[1]


async def test_search_of_too_many_folders_is_refused_before_any_is_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await client_of(stage)
    for name in ("INBOX", "Archive", "Sent"):
        await stage.deliver(name, "hello")
    monkeypatch.setattr(multisearch, "MAX_FOLDERS", 2)
    held = len(stage.services.registry)
    assert (await client.ask("a ESEARCH IN (personal) ALL"))[-1].startswith("a NO [LIMIT]")
    assert len(stage.services.registry) == held
    monkeypatch.setattr(multisearch, "MAX_FOLDERS", 3)
    lines = await client.ask("b ESEARCH IN (personal) ALL")
    assert len([line for line in lines if line.startswith("* ESEARCH")]) == 2  # INBOX is open, its message is not told yet
    monkeypatch.setattr(multisearch, "MAX_MESSAGES", 2)
    assert (await client.ask("c ESEARCH IN (personal) ALL"))[-1].startswith("c NO [LIMIT]")


async def test_hostile_searches_are_bad_and_the_session_goes_on(stage: Stage) -> None:
    client = await client_of(stage)
    for number, command in enumerate([
            "SEARCH " + "FUZZY " * 30 + "ALL", "SORT (" + " ".join(["DATE"] * 30) + ") UTF-8 ALL", "THREAD REFERENCES UTF-8 " + "NOT " * 30 + "ALL",
            "ESEARCH IN (" + " ".join(["personal"] * 60) + ") ALL", "ESEARCH IN (mailboxes (" + " ".join(["a"] * 600) + ")) ALL",
            "CANCELUPDATE " + " ".join(['"x"'] * 200), "SEARCH EMAILID " + "a" * 300]):
        assert (await client.ask(f"h{number} {command}"))[-1].startswith(f"h{number} BAD")
    assert (await client.ask("z NOOP"))[-1].startswith("z OK")
