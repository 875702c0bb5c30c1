"""A random machine of two clients and a server: what a client of QRESYNC remembers is compared with the store each time it comes back.

- `Keeper` is the client under proof: it enables QRESYNC (and sometimes UIDONLY), keeps UIDs, flags and one modseq, and follows the
  rules of RFC 7162 for moving that modseq forward: only at the end of a command, or while it idles.
- `Other` is a client of the old kind, or one of UIDONLY without QRESYNC; it checks its own picture.
- The world delivers messages and purges tombstones; clients leave at any moment, also in the middle of an answer.
Everything comes from one `random.Random`: a seed is a run.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, deque

from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage

from mssante.model.message import Flags
from mssante.protocol.imap.numset import NumSet
from mssante.services.imap.columns import flags_text
from mssante.storage.interfaces import FlagChange

_FETCH = re.compile(r"\* (\d+) (UID)?FETCH \((.*)\)")
_UID = re.compile(r"UID (\d+)")
_FLAGS = re.compile(r"FLAGS \(([^)]*)\)")
_MODSEQ = re.compile(r"MODSEQ \(?(\d+)\)?")
_VANISHED = re.compile(r"\* VANISHED( \(EARLIER\))? (\S+)")
_WORDS = ["\\Seen", "\\Flagged", "\\Answered", "travail", "urgent"]
FEW, MANY = 5, 45


def uids_of(text: str) -> list[int]:
    """Give the UIDs of a set on the wire."""
    return list(NumSet.parse(text.encode("ascii")))


def words_of(text: str) -> str:
    """Give flags in one order; `\\Recent` is of a session, and is not kept."""
    return " ".join(sorted(word for word in text.split() if word != "\\Recent"))


class Player:
    """One client: `uids` is the folder by number (0: a message whose UID it does not know), `flags` by UID."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.dice = machine.dice
        self.client: Client | None = None
        self.uidonly = False
        self.idling = False
        self.uids: list[int] = []
        self.flags: dict[int, str] = {}
        self.learned = 0  # every message up to this UID was asked about; a change may be told of one above it
        self.name = type(self).__name__

    # ------------------------------------------------------------------------------------------ connection

    async def connect(self, *enable: str) -> None:
        """Connect, log in and enable."""
        self.client = Client(self.machine.stage.endpoint, tls=True, one_by_one=False)
        await self.client.line()
        await self.say(f'LOGIN {ADDRESS} "{PASSWORD}"')
        self.uidonly = "UIDONLY" in enable
        if enable:
            await self.say("ENABLE " + " ".join(enable))

    async def leave(self, command: str = "") -> None:
        """Go without a word; with a command: send it, read a part of its answer, go."""
        client = self.client
        assert client is not None
        if command:
            self.machine.trace.append(f"{self.name}: {command} (leaves)")
            client.send(f"x {command}\r\n".encode())
            for _ in range(self.dice.randint(0, 4)):
                line = await client.line()
                if line.startswith("x "):
                    break
                self.hear(line, command)
        client.transport.close()
        await asyncio.sleep(0)
        while client.connection._busy:
            await asyncio.sleep(0)
        self.client, self.idling = None, False
        self.machine.count["leave"] += 1

    async def say(self, command: str, literal: bytes | None = None) -> list[str]:
        """Send a command, take its whole answer; give the untagged lines and the tagged one."""
        client = self.client
        assert client is not None
        self.machine.trace.append(f"{self.name}: {command}")
        if literal is None:
            client.send(f"x {command}\r\n".encode())
        else:
            client.send(f"x {command} {{{len(literal)}+}}\r\n".encode() + literal + b"\r\n")
        lines = [await client.line()]
        while not lines[-1].startswith("x "):
            lines.append(await client.line())
        self.machine.trace.extend(f"   {line}" for line in lines)
        for line in lines[:-1]:
            self.hear(line, command)
        self.machine.count[" ".join(command.split()[:2 if command.startswith("UID ") else 1])] += 1
        self.ended(lines[-1], command)
        return lines

    async def idle(self) -> None:
        """Begin to idle."""
        assert self.client is not None
        self.machine.trace.append(f"{self.name}: IDLE")
        self.machine.count["IDLE"] += 1
        self.client.send(b"x IDLE\r\n")
        while not (line := await self.client.line()).startswith("+"):
            self.hear(line, "IDLE")
        self.idling = True

    def listen(self) -> None:
        """Take what was pushed."""
        assert self.client is not None
        buffer = self.client.transport.received
        *lines, rest = bytes(buffer).decode("latin-1").split("\r\n")
        del buffer[:len(buffer) - len(rest)]
        for line in lines:
            self.machine.trace.append(f"{self.name} hears {line}")
            self.hear(line, "IDLE")

    async def done(self) -> None:
        """End idling."""
        assert self.client is not None
        self.listen()
        self.idling = False
        self.client.send(b"DONE\r\n")
        while not (line := await self.client.line()).startswith("x "):
            self.hear(line, "IDLE")
        self.ended(line, "IDLE")

    # ------------------------------------------------------------------------------------------ what is told

    def hear(self, line: str, command: str) -> None:
        """Take one untagged line."""
        if found := re.fullmatch(r"\* (\d+) EXISTS", line):
            assert int(found[1]) >= len(self.uids), f"EXISTS below what is known: {line}"
            self.uids += [0] * (int(found[1]) - len(self.uids))
        elif found := _FETCH.fullmatch(line):
            self._fetched(int(found[1]), bool(found[2]), found[3])
        elif found := _VANISHED.fullmatch(line):
            assert self.tells_uids, f"VANISHED was not enabled: {line}"
            for uid in uids_of(found[2]):
                self._vanished(uid, earlier=bool(found[1]))
        elif found := re.fullmatch(r"\* (\d+) EXPUNGE", line):
            assert not self.tells_uids, f"EXPUNGE after VANISHED was enabled: {line}"
            assert not command.startswith(("FETCH", "STORE", "SEARCH")), f"{line} during {command}"
            uid = self.uids.pop(int(found[1]) - 1)
            self.flags.pop(uid, None)

    @property
    def tells_uids(self) -> bool:
        """Expunges come as VANISHED."""
        return self.uidonly

    def _fetched(self, number: int, uidfetch: bool, items: str) -> None:
        assert uidfetch is self.uidonly, f"FETCH or UIDFETCH: {number} {items}"
        if uidfetch:
            uid = number
        else:
            found = _UID.search(items)
            assert 1 <= number <= len(self.uids), f"no message {number}: {items}"
            uid = int(found[1]) if found else self.uids[number - 1]
            assert self.uids[number - 1] in (0, uid), f"message {number} was UID {self.uids[number - 1]}, not {uid}"
            self.uids[number - 1] = uid
        if (flags := _FLAGS.search(items)) and uid:
            self.flags[uid] = words_of(flags[1])

    def _vanished(self, uid: int, *, earlier: bool) -> None:
        assert not earlier, "EARLIER was not asked"
        if uid in self.uids:
            self.uids.remove(uid)
        else:  # one whose UID was not told: it stands behind the last that is known to be below it
            below = max((place + 1 for place, known in enumerate(self.uids) if 0 < known < uid), default=0)
            del self.uids[self.uids.index(0, below)]
        self.flags.pop(uid, None)

    def ended(self, line: str, command: str) -> None:
        """Take the tagged line."""
        assert line.startswith(("x OK", "x NO [EXPUNGEISSUED]")), f"{command}: {line}"

    # ------------------------------------------------------------------------------------------ actions of every client

    def some(self, uids: list[int]) -> str:
        """Give a set of some of these UIDs."""
        chosen = self.dice.sample(uids, min(len(uids), self.dice.choice([1, 1, 2, 5])))
        return NumSet.of(sorted(chosen)).encode().decode()

    async def act(self) -> None:
        """Do one thing."""
        if self.idling:
            if self.dice.random() < 0.4:
                await self.done()
            else:
                self.listen()
            return
        known = sorted(self.flags)
        roll = self.dice.random()
        if roll < 0.1 or not known:
            await self.say("NOOP")
        elif roll < 0.18 or len(known) < FEW:
            flags = self.dice.choice(["", "(\\Seen) ", "(travail) "])
            await self.say(f"APPEND INBOX {flags}".rstrip(), b"Subject: a\r\n\r\nb\r\n")
        elif roll < 0.3:
            await self.idle()
        elif roll < 0.55:
            await self.store(known)
        elif roll < 0.62:
            await self.say(f"UID {self.dice.choice(['COPY', 'MOVE'])} {self.some(known)} INBOX")
        elif roll < 0.695:
            await self.say(f"UID MOVE {self.some(known)} Archive")
        elif roll < 0.7:
            await self.say(f"RENAME INBOX Old{self.machine.count['RENAME']}")
        elif roll < 0.85 or len(known) > MANY:
            numbers = self.some(known)
            await self.say(f"UID STORE {numbers} +FLAGS.SILENT (\\Deleted)")
            await self.say(f"UID FETCH {numbers} (FLAGS)")
            await self.say(self.dice.choice(["EXPUNGE", f"UID EXPUNGE {self.some(known)}"]))
        elif self.uidonly or self.dice.random() < 0.5:
            await self.say(f"UID FETCH {self.some(known)} (UID FLAGS MODSEQ)")
        else:
            await self.by_number()

    async def store(self, known: list[int]) -> None:
        """Change flags of some messages."""
        sign, word = self.dice.choice(["+", "-", ""]), self.dice.choice(_WORDS)
        condition = f"(UNCHANGEDSINCE {self.dice.randint(1, 400)}) " if self.dice.random() < 0.2 and self.tells_uids else ""
        silent = self.dice.choice(["", ".SILENT"])
        numbers = self.some(known)
        await self.say(f"UID STORE {numbers} {condition}{sign}FLAGS{silent} ({word})")
        if silent or condition:  # the client does not guess: it asks
            await self.say(f"UID FETCH {numbers} (FLAGS)")

    async def by_number(self) -> None:
        """Do something by message number."""
        numbers = f"{self.dice.randint(1, len(self.uids))}"
        await self.say(self.dice.choice([
            f"FETCH {numbers} (UID FLAGS)", f"STORE {numbers} +FLAGS ({self.dice.choice(_WORDS)})", "SEARCH ALL",
            f"FETCH 1:{numbers} (UID)"]))

    async def learn(self) -> None:
        """Ask about messages that were announced and are not known."""
        if 0 in self.uids:
            await self.say(f"UID FETCH {self.learned + 1}:* (UID FLAGS)")
        if 0 not in self.uids:
            self.learned = max(self.learned, max(self.flags, default=0))


    def order(self) -> None:
        """Without numbers, the order in which UIDs were heard means nothing."""
        if self.uidonly:
            self.uids.sort(key=lambda uid: uid or 1 << 40)


class Other(Player):
    """A client that remembers nothing: numbers and EXPUNGE, or UIDs and VANISHED by UIDONLY."""

    async def arrive(self) -> None:
        """Connect and read everything."""
        await self.connect(*(["UIDONLY"] if self.dice.random() < 0.4 else []))
        self.uids, self.flags, self.learned = [], {}, 0
        await self.say("SELECT INBOX")
        if self.uids:
            await self.say("UID FETCH 1:* (UID FLAGS)")
        if self.uidonly:  # without numbers, the UIDs fetched are the folder
            assert sorted(self.uids) == sorted(self.flags), (self.uids, self.flags)
        await self.learn()

    def _fetched(self, number: int, uidfetch: bool, items: str) -> None:
        super()._fetched(number, uidfetch, items)
        if uidfetch and number not in self.uids:
            self.uids[self.uids.index(0)] = number


class Keeper(Player):
    """The client of QRESYNC: what it keeps between two connections is `flags`, `validity` and `modseq`."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.validity = 0
        self.modseq = 0
        self._heard = 0  # highest modseq told, not kept yet
        self._selecting = False
        self._earlier: set[int] = set()  # what the running command said to be gone for long

    @property
    def tells_uids(self) -> bool:
        return True

    async def arrive(self) -> None:
        """Connect and bring what is kept up to date."""
        self._heard = 0  # what an answer that was cut said is not kept
        await self.connect("QRESYNC", *(["UIDONLY"] if self.dice.random() < 0.4 else []))
        await self.open()

    async def open(self) -> None:
        """SELECT with what is remembered, in one of its forms."""
        self._heard = 0
        self._selecting = True
        resync = ""
        if self.modseq:
            known = sorted(self.flags)
            form = self.dice.random()
            resync = f"{self.validity} {self.modseq}"
            if known and form < 0.5:
                resync += f" {NumSet.of(known).encode().decode()}"
            if known and form < 0.3 and not self.uidonly:
                places = sorted(self.dice.sample(range(len(known)), min(len(known), 4)))
                # Its numbers are those of what it knows: true when it had no unknown message, else left out.
                if 0 not in self.uids and len(self.uids) == len(known):
                    numbers, uids = NumSet.of(place + 1 for place in places), NumSet.of(known[place] for place in places)
                    resync += f" ({numbers.encode().decode()} {uids.encode().decode()})"
            resync = f" (QRESYNC ({resync}))"
            self.machine.count["QRESYNC"] += 1
        self._exists = 0
        lines = await self.say("SELECT INBOX" + resync)
        self._selecting = False
        self.validity = next(int(found[1]) for line in lines if (found := re.search(r"\[UIDVALIDITY (\d+)\]", line)))
        assert self._exists >= len(self.flags), f"{self._exists} messages, but {len(self.flags)} known"
        settled = sorted(uid for uid in self.flags if uid <= self.learned)  # above, others may stand in between
        self.uids = settled + [0] * (self._exists - len(settled))
        await self.learn()
        await self.machine.compare(self)

    def hear(self, line: str, command: str) -> None:
        if self._selecting and (found := re.fullmatch(r"\* (\d+) EXISTS", line)):
            self._exists = int(found[1])
            return
        if found := re.search(r"\[HIGHESTMODSEQ (\d+)\]", line):
            self._heard = int(found[1])  # less than what was heard, when expunges are held back
        super().hear(line, command)
        if command == "IDLE":
            self._keep()

    def _fetched(self, number: int, uidfetch: bool, items: str) -> None:
        if found := _MODSEQ.search(items):
            self._heard = max(self._heard, int(found[1]))
        if self._selecting and not uidfetch:  # numbers are put together after
            found, flags = _UID.search(items), _FLAGS.search(items)
            assert found is not None and flags is not None, items
            self.flags[int(found[1])] = words_of(flags[1])
            return
        super()._fetched(number, uidfetch, items)
        if uidfetch and not self._selecting and number not in self.uids:
            self.uids[self.uids.index(0)] = number

    def _vanished(self, uid: int, *, earlier: bool) -> None:
        if earlier:
            assert self._selecting or uid not in self.uids, f"{uid} is shown, it cannot be EARLIER"
            self._earlier.add(uid)
            self.flags.pop(uid, None)
            return
        super()._vanished(uid, earlier=False)

    def ended(self, line: str, command: str) -> None:
        super().ended(line, command)
        if found := re.search(r"\[HIGHESTMODSEQ (\d+)\]", line):
            self._heard = max(self._heard, int(found[1]))
        self._keep()

    def _keep(self) -> None:
        self.modseq = max(self.modseq, self._heard)

    async def act(self) -> None:
        roll = self.dice.random()
        if self.idling or roll < 0.8:
            await super().act()
            if not self.idling:
                await self.learn()
            self.order()
        elif roll < 0.9:
            since = self.modseq if self.dice.random() < 0.7 else self.dice.randint(1, self.modseq)
            self._earlier = set()
            await self.say(f"UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE {since} VANISHED)")
            there = self._earlier & set(await self.machine.truth())
            assert not there, f"told to be gone, and there: {sorted(there)}"
        else:
            if self.dice.random() < 0.5:
                await self.say(self.dice.choice(["CLOSE", "UNSELECT"]))
            await self.open()


class Machine:
    """The two clients, the store and the world."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.seed = seed
        self.dice = random.Random(seed)
        self.trace: deque[str] = deque(maxlen=60)
        self.count: Counter[str] = Counter()
        self.players: list[Player] = [Keeper(self), Other(self)]

    async def truth(self) -> dict[int, str]:
        """Give the folder as the store has it: flags by UID."""
        inbox = await self.stage.folder("INBOX")
        _, rows = await self.stage.stores.database.read(lambda tx: self.stage.stores.messages.snapshot(tx, inbox.id))
        return {row.uid: words_of(flags_text(row.flags, row.keywords).decode()) for row in rows}

    async def compare(self, player: Player) -> None:
        """The client's view must be the server's."""
        truth = await self.truth()
        player.order()
        assert player.flags == truth, f"{player.name}: {sorted(player.flags.items() ^ truth.items())}"
        assert player.uids == sorted(truth), f"{player.name}: {player.uids} {sorted(truth)}"
        self.count["compared"] += 1

    async def run(self, steps: int) -> None:
        """Do that many random steps, then compare. Raises AssertionError with the seed, the step and what came before."""
        step = 0
        try:
            while step < steps:
                await self.step()
                step += 1
            for player in self.players:
                await self.rest()
                await self.settle(player)
        except Exception as fault:
            last = "\n".join(self.trace)
            raise AssertionError(f"seed {self.seed}, step {step}: {type(fault).__name__}: {fault}\n{last}") from fault

    async def rest(self) -> None:
        """Give the doorbell its turn: it rings in the one after a change."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def settle(self, player: Player) -> None:
        """Bring a client to rest and compare."""
        if player.client is None:
            await player.arrive()  # type: ignore[attr-defined]
        if player.idling:
            await player.done()
        await player.say("NOOP")
        await player.learn()
        await self.compare(player)

    async def step(self) -> None:
        """Do one random thing."""
        await self.rest()
        player = self.dice.choice(self.players)
        roll = self.dice.random()
        if player.client is None and roll < 0.5:
            await player.arrive()  # type: ignore[attr-defined]
        elif player.client is None or roll < 0.12:
            await self.world()
        elif roll < 0.2:
            await self.go(player)
        elif roll < 0.24 and not player.idling:
            await self.settle(player)
        else:
            await player.act()
            if isinstance(player, Other) and not player.idling:
                await player.learn()
                player.order()

    async def go(self, player: Player) -> None:
        """A client leaves: while idle, between commands, or in the middle of an answer."""
        if player.idling:
            player.listen()
            await player.leave()
            return
        commands = ["", "NOOP", "UID FETCH 1:* (UID FLAGS)"]
        if known := sorted(player.flags):
            commands += [f"UID STORE {player.some(known)} FLAGS (\\Flagged)", f"UID MOVE {player.some(known)} Archive"]
        await player.leave(self.dice.choice(commands))

    async def world(self) -> None:
        """Something that no client does."""
        roll = self.dice.random()
        if roll < 0.6:
            self.trace.append("world: deliver")
            await self.stage.deliver("INBOX", self.dice.choice(["hello", "second", "third"]),
                                     self.dice.choice(["", "", "seen", "flagged deleted"]))
        elif roll < 0.95:
            inbox = await self.stage.folder("INBOX")
            mark = self.dice.randint(max(1, inbox.highest_modseq - 60), inbox.highest_modseq)
            gone = await self.stage.stores.database.write(
                lambda tx: self.stage.stores.messages.purge_tombstones(tx, inbox.id, mark))
            self.trace.append(f"world: purge up to {mark}, {gone} tombstones")
            self.count["purge"] += 1
            self.count["purged tombstones"] += gone
        else:
            await self.flag_outside()

    async def flag_outside(self) -> None:
        """Change flags below all sessions, as another process would, and ring."""
        inbox, truth = await self.stage.folder("INBOX"), await self.truth()
        if not truth:
            return
        uids = self.dice.sample(sorted(truth), 1)
        change = FlagChange("add", int(Flags.ANSWERED))
        rows, _ = await self.stage.stores.database.write(
            lambda tx: self.stage.stores.messages.set_flags(tx, inbox.id, uids, change))
        self.trace.append(f"world: flags of {uids}")
        self.stage.services.doorbell.ring(inbox.id, max(row.modseq for row in rows))
