"""Scripts and messages made at random: a typed fault or an outcome within bounds, never anything else."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.sieve.compile import compile_script
from mssante.protocol.sieve.faults import SieveFault
from mssante.protocol.sieve.interpreter import Surroundings
from mssante.protocol.sieve.manage import CommandReader, ManageFault
from mssante.protocol.sieve.match import glob
from mssante.protocol.sieve.message import MessageView

REQUIRE = ('require ["fileinto","imap4flags","variables","relational","date","index","copy","mailbox","vacation","envelope",'
           '"encoded-character","subaddress"];\n')
WORDS = ["if", "elsif", "else", "not", "anyof", "allof", "true", "false", "header", "address", "envelope", "exists", "size", "date",
         "currentdate", "string", "hasflag", "mailboxexists", "keep", "discard", "stop", "fileinto", "redirect", "vacation", "set",
         "addflag", "removeflag", "setflag", ":is", ":contains", ":matches", ":count", ":value", ":all", ":domain", ":index", ":last",
         ":copy", ":create", ":flags", ":days", ":lower", ":over", ":zone", '"subject"', '"a"', '"*a?"', '"${1}"', '"${a}"', '"ge"',
         '"hour"', '"\\\\Seen"', '"x@a.fr"', '["from","to"]', "1", "2K", "(", ")", "{", "}", "[", "]", ",", ";", ";", '"${hex:41}"']
AROUND = Surroundings(datetime(2026, 3, 1, tzinfo=UTC), lambda name: True)


def check(script: bytes, head: bytes) -> None:
    with contextlib.suppress(SieveFault):
        outcome = compile_script(script).run(MessageView.of(head, sender="a@b.fr", recipient="c@d.fr", size=5), AROUND)
        assert outcome.actions and len(outcome.actions) <= 33


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.binary(max_size=300))
def test_words(words: list[str], head: bytes) -> None:
    check((REQUIRE + " ".join(words)).encode(), head)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_octets(octets: bytes) -> None:
    check(octets, b"")
    check(REQUIRE.encode() + octets, octets)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["header", "address"]), st.text("ab*?\\", max_size=12), st.text("abé\x00", max_size=20))
def test_matching_runs(test: str, pattern: str, text: str) -> None:
    quoted = pattern.replace("\\", "\\\\")
    check((REQUIRE + f'if {test} :matches "from" "{quoted}" {{ fileinto "${{1}}${{2}}"; }}').encode(), f"From: {text}\r\n\r\n".encode())
    found = glob(pattern, False).match(text)
    if found is not None:
        assert found[0] == text and sum(map(len, found[1:])) <= len(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"NOOP\r\n", b'"a"', b"{3+}\r\nabc\r\n", b"\r\n", b"PUTSCRIPT "])),
                max_size=20))
def test_managesieve_octets(pieces: list[bytes]) -> None:
    reader = CommandReader(100, 1_000)
    for piece in pieces:
        reader.feed(piece)
        try:
            while reader.take() is not None:
                pass
        except ManageFault as fault:
            if fault.fatal:
                return
