"""RFC 4314 §4 as a table: every command with every right present and missing, and what rights cost in statements."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, FixedClock, Stage, build

from mssante.model.mailbox import MailboxState
from mssante.protocol.imap.rights import ALL
from mssante.services.imap.dispatch import COMMANDS
from mssante.services.imap.rights import RIGHTS_SECONDS

OTHER = "secretaire@hopital.mssante.fr"
LEAD = f"Partages/{ADDRESS}/"


class MovingClock(FixedClock):
    """A clock whose monotonic time the test moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Give the time of the test."""
        return self.seconds


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    object.__setattr__(made.services, "clock", MovingClock())
    await made.add_mailbox(OTHER)
    yield made
    await made.close()


async def login(stage: Stage, name: str = OTHER, port: int = 40001) -> Client:
    client = Client(stage.endpoint, tls=True, one_by_one=False, port=port)
    await client.line()
    assert (await client.ask(f'l LOGIN {name} "{PASSWORD}"'))[-1].startswith("l OK")
    return client


async def grant(stage: Stage, folder: str, rights: str, identifier: str = OTHER, *, told: bool = True) -> None:
    """Set rights as the command line does (told: the process knows at once)."""
    target = await stage.folder(folder)
    await stage.stores.database.write(lambda tx: stage.stores.rights.put(tx, target.id, identifier, rights))
    if told:
        stage.services.registry.rights_changed(target.id)


@dataclass(frozen=True)
class Case:
    """One command on a shared folder. needs: letters without which it is NO; `~` is that folder; opens: it works in the open folder."""

    command: str
    needs: str
    opens: bool = False


# What RFC 4314 §4 asks; `l` is asked of all (a folder without it does not exist), `r` of all that work in an open folder.
TABLE = [
    Case("SELECT ~", "lr"), Case("EXAMINE ~", "lr"), Case("STATUS ~ (MESSAGES)", "lr"),
    Case("SUBSCRIBE ~", "l"), Case("UNSUBSCRIBE ~", ""), Case('LIST "" ~', ""),
    Case('LSUB "" ~', ""), Case("CREATE ~/New", "lk"), Case("DELETE ~", "lx"),
    Case("RENAME ~ ~2", "never"), Case("RENAME ~/Below ~/Other", "lk"),
    Case("SETACL ~ anyone l", "la"), Case("DELETEACL ~ anyone", "la"), Case("GETACL ~", "la"),
    Case("LISTRIGHTS ~ anyone", "la"), Case("MYRIGHTS ~", "l"), Case("COPY 1 ~", "li", opens=False),
    Case("FETCH 1 FLAGS", "lr", opens=True), Case("FETCH 1 BODY[]", "lr", opens=True), Case("SEARCH ALL", "lr", opens=True),
    Case("UID SEARCH SEEN", "lr", opens=True), Case("STORE 1 +FLAGS (\\Seen)", "lrs", opens=True),
    Case("STORE 1 -FLAGS (\\Deleted)", "lrt", opens=True), Case("STORE 1 +FLAGS (\\Flagged)", "lrw", opens=True),
    Case("UID STORE 1 +FLAGS.SILENT (travail)", "lrw", opens=True), Case("EXPUNGE", "lre", opens=True),
    Case("UID EXPUNGE 1", "lre", opens=True), Case("COPY 1 Archive", "lr", opens=True),
    Case("MOVE 1 Archive", "lrte", opens=True), Case("UID MOVE 1 Archive", "lrte", opens=True),
    Case("CLOSE", "lr", opens=True), Case("NOOP", "lr", opens=True),
]


async def run_case(stage: Stage, case: Case, rights: str, place: int = 0) -> list[str]:
    """Run a command with these rights on a new folder: give its lines."""
    name = f"F{place}"
    for level in (name, name + "/Below"):
        await stage.stores.database.write(lambda tx, at=level: stage.stores.folders.create(tx, stage.mailbox.id, at))
    await stage.deliver(name, "hello")
    await grant(stage, name + "/Below", "lx")
    await grant(stage, name, ALL if case.opens else rights)
    client = await login(stage, port=41000 + place)
    command = b"x " + case.command.replace("~", LEAD + name).encode() + b"\r\n"
    if case.command == "COPY 1 ~":
        await client.ask("p1 APPEND INBOX {4+}\r\na: b")
        await client.ask("p2 SELECT INBOX")
    if case.opens:
        assert (await client.ask(f"s SELECT {LEAD}{name}"))[-1].startswith("s OK [READ-WRITE]")
        await grant(stage, name, rights)  # taken away while the folder is open
    client.send(command)
    lines = [await client.line()]
    while not lines[-1].startswith(("x ", "* BYE")):
        lines.append(await client.line())
    client.transport.close()
    return lines


def refused(lines: list[str]) -> bool:
    """NO, or the end of the session."""
    return lines[-1].startswith(("x NO [NOPERM]", "x NO [NONEXISTENT]", "x NO [TRYCREATE]", "* BYE"))


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.command)
async def test_every_command_with_each_right_missing_then_with_what_it_needs(stage: Stage, case: Case) -> None:
    for place, right in enumerate(ALL):
        lines = await run_case(stage, case, ALL.replace(right, ""), place)
        assert refused(lines) is (right in case.needs or case.needs == "never"), (right, lines)
    lines = await run_case(stage, case, "" if case.needs == "never" else case.needs, len(ALL))
    assert refused(lines) is (case.needs == "never"), lines


@pytest.mark.parametrize("right", "stw")
async def test_flags_without_their_right_are_dropped(stage: Stage, right: str) -> None:
    """APPEND and COPY never fail for a flag (RFC 4314 §4)."""
    await grant(stage, "INBOX", ALL.replace(right, ""))
    client = await login(stage)
    flags = "(\\Seen \\Deleted \\Flagged travail)"
    assert (await client.ask(f"a APPEND {LEAD}INBOX {flags} {{4+}}\r\na: b"))[-1].startswith("a OK")
    assert (await client.ask(f"b APPEND INBOX {flags} {{4+}}\r\na: b"))[-1].startswith("b OK")
    await client.ask("c SELECT INBOX")
    assert (await client.ask(f"d COPY 1 {LEAD}INBOX"))[-1].startswith("d OK")
    await client.ask(f"e SELECT {LEAD}INBOX")
    kept = {"s": "(\\Flagged \\Deleted \\Recent travail)", "t": "(\\Flagged \\Seen \\Recent travail)",
            "w": "(\\Deleted \\Seen \\Recent)"}[right]
    assert (await client.ask("f FETCH 1:2 FLAGS"))[:2] == [f"* {number} FETCH (FLAGS {kept})" for number in (1, 2)]


@pytest.mark.parametrize(("rights", "code", "permanent"), [
    ("lr", "READ-ONLY", "()"), ("lrs", "READ-WRITE", "(\\Seen)"), ("lrt", "READ-WRITE", "(\\Deleted)"),
    ("lrw", "READ-WRITE", "(\\Answered \\Flagged \\Draft \\*)"), ("lri", "READ-WRITE", "()"), ("lre", "READ-WRITE", "()"),
    ("lrkxa", "READ-ONLY", "()"), (ALL, "READ-WRITE", "(\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)")])
async def test_select_tells_what_may_change(stage: Stage, rights: str, code: str, permanent: str) -> None:
    await grant(stage, "INBOX", rights)
    client = await login(stage)
    lines = await client.ask(f"s SELECT {LEAD}INBOX")
    assert lines[-1].startswith(f"s OK [{code}]")
    assert f"PERMANENTFLAGS {permanent}]" in "".join(lines)


async def test_private_seen_alone_is_read_only_and_may_be_set(stage: Stage) -> None:
    """RFC 4314 §5.2: `s` is no shared flag right where each reader has its own `\\Seen`."""
    await stage.deliver("INBOX", "hello")
    await grant(stage, "INBOX", "lrs")
    await stage.switch_seen("INBOX", private=True)
    client = await login(stage)
    assert (await client.ask(f"s SELECT {LEAD}INBOX"))[-1].startswith("s OK [READ-ONLY]")
    assert (await client.ask("t STORE 1 +FLAGS (\\Seen)"))[0] == "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))"


async def test_rights_changed_by_another_process_act_after_a_while(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello")
    await grant(stage, "INBOX", "lrs")
    client = await login(stage)
    await client.ask(f"s SELECT {LEAD}INBOX")
    await grant(stage, "INBOX", "lr", told=False)
    assert (await client.ask("a STORE 1 +FLAGS.SILENT (\\Seen)"))[-1].startswith("a OK")
    stage.services.clock.seconds = RIGHTS_SECONDS  # type: ignore[attr-defined]
    assert (await client.ask("b STORE 1 -FLAGS.SILENT (\\Seen)"))[-1].startswith("b NO [NOPERM]")
    await grant(stage, "INBOX", "", told=False)
    client.send(b"i IDLE\r\n")
    assert await client.line() == "+ idling"
    assert await client.line() == "* OK [PERMANENTFLAGS ()] your rights have changed"
    stage.services.clock.seconds *= 2  # type: ignore[attr-defined]
    await stage.deliver("INBOX", "hello")
    assert (await client.line()).startswith("* BYE")


async def test_negative_rights_and_anyone(stage: Stage) -> None:
    for identifier, rights in (("anyone", "lrs"), (OTHER, "w"), ("-" + OTHER, "s"), ("-anyone", "")):
        await grant(stage, "INBOX", rights, identifier)
    client = await login(stage)
    assert (await client.ask(f"m MYRIGHTS {LEAD}INBOX"))[0] == f"* MYRIGHTS {LEAD}INBOX lrw"
    await grant(stage, "INBOX", "l", "-anyone")
    assert (await client.ask(f"m MYRIGHTS {LEAD}INBOX"))[0].startswith("m NO [NONEXISTENT]")


async def test_a_closed_mailbox_is_seen_by_nobody(stage: Stage) -> None:
    await grant(stage, "INBOX", ALL)
    client = await login(stage)
    assert (await client.ask(f"s SELECT {LEAD}INBOX"))[-1].startswith("s OK")
    await stage.stores.database.write(
        lambda tx: stage.stores.accounts.set_mailbox_state(tx, ADDRESS, MailboxState.SUSPENDED))
    stage.services.clock.seconds = RIGHTS_SECONDS  # type: ignore[attr-defined]
    client.send(b"n NOOP\r\n")
    assert (await client.line()).startswith("* BYE")


async def test_a_folder_of_ones_own_under_the_prefix_is_masked(stage: Stage) -> None:
    await stage.stores.database.write(lambda tx: stage.stores.folders.create(tx, stage.mailbox.id, f"Partages/{OTHER}/INBOX"))
    client = await login(stage, ADDRESS)
    assert (await client.ask(f"s SELECT Partages/{OTHER}/INBOX"))[-1].startswith("s NO [NONEXISTENT]")
    assert not [line for line in await client.ask('l LIST "" *') if "Partages" in line]


class Counting:
    """Counts units of a database."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.units = 0

    def __getattr__(self, name: str) -> Any:
        def run(*arguments: Any, **named: Any) -> Any:
            self.units += 1
            return getattr(self._inner, name)(*arguments, **named)

        return run


async def units(stage: Stage, client: Client, command: str) -> int:
    """Give how many units a command runs."""
    counting = stage.stores.database = Counting(stage.stores.database)  # type: ignore[assignment]
    lines = await client.ask("x " + command)
    stage.stores.database = counting._inner
    assert lines[-1].startswith("x OK"), lines
    return counting.units


async def test_rights_cost_nothing_at_home_and_one_unit_elsewhere(stage: Stage) -> None:
    for _ in range(5):
        await stage.deliver("INBOX", "hello")
    await grant(stage, "INBOX", ALL)
    await grant(stage, "Sent", "li")
    owner, guest = await login(stage, ADDRESS), await login(stage)
    await owner.ask("s SELECT INBOX")
    for command, most in (("SELECT INBOX", 0), ("FETCH 1:* FLAGS", 0), ("SEARCH SEEN", 0), ("STORE 1:* +FLAGS (\\Flagged)", 1),
                          ("NOOP", 0), ("MYRIGHTS INBOX", 0), ('LIST "" *', 1), ("COPY 1:* Archive", 1)):
        assert await units(stage, owner, command) <= most, command
    assert await units(stage, guest, f"SELECT {LEAD}INBOX") <= 1
    for command, most in (("FETCH 1:* FLAGS", 0), ("SEARCH SEEN", 0), ("STORE 1:* -FLAGS (\\Flagged)", 1), ("NOOP", 0),
                          (f"MYRIGHTS {LEAD}INBOX", 0), (f"COPY 1:* {LEAD}Sent", 1), ('LIST "" *', 1),
                          ("COPY 1:* Archive", 1)):
        assert await units(stage, guest, command) <= most, command
    await grant(stage, "INBOX", "lr")
    assert await units(stage, guest, "FETCH 1:* FLAGS") == 1  # the rights, once


async def test_a_hidden_box_costs_what_a_missing_one_does(stage: Stage) -> None:
    """No oracle: same words, same reads, whether there is a mailbox, a folder, or nothing."""
    await grant(stage, "INBOX", "rswipkxtea")
    client = await login(stage)
    seen = set()
    for name in (f"{LEAD}INBOX", f"{LEAD}Nothing", "Partages/nobody@hopital.mssante.fr/INBOX"):
        for command in ("SELECT", "SUBSCRIBE", "GETACL", "DELETE"):
            stage.services.registry.shares_version += 1
            counting = stage.stores.database = Counting(stage.stores.database)  # type: ignore[assignment]
            lines = await client.ask(f"x {command} {name}")
            stage.stores.database = counting._inner
            seen.add((counting.units, *lines))
    assert seen == {(1, "x NO [NONEXISTENT] no such folder")}


NO_FOLDER_OF_OTHERS = {  # commands that name no folder, or only tell names that the tree lets through
    "Capability", "Noop", "Check", "Id", "Enable", "Namespace", "List", "Lsub", "Unselect", "Notify", "CancelUpdate",
}


def test_every_command_asks_for_its_rights() -> None:
    """A command that is added without `find(needs=)`, `require`, `may` or `check` must stand in the list above."""
    asked = ("needs=", "session.rights", ".require(", ".may(", "check(", "session.find(")
    for kind, function in COMMANDS.items():
        source = inspect.getsource(inspect.getmodule(function))  # type: ignore[arg-type]
        assert kind.__name__ in NO_FOLDER_OF_OTHERS or any(word in source for word in asked), kind.__name__


async def test_private_seen_is_read_once(stage: Stage) -> None:
    """One read when the first session of an account opens the folder; then as many units as in any folder."""
    for _ in range(30):
        await stage.deliver("INBOX", "hello")
    await grant(stage, "INBOX", ALL)
    await stage.switch_seen("INBOX", private=True)
    first, second, owner = await login(stage), await login(stage, port=40002), await login(stage, ADDRESS, 40003)
    await owner.ask("s SELECT INBOX")
    for client in (first, second):
        await client.ask(f"m MYRIGHTS {LEAD}INBOX")
    assert await units(stage, first, f"SELECT {LEAD}INBOX") == 1
    assert await units(stage, second, f"SELECT {LEAD}INBOX") == 0
    for command, most in (("FETCH 1:* FLAGS", 0), ("SEARCH UNSEEN", 0), ("STORE 1:* +FLAGS.SILENT (\\Seen)", 1),
                          ("FETCH 1:* BODY[TEXT]", 1), ("NOOP", 0)):
        assert await units(stage, first, command) <= most, command
    assert (await second.ask("u UID SEARCH UNSEEN"))[0] == "* SEARCH"
    assert (await owner.ask("u UID SEARCH SEEN"))[0] == "* SEARCH"
