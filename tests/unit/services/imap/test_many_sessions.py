"""Several sessions do random things to one folder; each client keeps its own picture from what it is told.

The pictures must never contradict the server (RFC 9051 §7.5.1): no number out of range, no EXPUNGE during FETCH, STORE or
SEARCH by number, flags of the right message; and all must be equal to the store at the end.
"""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build

_FETCH = re.compile(r"\* (\d+) FETCH \(UID (\d+) FLAGS \(([^)]*)\)\)")
_BY_NUMBER = ("FETCH", "STORE", "SEARCH")


class Picture:
    """What one client knows: UID (0: not asked yet) and flags by number."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.uids: list[int] = []
        self.flags: dict[int, str] = {}
        self.recent: set[int] = set()  # UIDs that were shown as recent
        self.words = ""  # the last FLAGS line

    def hear(self, line: str, command: str) -> None:
        """Take one untagged line."""
        if found := re.fullmatch(r"\* (\d+) EXISTS", line):
            count = int(found[1])
            assert count > len(self.uids), line
            self.uids += [0] * (count - len(self.uids))
        elif found := re.fullmatch(r"\* (\d+) EXPUNGE", line):
            assert not command.startswith(_BY_NUMBER), f"{line} during {command}"
            assert 1 <= int(found[1]) <= len(self.uids), line
            del self.uids[int(found[1]) - 1]
        elif found := _FETCH.fullmatch(line):
            number, uid = int(found[1]), int(found[2])
            assert self.uids[number - 1] in (0, uid), f"{line}: number {number} was UID {self.uids[number - 1]}"
            self.uids[number - 1] = uid
            words = found[3].split()
            assert "travail" not in words or "travail" in self.words, f"{line}: the keyword was not told"
            self.flags[uid] = " ".join(sorted(word for word in words if word != "\\Recent"))
            if "\\Recent" in words:
                self.recent.add(uid)
        elif line.startswith("* FLAGS"):
            self.words = line
        else:
            assert re.match(r"\* (SEARCH|OK \[COPYUID|OK \[PERMANENTFLAGS|\d+ RECENT)", line), line

    async def ask(self, command: str) -> None:
        """Send a command and take all that is told."""
        lines = await self.client.ask("x " + command)
        assert lines[-1].startswith(("x OK", "x NO [EXPUNGEISSUED]")), (command, lines[-1])
        for line in lines[:-1]:
            self.hear(line, command)


async def opened(stage: Stage) -> Picture:
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    picture = Picture(client)
    lines = await client.ask("s SELECT INBOX")
    picture.words = next(line for line in lines if line.startswith("* FLAGS"))
    found = re.search(r"\* (\d+) EXISTS", "\n".join(lines))
    assert found is not None
    picture.uids = [0] * int(found[1])
    return picture


def random_command(dice: random.Random, known: int) -> str:
    """Give a command that is right for a client who knows this many messages."""
    if not known:
        return "NOOP"
    low = dice.randint(1, known)
    numbers = f"{low}:{dice.randint(low, known)}"
    flag = dice.choice(["\\Seen", "\\Flagged", "travail"])
    return dice.choice([
        "NOOP", "EXPUNGE", f"FETCH {numbers} (UID FLAGS)", f"STORE {numbers} +FLAGS ({flag})",
        f"STORE {numbers} -FLAGS ({flag})", f"STORE {low} +FLAGS (\\Deleted)", f"STORE {low} FLAGS.SILENT (\\Answered)",
        "UID SEARCH ALL", "SEARCH UNSEEN", f"UID FETCH {low}:* (UID FLAGS)", f"MOVE {low} INBOX", f"COPY {low} INBOX",
    ])


@pytest.mark.parametrize("seed", range(6))
async def test_pictures_never_contradict_the_store(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    stage = await build(tmp_path)
    for _ in range(8):
        await stage.deliver("INBOX", "hello")
    pictures = [await opened(stage) for _ in range(3)]
    for _ in range(150):
        if dice.random() < 0.15:
            await stage.deliver("INBOX", "second")
            continue
        picture = dice.choice(pictures)
        await picture.ask(random_command(dice, len(picture.uids)))
    await asyncio.sleep(0)  # the doorbell rings in the turn after the delivery
    for picture in pictures:
        await picture.ask("NOOP")
        await picture.ask("UID FETCH 1:* (UID FLAGS)")
    inbox = await stage.folder("INBOX")
    _, rows = await stage.stores.database.read(lambda tx: stage.stores.messages.snapshot(tx, inbox.id))
    for picture in pictures:
        assert picture.uids == [row.uid for row in rows]
    fresh = await opened(stage)
    await fresh.ask("UID FETCH 1:* (UID FLAGS)") if rows else None
    for picture in pictures:
        assert {uid: picture.flags[uid] for uid in picture.uids} == {uid: fresh.flags[uid] for uid in fresh.uids}
    recent = [uid for picture in (*pictures, fresh) for uid in picture.recent]
    assert len(recent) == len(set(recent)), "a message was recent for two sessions"
    assert set(fresh.uids) <= set(recent), "a message was recent for nobody"
    await stage.close()
