"""Real ManageSieve clients: `sieve-connect` (Debian) and the `managesieve` and `sievelib` modules of PyPI."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.sieve_stage import SieveSpace, sieve_space
from support.smtp_stage import ALICE, PASSWORD, SmtpStage, build, door_context

from mssante.endpoints.listeners import Door
from mssante.endpoints.login_offer import LoginOffer
from mssante.endpoints.managesieve import ManageSieve, ManageSieveSettings

SCRIPT = 'require "fileinto";\r\nif header :contains "subject" "bio" {\r\n  fileinto "Archive";\r\n}\r\n'


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def space(stage: SmtpStage) -> SieveSpace:
    return sieve_space(stage)


@pytest.fixture
async def port(stage: SmtpStage, space: SieveSpace) -> AsyncIterator[int]:
    door = Door("managesieve", total=10, per_address=10)
    await door.listen("127.0.0.1:0", ManageSieve(ManageSieveSettings(door_context(False), LoginOffer()), door, stage.accounts,
                                                 space.desk, stage.stores), None)
    assert door._server is not None
    yield door._server.sockets[0].getsockname()[1]
    await door.close(1)


async def stored(stage: SmtpStage, space: SieveSpace) -> list[tuple[str, bytes, bool]]:
    return [(one.name, one.content, one.active) for one in await space.desk.all(stage.mailboxes[ALICE])]


async def test_python_managesieve(stage: SmtpStage, space: SieveSpace, port: int) -> None:
    client_module: Any = pytest.importorskip("managesieve")

    def session() -> list[Any]:
        client = client_module.MANAGESIEVE("127.0.0.1", port, use_tls=True, tls_verify=False)
        return [client.login("", ALICE, PASSWORD), client.putscript("filtre", SCRIPT), client.setactive("filtre"),
                client.listscripts(), client.getscript("filtre"), client.putscript("faux", "keep"), client.logout()]

    said = await asyncio.to_thread(session)
    assert said[3] == ("OK", [("filtre", True)]) and said[4][0] == "OK" and said[5] == "NO"
    assert await stored(stage, space) == [("filtre", SCRIPT.encode(), True)]


async def test_sievelib(stage: SmtpStage, space: SieveSpace, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = pytest.importorskip("sievelib.managesieve")
    monkeypatch.setattr(ssl, "create_default_context", ssl._create_unverified_context)

    def session() -> list[Any]:
        client = module.Client("127.0.0.1", port)
        return [client.connect(ALICE, PASSWORD, starttls=True, authmech="PLAIN"), client.putscript("f", SCRIPT), client.setactive("f"),
                client.havespace("g", 10), client.checkscript("keep;"), client.renamescript("f", "g"), client.listscripts(),
                client.logout()]

    said = await asyncio.to_thread(session)
    assert all(said[:6]) and said[6] == ("g", [])
    assert await stored(stage, space) == [("g", SCRIPT.encode(), True)]


@pytest.mark.skipif(shutil.which("sieve-connect") is None, reason="needs the Debian package sieve-connect")
async def test_sieve_connect(stage: SmtpStage, space: SieveSpace, port: int, tmp_path: Path) -> None:
    (tmp_path / "filtre.sieve").write_text(SCRIPT, newline="")
    reading, writing = os.pipe()
    os.write(writing, PASSWORD.encode() + b"\n")
    os.close(writing)

    async def connect(*words: str) -> tuple[int | None, str]:
        running = await asyncio.create_subprocess_exec(
            "sieve-connect", "--notlsverify", "--server", "localhost", "--4", "--port", str(port), "--user", ALICE, "--authmech",
            "PLAIN", "--passwordfd", str(reading), *words, pass_fds=(reading,), stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={**os.environ, "HOME": str(tmp_path)})
        out, _ = await asyncio.wait_for(running.communicate(), 20)
        return running.returncode, out.decode("utf-8", "replace")

    code, said = await connect("--upload", "--localsieve", str(tmp_path / "filtre.sieve"), "--remotesieve", "filtre")
    os.close(reading)
    assert code == 0, said
    assert [one[:1] for one in await stored(stage, space)] == [("filtre",)]
