"""`kill -9` under load, again and again: what was acknowledged is there, once; nothing is lost.

Inbound: 50 connections of gamma (mutual TLS) deliver letters of 10 KB, some of 400 KB, some to two mailboxes, while alpha is
killed at a random moment and started again. A sender that lost its connection sends the same letter again, as every MTA does.
At the end every mailbox is read by IMAP, every letter compared octet for octet:
- acknowledged with 250 and never in flight at a kill: exactly once in each of its mailboxes;
- in flight at a kill (sent, not yet acknowledged): at least once, and at most once more for each such kill.
Relay: letters accepted by alpha's submission while alpha is killed arrive at beta at least once, and at most once more for
each kill that fell between beta's 250 and alpha's record of it (W2): a kill soon after a restart may hit the same letter again.

Full disk: alpha runs over a file system of a few megabytes; it answers 452, keeps all that it acknowledged, and takes mail
again by itself when there is room.

MSSANTE_CRASH_ROUNDS (20) and MSSANTE_CRASH_SEED (a fixed one) change the run. Counts go to $MSSANTE_REPORT_DIR/crash.md.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import re
import sqlite3
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.lab import Reply, RunningLab, dotted, letter, need_small_disk, report, soon, start_lab

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("MSSANTE_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("MSSANTE_CRASH_SEED", "20261123"))
CONNECTIONS = 50
SUBMITTERS = 8
GAMMA = "medecin@gamma.mssante.test"
CLAIRE = "claire.martin@alpha.mssante.test"
SMALL, LARGE = 10_000, 400_000
PER_CONNECTION = 20
GONE = (OSError, ssl.SSLError, asyncio.IncompleteReadError, EOFError)


@dataclass(slots=True)
class Sent:
    """One letter. copies: how often it went whole to the server without an answer; accepted: it got 250; born: kills before it."""

    mark: str
    recipients: tuple[str, ...]
    size: int
    digest: str = ""
    accepted: bool = False
    in_flight: int = 0
    born: int = 0


@dataclass(slots=True)
class Load:
    """The letters of a run and what became of them."""

    prefix: str
    boxes: Sequence[str]
    random: random.Random
    letters: dict[str, Sent] = field(default_factory=dict)
    stopping: bool = False
    refusals: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    kills: int = 0

    def next_letter(self) -> Sent:
        """Give a new letter: one in 25 large, one in 5 to two mailboxes."""
        number = len(self.letters)
        chosen = self.random.sample(self.boxes, 2 if number % 5 == 0 else 1)
        sent = Sent(f"{self.prefix}-{number}", tuple(chosen), LARGE if number % 25 == 24 else SMALL, born=self.kills)
        self.letters[sent.mark] = sent
        return sent


class Client:
    """One SMTP connection of a sender, by asyncio streams."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, login: tuple[str, str] | None) -> None:
        self._address = address
        self._context = context
        self._login = login

    async def open(self) -> None:
        """Connect, STARTTLS, EHLO, and AUTH when there is a login."""
        self.reader, self.writer = await asyncio.open_connection(*self._address, limit=2**20)
        await self._expect(b"", 220)
        await self._expect(b"EHLO peer.test\r\n", 250)
        await self._expect(b"STARTTLS\r\n", 220)
        await self.writer.start_tls(self._context, server_hostname="127.0.0.1")
        await self._expect(b"EHLO peer.test\r\n", 250)
        if self._login is not None:
            plain = base64.b64encode(f"\0{self._login[0]}\0{self._login[1]}".encode())
            await self._expect(b"AUTH PLAIN " + plain + b"\r\n", 235)

    async def _reply(self) -> str:
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode()
            if line[3] != "-":
                return line

    async def _expect(self, command: bytes, code: int) -> None:
        self.writer.write(command)
        line = await self._reply()
        if not line.startswith(str(code)):
            raise EOFError(line)

    async def deliver(self, sender: str, sent: Sent) -> str:
        """Send one letter, pipelined as an MTA does; give the reply to its end. Counts it in flight meanwhile."""
        message = letter(sender, sent.recipients[0], sent.mark, sent.size)
        sent.digest = hashlib.sha256(message).hexdigest()
        commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in sent.recipients), "DATA"]
        self.writer.write("".join(f"{command}\r\n" for command in commands).encode())
        for command in commands:
            line = await self._reply()
            if line[0] not in "23":
                raise EOFError(f"{command.partition(':')[0]} {line}")
        sent.in_flight += 1
        self.writer.write(dotted(message))
        line = await self._reply()
        sent.in_flight -= 1  # answered: whatever the answer, it is not in flight any more
        return line

    def close(self) -> None:
        """Let go."""
        if hasattr(self, "writer"):
            self.writer.close()


async def sender_loop(load: Load, client: Client, sender: str, *, again: bool) -> None:
    """Deliver letters until the load stops and the last one is accepted. again: a letter without answer is sent again."""
    pending: Sent | None = None
    while not load.stopping or pending is not None:
        try:
            await client.open()
            for _ in range(PER_CONNECTION):
                if pending is None and load.stopping:
                    break
                pending = pending or load.next_letter()
                reply = await client.deliver(sender, pending)
                if reply.startswith("250"):
                    pending.accepted = True
                    pending = None
                else:
                    load.refusals[reply[:60]] += 1
        except GONE as fault:
            load.broken += 1
            if isinstance(fault, EOFError) and str(fault)[:1].isalnum() and not isinstance(fault, asyncio.IncompleteReadError):
                load.refusals[str(fault)[:60]] += 1
            if not again and pending is not None and pending.in_flight:
                pending = None
            await asyncio.sleep(0.05)
        finally:
            client.close()


async def storm(lab: RunningLab, load: Load, clients: Sequence[Client], sender: str, *, rounds: int, again: bool) -> list[float]:
    """Load, and `rounds` kills at random moments; give the seconds of each restart until every door accepts."""
    tasks = [asyncio.create_task(sender_loop(load, client, sender, again=again)) for client in clients]
    restarts = []
    for _ in range(rounds):
        accepted = sum(one.accepted for one in load.letters.values())
        deadline = time.monotonic() + 20
        while sum(one.accepted for one in load.letters.values()) <= accepted + 5 and time.monotonic() < deadline:
            await asyncio.sleep(0.02)  # traffic flows again: a kill of an idle server would prove nothing
        await asyncio.sleep(load.random.uniform(0.0, 1.2))
        load.kills += 1
        await asyncio.to_thread(lab.kill, "alpha")
        restarts.append(await asyncio.to_thread(lab.start, "alpha"))
    await asyncio.sleep(0.5)
    load.stopping = True
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return restarts


def read_all(lab: RunningLab, boxes: Sequence[str], prefix: str) -> tuple[Counter[tuple[str, str]], dict[str, set[str]]]:
    """Read every mailbox; give how often each (letter, mailbox) is there, and the digests found by letter."""
    found: Counter[tuple[str, str]] = Counter()
    digests: dict[str, set[str]] = {}
    wanted = re.compile(rb"(?m)^X-Id: (" + prefix.encode() + rb"-\d+)\r$")
    for box in boxes:
        with lab.reader(box) as reader:
            uids = reader.uids()
            for start in range(0, len(uids), 100):
                _, answer = reader.client.uid("FETCH", ",".join(uids[start:start + 100]), "(BODY.PEEK[])")
                for one in answer:
                    match = wanted.search(one[1][:4000]) if isinstance(one, tuple) else None
                    if match is not None:
                        mark = match.group(1).decode()
                        found[mark, box] += 1
                        tail = one[1][one[1].index(b"\r\nFrom: <") + 2:]
                        digests.setdefault(mark, set()).add(hashlib.sha256(tail).hexdigest())
    return found, digests


def intact(lab: RunningLab, operator: str) -> str:
    """SQLite's own verdict on an operator's database."""
    path = lab.folder / operator / "data" / "mssante.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def test_what_got_250_is_in_its_mailbox_exactly_once(running_lab: RunningLab) -> None:
    lab, boxes = running_lab, running_lab.numbered("alpha")[4:24]
    load = Load(f"crash{SEED}", boxes, random.Random(SEED))
    context = lab.peer_context("gamma")
    clients = [Client(lab.address("alpha", "smtp"), context, None) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    restarts = asyncio.run(storm(lab, load, clients, GAMMA, rounds=ROUNDS, again=True))
    stormed = time.monotonic() - began
    found, digests = read_all(lab, boxes, load.prefix)

    pairs = [(one, box) for one in load.letters.values() for box in one.recipients]
    lost = [(one.mark, box) for one, box in pairs if one.accepted and not found[one.mark, box]]
    doubles = [(one.mark, box) for one, box in pairs if not one.in_flight and found[one.mark, box] > 1]
    beyond = [(one.mark, box) for one, box in pairs if found[one.mark, box] > 1 + one.in_flight]
    damaged = [one.mark for one in load.letters.values() if one.accepted and digests.get(one.mark) != {one.digest}]
    strays = sum(found.values()) - sum(found[one.mark, box] for one, box in pairs)
    unsure = [one for one in load.letters.values() if one.in_flight]
    twice = sum(found[one.mark, box] > 1 for one in unsure for box in one.recipients)
    report("crash.md", f"seed {SEED}, {ROUNDS} kills, {CONNECTIONS} connections, {stormed:.0f} s + reading "
           f"{time.monotonic() - began - stormed:.0f} s\n"
           f"letters sent {len(load.letters)}, acknowledged {sum(one.accepted for one in load.letters.values())}, "
           f"copies expected {len(pairs)}, found {sum(found.values())}\n"
           f"in flight at a kill {len(unsure)}, of these twice in a mailbox {twice}\n"
           f"duplicates of others {len(doubles)}, lost {len(lost)}, damaged {len(damaged)}, strays {strays}\n"
           f"connections broken {load.broken}, refusals {dict(load.refusals)}\n"
           f"restart until every door accepts: mean {sum(restarts) / len(restarts):.2f} s, worst {max(restarts):.2f} s")
    assert all(one.accepted for one in load.letters.values())
    assert (lost, doubles, beyond, damaged, strays) == ([], [], [], [], 0)
    assert intact(lab, "alpha") == "ok"
    assert len(load.letters) > 10 * ROUNDS


def test_what_submission_accepted_arrives_at_the_other_operator(running_lab: RunningLab) -> None:
    lab, boxes = running_lab, running_lab.numbered("beta")[4:14]
    rounds = max(1, ROUNDS * 3 // 10)
    load = Load(f"relay{SEED}", boxes, random.Random(SEED + 1))
    account = lab.operator("alpha").account(CLAIRE)
    assert account is not None
    context = lab.anchors()
    clients = [Client(lab.address("alpha", "submission"), context, (account.login, account.password))
               for _ in range(SUBMITTERS)]
    restarts = asyncio.run(storm(lab, load, clients, CLAIRE, rounds=rounds, again=False))
    accepted = [one for one in load.letters.values() if one.accepted]
    began = time.monotonic()
    while True:
        found, digests = read_all(lab, boxes, load.prefix)
        lost = [(one.mark, box) for one in accepted for box in one.recipients if not found[one.mark, box]]
        if not lost or time.monotonic() - began > 60:
            break
    drained = time.monotonic() - began
    often = [(one.mark, box, found[one.mark, box]) for one in load.letters.values() for box in one.recipients
             if found[one.mark, box] > 1 + load.kills - one.born]
    twice = sum(count == 2 for count in found.values())
    damaged = [mark for mark, seen in digests.items() if seen != {load.letters[mark].digest}]
    report("crash-relay.md", f"seed {SEED + 1}, {rounds} kills, {SUBMITTERS} submitters\n"
           f"submitted {len(load.letters)}, acknowledged {len(accepted)}, "
           f"copies expected {sum(len(one.recipients) for one in accepted)}, found at beta {sum(found.values())}\n"
           f"twice {twice}, more often {len(often)}, lost {len(lost)}, damaged {len(damaged)}; queue drained in {drained:.1f} s\n"
           f"refusals {dict(load.refusals)}; restart mean {sum(restarts) / len(restarts):.2f} s")
    assert (lost, often, damaged) == ([], [], [])
    assert intact(lab, "alpha") == "ok" and intact(lab, "beta") == "ok"
    assert len(accepted) > 5 * rounds


# ---------------------------------------------------------------- full disk

FILLER = 6 * 1024 * 1024


@pytest.fixture(scope="module")
def small_lab() -> Iterator[RunningLab]:
    """A lab of its own: its alpha is started again over a small disk."""
    need_small_disk()
    lab = start_lab(accounts=2)
    try:
        yield lab
    finally:
        lab.stop()


def start_on_small_disk(lab: RunningLab, megabytes: int, reserve: int) -> Path:
    """Start alpha with its data on a file system of that size, a filler in it; give the filler's path as seen from here."""
    data, toml = lab.folder / "alpha" / "data", lab.folder / "alpha" / "operator_config" / "operator.toml"
    lab.kill("alpha")
    settings = re.sub(r"(?m)^reserve_bytes = .*\n", "", toml.read_text(encoding="utf-8"))
    toml.write_text(settings.replace("[storage]\n", f"[storage]\nreserve_bytes = {reserve}\n"), encoding="utf-8")
    if not data.with_name("data-before").exists():
        data.rename(data.with_name("data-before"))
        data.mkdir()
    lab.start("alpha", f"mount -t tmpfs -o size={megabytes}m tmpfs {data}; cp -a {data}-before/. {data}; "
                       f"head -c {FILLER} /dev/zero > {data}/filler")
    return Path(f"/proc/{lab.started['alpha'].pid}/root{data}/filler")


@pytest.mark.parametrize(("megabytes", "reserve"), [(24, 0), (32, 16 * 1024 * 1024)], ids=["to the last octet", "with a reserve"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["in the database", "in files"])
def test_a_full_disk_answers_452_and_loses_nothing(size: int, megabytes: int, reserve: int, small_lab: RunningLab) -> None:
    lab, box = small_lab, "user0001@alpha.mssante.test"
    filler = start_on_small_disk(lab, megabytes, reserve)
    accepted: list[str] = []
    refused: list[Reply] = []

    def offer() -> Reply:
        mark = f"full-{len(accepted)}-{len(refused)}"
        assert lab.started["alpha"].poll() is None, f"alpha ended after {len(accepted)} letters: {lab.log('alpha')[-3000:]}"
        with lab.session_as("gamma") as wire:
            reply = wire.deliver(GAMMA, [box], letter(GAMMA, box, mark, size))
        if reply.code == 250:
            accepted.append(mark)
        else:
            refused.append(reply)
        return reply

    while len(refused) < 20 and len(accepted) < 5000:
        offer()
    assert accepted and {(one.code, one.rule) for one in refused} == {(452, "DISQUE-PLEIN")}, Counter(refused)
    full = len(accepted)
    with lab.reader(box) as reader:  # reading goes on while nothing can be written
        assert set(reader.marks()) == set(accepted)

    filler.unlink()
    assert soon(lambda: offer().code == 250, 20), refused[-1]
    with lab.reader(box) as reader:
        assert sorted(reader.marks()) == sorted(accepted), "each once, and no refused one"
        read = reader.whole(accepted[full - 1])[0]
        assert read.endswith(letter(GAMMA, box, accepted[full - 1], size))
    report(f"full-disk-{size}-{reserve}.txt", f"{megabytes} MB, reserve {reserve}, letters of {size}: {full} accepted, then "
           f"{len(refused)} times {refused[0].code} {refused[0].text}; {len(accepted)} found; accepts again by itself")
