"""The whole IMAP server under random commands: every line gets its tagged answer, nothing is our fault, others feel nothing.

Lines are those that clients send in the dialogues, alone or with words taken from others, dropped, doubled or broken. The
long run: `MSSANTE_FUZZ_COMMANDS=200000 pytest tests/fuzz/test_fuzz_server.py`; the seed is in the failure's message.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from pathlib import Path

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, MESSAGES, PASSWORD, Stage, build

DIALOGUES = Path(__file__).resolve().parents[1] / "dialogues"
COMMANDS = int(os.environ.get("MSSANTE_FUZZ_COMMANDS", "1500"))
SEEDS = [int(os.environ.get("MSSANTE_FUZZ_SEED", "20261123"))]
LEAVING = re.compile(rb"(LOGOUT|STARTTLS|COMPRESS|UNAUTHENTICATE|AUTHENTICATE|LOGIN)\b", re.IGNORECASE)
EDGES = [b"0", b"1", b"*", b"1:*", b"4294967295", b"4294967296", b"-1", b"()", b"(", b")", b'""', b"NIL", b"\\Seen", b"INBOX", b"%", b"*:1",
         b"$", b"x" * 300, b"NOT", b"OR", b"(RETURN", b"1,1,1", b"&-", b"BODY[]", b"BODY[1.2.3.MIME]<0.5>", b"\xc3\xa9", b'"\\', b"[", b"]"]


def client_lines() -> list[bytes]:
    """Give the commands of all dialogues without tags, those that end or change the connection left out."""
    found: set[bytes] = set()
    for path in sorted(DIALOGUES.glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("C: ") and "<<" not in line:
                _, _, command = line[3:].encode().partition(b" ")
                if command and not LEAVING.match(command) and b"{" not in command:
                    found.add(command)
    return sorted(found)


def broken(line: bytes, lines: list[bytes], chance: random.Random) -> bytes:
    """Give a line near this one: words dropped, doubled, taken from another line, or an edge value."""
    words = line.split(b" ")
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(words))
        match chance.randrange(5):
            case 0 if len(words) > 1:
                del words[place]
            case 1:
                words.insert(place, words[place])
            case 2:
                words[place] = chance.choice(chance.choice(lines).split(b" "))
            case 3:
                words[place] = chance.choice(EDGES)
            case _:
                cut = chance.randrange(len(words[place]) + 1)
                words[place] = words[place][:cut] + chance.choice(EDGES) + words[place][cut:]
    out = b" ".join(words).replace(b"\r", b"").replace(b"\n", b"").replace(b"{", b"")
    return b"NOOP" if LEAVING.match(out) else out


class Conversation:
    """One connection that sends command after command."""

    def __init__(self, stage: Stage, port: int) -> None:
        self._stage = stage
        self._port = port
        self.count = 0
        self._connect()

    def _connect(self) -> None:
        self.client = Client(self._stage.endpoint, tls=True, one_by_one=False, port=self._port)
        self.client.transport.received.clear()

    async def ask(self, command: bytes) -> bytes:
        """Send a command; give all that comes up to its tagged line or the end of the connection."""
        self.count += 1
        tag = b"t%d" % self.count
        got = self.client.transport.received
        end = re.compile(rb"(?:^|\r\n)" + tag + rb" (OK|NO|BAD)[^\r\n]*\r\n")
        self.client.send(tag + b" " + command + b"\r\n")
        asked = False
        limit = asyncio.get_running_loop().time() + 20
        while not end.search(got) and not self.client.transport.closing:
            assert asyncio.get_running_loop().time() < limit, f"no answer to {command!r}"
            if not asked and re.search(rb"(?:^|\r\n)\+ [^\r\n]*\r\n", got):
                asked = True
                self.client.send(b"DONE\r\n")
            self.client.transport.news.clear()
            try:
                await asyncio.wait_for(self.client.transport.news.wait(), 0.5)
            except TimeoutError:
                continue
        answer = bytes(got)
        got.clear()
        if self.client.transport.closing:
            self._connect()
            await self.login()
        return answer

    async def login(self) -> None:
        """Log in and open INBOX."""
        answer = await self.ask(b'LOGIN %b "%b"' % (ADDRESS.encode(), PASSWORD.encode()))
        assert b" OK " in answer
        await self.ask(b"SELECT INBOX")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(0 if COMMANDS > 10_000 else 120)
async def test_random_commands_are_answered_and_never_our_fault(seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    lines = client_lines()
    assert len(lines) > 300
    stage = await build(tmp_path)
    try:
        for name in ("hello", "second", "mixed", "html", "third"):
            await stage.deliver("INBOX", name)
        fuzzed, other = Conversation(stage, 40001), Conversation(stage, 40002)
        await fuzzed.login()
        await other.login()
        for number in range(COMMANDS):
            line = chance.choice(lines)
            if number % 60 == 59:  # what ENABLE turned on ends with the connection
                await fuzzed.ask(b"LOGOUT")
            elif chance.random() < 0.1:
                await fuzzed.ask(b"SELECT INBOX")
            command = line if chance.random() < 0.4 else broken(line, lines, chance)
            answer = await fuzzed.ask(command)
            told = f"seed {seed}, command {number}: {command!r}\n{answer[-300:]!r}"
            assert answer, told
            assert b"SERVERBUG" not in answer and b"Traceback" not in answer, told
            if number % 50 == 0:
                assert b" OK " in await other.ask(b"NOOP"), told
                await stage.deliver("INBOX", chance.choice(sorted(MESSAGES)))
    finally:
        await stage.close()
