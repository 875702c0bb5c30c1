"""Two Python libraries on a running alpha, the whole way: append, search, idle, move (stdlib `imaplib`, `aioimaplib`).

Two sessions at a time: what one does, the other is told of.
"""

from __future__ import annotations

import asyncio
import imaplib
import re

import pytest
from aioimaplib import aioimaplib
from support.lab import RunningLab, letter, report

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

BOX = "user0012@alpha.mssante.test"
OTHER_BOX = "user0013@alpha.mssante.test"
SENDER = "medecin@gamma.mssante.test"
imaplib.Commands.setdefault("MOVE", ("SELECTED",))


def test_imaplib_appends_searches_idles_and_moves(running_lab: RunningLab) -> None:
    with running_lab.reader(BOX) as reader, running_lab.reader(BOX) as watcher:
        watcher.client.send(b"w1 IDLE\r\n")
        assert watcher.client.readline().startswith(b"+")
        date = '"03-Feb-2025 04:05:06 +0100"'
        done, said = reader.client.append("INBOX", r"(\Seen $Label1)", date, letter(SENDER, BOX, "imaplib-flow"))
        assert done == "OK"
        placed = re.search(rb"\[APPENDUID \d+ (\d+)\]", said[0])
        assert placed is not None
        uid = placed[1].decode()
        watcher.client.sock.settimeout(10)
        assert watcher.client.readline() == b"* 1 EXISTS\r\n"

        reader.client.noop()
        for words in (("KEYWORD", "$Label1"), ("SEEN", "SINCE", "1-Feb-2025", "BEFORE", "4-Feb-2025"), ("HEADER", "X-Id", "imaplib-flow"),
                      ("OR", "FLAGGED", "SUBJECT", "essai"), ("BODY", "essai"), ("NOT", "DELETED", "SMALLER", "100000")):
            done, found = reader.client.uid("SEARCH", *words)
            expected = b"" if words[0] == "BODY" else uid.encode()
            assert (done, found[0] or b"") == ("OK", expected), words
        _, answer = reader.client.uid("FETCH", uid, "(FLAGS INTERNALDATE)")
        assert b"$Label1" in answer[0] and b'" 3-Feb-2025 03:05:06 +0000"' in answer[0]

        assert reader.client.uid("MOVE", uid, "Archive")[0] == "OK"
        told = [watcher.client.readline()]
        while told[-1] != b"* 1 EXPUNGE\r\n":
            told.append(watcher.client.readline())
        assert [line.split()[1] for line in told] == [b"FLAGS", b"OK", b"1"], told  # the new keyword first
        watcher.client.send(b"DONE\r\n")
        assert watcher.client.readline().startswith(b"w1 OK")
        reader.client.select("Archive")
        assert reader.client.uid("SEARCH", "KEYWORD", "$Label1")[1] != [b""]
    report("imaplib-flow.txt", f"imaplib {imaplib.__version__}: append, search, idle, move")


async def test_aioimaplib_appends_searches_idles_and_moves(running_lab: RunningLab) -> None:
    account = running_lab.operator("alpha").account(OTHER_BOX)
    assert account is not None
    _, port = running_lab.address("alpha", "imaps")

    async def session() -> aioimaplib.IMAP4_SSL:
        client = aioimaplib.IMAP4_SSL("localhost", port, ssl_context=running_lab.anchors(), timeout=20)
        await client.wait_hello_from_server()
        assert (await client.login(account.login, account.password)).result == "OK"
        assert (await client.select("INBOX")).result == "OK"
        return client

    writer, watcher = await session(), await session()
    idle = await watcher.idle_start(timeout=30)
    done = await writer.append(letter(SENDER, OTHER_BOX, "aioimaplib-flow"), mailbox="INBOX", flags=r"\Flagged")
    assert done.result == "OK"
    assert b"1 EXISTS" in await watcher.wait_server_push(timeout=10)
    await writer.noop()
    found = await writer.uid_search("FLAGGED", "HEADER", "X-Id", "aioimaplib-flow")
    uid = found.lines[0].decode()
    assert uid.isdigit()
    assert (await writer.uid("move", uid, "Archive")).result == "OK"
    assert b"1 EXPUNGE" in await watcher.wait_server_push(timeout=10)
    watcher.idle_done()
    await asyncio.wait_for(idle, 10)
    assert (await watcher.status("Archive", "(MESSAGES UNSEEN)")).lines[0] == b"Archive (MESSAGES 1 UNSEEN 1)"
    for client in (writer, watcher):
        assert (await client.logout()).result == "OK"
    report("aioimaplib-flow.txt", "aioimaplib: append, search, idle, move")
