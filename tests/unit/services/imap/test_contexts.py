"""Followed searches: a client that applies the notices in order has what a new search would give (RFC 5267 §4.3.2)."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, MESSAGES, PASSWORD, build


class Follower:
    """The results of one context as its client keeps them."""

    def __init__(self, uids: list[int], *, ordered: bool) -> None:
        self.uids = uids
        self.ordered = ordered

    def hear(self, line: str) -> None:
        for word, pairs in re.findall(r"(ADDTO|REMOVEFROM) \(([^)]*)\)", line):
            words = pairs.split(" ")
            for place, numbers in zip(words[::2], words[1::2], strict=True):
                self._apply(word, int(place), expanded(numbers))

    def _apply(self, word: str, place: int, uids: list[int]) -> None:
        assert (place > 0) is self.ordered
        if word == "ADDTO":
            assert not set(uids) & set(self.uids)
            at = place - 1 if place else len(self.uids)
            self.uids[at:at] = uids
        elif place:
            assert self.uids[place - 1:place - 1 + len(uids)] == uids
            del self.uids[place - 1:place - 1 + len(uids)]
        else:
            assert set(uids) <= set(self.uids)
            self.uids = [uid for uid in self.uids if uid not in uids]


def expanded(numbers: str) -> list[int]:
    out: list[int] = []
    for piece in numbers.split(","):
        low, _, high = piece.partition(":")
        out += range(int(low), int(high or low) + 1)
    return out


def all_of(line: str) -> list[int]:
    found = re.search(r" ALL ([0-9:,]+)", line)
    return expanded(found[1]) if found else []


COMMANDS = {
    "c1": ("UID SEARCH RETURN (UPDATE ALL)", "UNSEEN OR FLAGGED SUBJECT rend", False),
    "c2": ("UID SORT RETURN (UPDATE ALL) (SUBJECT REVERSE DATE) UTF-8", "NOT DELETED", True),
    "c3": ("UID SORT RETURN (UPDATE ALL) (REVERSE DATE FROM) UTF-8", "OR FLAGGED FROM labo", True),
}


@pytest.mark.parametrize("seed", range(4))
async def test_applying_the_notices_gives_what_a_new_search_gives(tmp_path: Path, seed: int) -> None:
    random_of = random.Random(seed)
    stage = await build(tmp_path)
    clients = []
    for port in (40000, 40001):
        client = Client(stage.endpoint, tls=True, one_by_one=False, port=port)
        await client.line()
        await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
        await client.ask("s SELECT INBOX")
        clients.append(client)
    me, other = clients
    followers: dict[str, Follower] = {}
    for tag, (command, criteria, ordered) in COMMANDS.items():
        followers[tag] = Follower(all_of((await me.ask(f"{tag} {command} {criteria}"))[0]), ordered=ordered)

    async def tell(client: Client, command: str) -> None:
        for line in await client.ask(command):
            tag = re.match(r'\* ESEARCH \(TAG "(c[0-9])"\)', line)
            if tag and client is me:
                followers[tag[1]].hear(line)

    for step in range(40):
        count = len(stage.services.registry.view((await stage.folder("INBOX")).id).uids)  # type: ignore[union-attr]
        if random_of.random() < 0.35 or count < 2:
            await stage.deliver("INBOX", random_of.choice(sorted(set(MESSAGES) - {"large"})), random_of.choice(["", "flagged", "seen"]))
        elif random_of.random() < 0.25:
            await tell(random_of.choice(clients), f"e{step} EXPUNGE")
        else:
            sign, flag = random_of.choice("+-"), random_of.choice(["\\Seen", "\\Flagged", "\\Deleted"])
            await tell(random_of.choice(clients), f"t{step} STORE {random_of.randint(1, count)} {sign}FLAGS.SILENT ({flag})")
        if random_of.random() < 0.4:
            await tell(me, f"n{step} NOOP")
    await tell(other, "x NOOP")
    await tell(me, "y NOOP")
    await tell(me, "z NOOP")
    for tag, (command, criteria, ordered) in COMMANDS.items():
        (line, _) = await me.ask(f"v{tag} {command.replace('UPDATE ', '')} {criteria}")
        uids = followers[tag].uids
        assert (uids if ordered else sorted(uids)) == all_of(line), tag
    await stage.close()
