"""The ManageSieve door over real TLS: what is refused before login, scripts and their quotas, hostile octets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.sieve_stage import sieve_space
from support.smtp_stage import ALICE, PASSWORD, SmtpStage, build, client_context, door_context

from mssante.endpoints.listeners import Door
from mssante.endpoints.login_offer import LoginOffer
from mssante.endpoints.managesieve import ManageSieve, ManageSieveSettings
from mssante.errors import OperatorFault


@dataclass
class Client:
    """A client of octets."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> str:
        """Read up to the line that ends an answer, literals included."""
        lines: list[bytes] = []
        while True:
            line = await asyncio.wait_for(self.reader.readline(), 10)
            if not line:
                return (b"".join(lines) + b"<closed>").decode()
            lines.append(line)
            if line.endswith(b"}\r\n"):
                lines.append(await self.reader.readexactly(int(line[line.rindex(b"{") + 1:-3])))
                if line.startswith((b"NO", b"BYE")):
                    await self.reader.readline()
                    return b"".join(lines).decode()
            elif line.startswith((b"OK", b"NO", b"BYE")):
                return b"".join(lines).decode()

    async def ask(self, command: str | bytes) -> str:
        self.writer.write((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return await self.answer()

    async def secure(self) -> str:
        assert (await self.ask("STARTTLS")).startswith("OK")
        await self.writer.start_tls(client_context(), server_hostname="localhost")
        return await self.answer()

    async def log_in(self, password: str = PASSWORD) -> str:
        plain = base64.b64encode(f"\0{ALICE}\0{password}".encode()).decode()
        return await self.ask(f'AUTHENTICATE "PLAIN" "{plain}"')


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def client(stage: SmtpStage) -> AsyncIterator[Client]:
    space = sieve_space(stage)
    door = Door("managesieve", total=10, per_address=10)
    settings = ManageSieveSettings(door_context(False), LoginOffer(), script_octets=65_536)
    await door.listen("127.0.0.1:0", ManageSieve(settings, door, stage.accounts, space.desk, stage.stores), None)
    assert door._server is not None
    port = door._server.sockets[0].getsockname()[1]
    made = Client(*await asyncio.open_connection("127.0.0.1", port))
    assert '"STARTTLS"' in await made.answer()
    yield made
    made.writer.close()
    await door.close(1)


def put(name: str, script: str) -> bytes:
    octets = script.encode()
    return f'PUTSCRIPT "{name}" {{{len(octets)}+}}\r\n'.encode() + octets


async def test_a_whole_session(client: Client, stage: SmtpStage) -> None:
    assert '"SASL" ""' in await client.ask("CAPABILITY")
    assert "ENCRYPT-NEEDED" in await client.log_in()
    assert (await client.ask("LISTSCRIPTS")).startswith("NO")
    assert '"SASL" "SCRAM' in await client.secure()
    assert (await client.log_in("faux")).startswith("NO")
    assert (await client.log_in()).startswith("OK")
    assert f'"OWNER" "{ALICE}"' in await client.ask("CAPABILITY")
    assert (await client.ask(put("été", 'keep;'))).startswith("OK")
    refused = await client.ask(put("faux", 'keep;\r\nfileinto "x";'))
    assert refused.startswith("NO") and ("ligne 2" in refused or "line 2" in refused)
    assert (await client.ask('SETACTIVE "été"')).startswith("OK")
    assert await client.ask("LISTSCRIPTS") == '"été" ACTIVE\r\nOK\r\n'
    assert "(ACTIVE)" in await client.ask('DELETESCRIPT "été"')
    assert (await client.ask('RENAMESCRIPT "été" "a \\"b\\""')).startswith("OK")
    assert "keep;" in await client.ask('GETSCRIPT "a \\"b\\""')
    assert await client.ask("LISTSCRIPTS") == '{5}\r\na "b" ACTIVE\r\nOK\r\n'
    assert "(NONEXISTENT)" in await client.ask('GETSCRIPT "rien"')
    assert (await client.ask('HAVESPACE "x" 1000')).startswith("OK")
    assert "QUOTA/MAXSIZE" in await client.ask('HAVESPACE "x" 100000')
    assert (await client.ask('CHECKSCRIPT "discard"')).startswith("NO")
    assert (await client.ask('CHECKSCRIPT "discard;"')).startswith("OK")
    assert await client.ask('NOOP "x"') == 'OK (TAG "x") "done"\r\n'
    assert (await client.ask('SETACTIVE ""')).startswith("OK") and (await client.ask('DELETESCRIPT "a \\"b\\""')).startswith("OK")
    assert (await client.ask("UNAUTHENTICATE")).startswith("OK") and (await client.ask("LISTSCRIPTS")).startswith("NO")
    assert (await client.ask("LOGOUT")).startswith("OK")


async def test_octets_before_the_handshake_end_it(client: Client) -> None:
    assert (await client.ask(b"STARTTLS\r\nLISTSCRIPTS")).startswith("BYE")


@pytest.mark.parametrize("octets", [b'"x"', b"{3}", b"NOOP (", b"\xff\xfe", b'NOOP "\x00"', b'HAVESPACE "x"', b'NOOP "a', b"",
                                    b"NOOP 1 2 3 4 5 6 7 8 9 10 11", b"PUTSCRIPT x y"])
async def test_hostile_lines_are_refused_and_the_session_goes_on(client: Client, octets: bytes) -> None:
    assert (await client.ask(octets)).startswith("NO")
    assert (await client.ask("NOOP")).startswith("OK")


async def test_sizes(client: Client) -> None:
    await client.secure()
    await client.log_in()
    assert "QUOTA/MAXSIZE" in await client.ask(put("grand", "#" * 200_000))
    assert "QUOTA/MAXSIZE" in await client.ask(b"CHECKSCRIPT {70000+}\r\n" + b"#" * 70_000)
    assert (await client.ask("NOOP")).startswith("OK")
    assert (await client.ask(b"PUTSCRIPT \"x\" {99999999+}")).startswith("BYE")


async def test_three_refusals_end_the_connection(client: Client) -> None:
    await client.secure()
    for _ in range(3):
        assert (await client.log_in("faux")).startswith("NO")
    assert "BYE" in await client.answer()


async def test_login_by_dialogue(client: Client) -> None:
    await client.secure()
    client.writer.write(b'AUTHENTICATE "PLAIN"\r\n')
    assert await client.reader.readline() == b'""\r\n'
    client.writer.write(b'"*"\r\n')
    assert (await client.answer()).startswith("NO")
    assert (await client.ask('AUTHENTICATE "NTLM"')).startswith("NO")


async def test_a_store_that_is_away_is_no_wrong_password(stage: SmtpStage, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5804 §1.3: TRYLATER, as often as one tries, and the connection goes on."""
    async def away(*_: object, **given: object) -> None:
        raise OperatorFault("storage failed", detail="secret")

    await client.secure()
    with monkeypatch.context() as patch:
        patch.setattr(stage.stores.database, "read", away)
        for _ in range(5):
            assert (await client.log_in()).startswith('NO (TRYLATER) "the login cannot be checked now')
    assert (await client.log_in()).startswith("OK")
