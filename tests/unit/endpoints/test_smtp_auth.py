"""AUTH on the submission doors: PLAIN and LOGIN, with and without initial response, and what may not happen before it."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from support.pki import pem_files
from support.scram_client import ScramClient
from support.smtp_stage import ALICE, PASSWORD, SmtpStage, Wire, build, leaf

from mssante.endpoints.tls_context import end_point_of
from mssante.errors import OperatorFault
from mssante.model.journal import JournalKind
from mssante.protocol.sasl.mechanisms import Circumstances
from mssante.services.accounts import make_secrets


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


PLAIN = b64(f"\0{ALICE}\0{PASSWORD}")
WRONG = b64(f"\0{ALICE}\0wrong")
MAIL = f"MAIL FROM:<{ALICE}>"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays asked of the service, which pass at once."""
    delays: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float, result: object = None) -> object:
        if seconds:
            delays.append(seconds)
        return await really(0, result)

    monkeypatch.setattr("mssante.services.accounts.asyncio.sleep", sleep)
    return delays


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await secured(stage, "submission")


async def secured(stage: SmtpStage, door: str, **settings: int) -> Wire:
    port = await stage.open(door, **settings)
    wire = await stage.connect(port, tls=door == "submissions")
    assert (await wire.reply()).startswith("220 ")
    ehlo = await (wire.ask("EHLO poste") if door == "submissions" else wire.secure())
    assert "AUTH PLAIN LOGIN" in [line[4:] for line in ehlo.split("\n")]
    return wire


@pytest.mark.parametrize("door", ["submission", "submissions"])
async def test_both_doors_take_a_login(stage: SmtpStage, door: str) -> None:
    wire = await secured(stage, door)
    assert (await wire.ask(f"AUTH PLAIN {PLAIN}")).startswith("235 2.7.0 ")
    assert "AUTH" not in await wire.ask("EHLO poste")
    assert (await wire.ask(MAIL)).startswith("250 ")
    (event,) = await stage.journal(JournalKind.LOGIN)
    assert event.subject == ALICE and event.payload["protocol"] == "submission"


async def test_nothing_of_auth_in_clear(stage: SmtpStage) -> None:
    wire = await stage.connect(await stage.open("submission"))
    await wire.reply()
    assert "AUTH" not in await wire.ask("EHLO poste")
    assert (await wire.ask(f"AUTH PLAIN {PLAIN}")).endswith("[TLS-REQUIS]")
    assert await stage.journal() == []


@pytest.mark.parametrize("steps", [
    [f"AUTH PLAIN {PLAIN}"], [f"auth plain {PLAIN}"], ["AUTH PLAIN", PLAIN], ["AUTH LOGIN", b64(ALICE), b64(PASSWORD)],
    [f"AUTH LOGIN {b64(ALICE)}", b64(PASSWORD)], ["AUTH PLAIN", b64(f"{ALICE}\0{ALICE}\0{PASSWORD}")],
    ["AUTH LOGIN", b64(ALICE.upper()), b64(PASSWORD)]])
async def test_ways_to_log_in(wire: Wire, steps: list[str]) -> None:
    found = await wire.asks(*steps)
    assert all(reply.startswith("334 ") for reply in found[:-1]) and found[-1].startswith("235 ")


async def test_the_challenges_are_those_that_clients_know(wire: Wire) -> None:
    assert await wire.ask("AUTH PLAIN") == "334 "
    assert (await wire.ask("*")).startswith("501 5.7.0")
    assert await wire.ask("AUTH LOGIN") == f"334 {b64('Username:')}"
    assert await wire.ask(b64(ALICE)) == f"334 {b64('Password:')}"
    assert (await wire.ask("*")).endswith("[AUTH-ABANDON]")
    assert (await wire.ask(f"AUTH PLAIN {PLAIN}")).startswith("235 ")


async def test_a_pipelined_exchange(wire: Wire) -> None:
    await wire.send(f"AUTH LOGIN\r\n{b64(ALICE)}\r\n{b64(PASSWORD)}\r\n{MAIL}\r\n".encode())
    assert [(await wire.reply())[:3] for _ in range(4)] == ["334", "334", "235", "250"]


@pytest.mark.parametrize(("steps", "rule"), [
    (["AUTH"], "AUTH-MECANISME"), (["AUTH CRAM-MD5"], "AUTH-MECANISME"), (["AUTH EXTERNAL ="], "AUTH-MECANISME"),
    (["AUTH PLAIN ="], "SMTP-SYNTAXE"), (["AUTH PLAIN *"], "SMTP-SYNTAXE"), (["AUTH PLAIN !!!!"], "SMTP-SYNTAXE"),
    (["AUTH PLAIN", "not base64"], "SMTP-SYNTAXE"), (["AUTH PLAIN", ""], "SMTP-SYNTAXE"), (["AUTH PLAIN", b64("a")], "SMTP-SYNTAXE"),
    (["AUTH PLAIN", b64(f"\0{ALICE}\0")], "SMTP-SYNTAXE"), (["AUTH PLAIN", b64(f"\0{ALICE}\0a\r\nb")], "SMTP-SYNTAXE"),
    (["AUTH PLAIN", b64(f"\0{ALICE}\0" + "p" * 1025)], "SMTP-SYNTAXE"), (["AUTH LOGIN", b64("x" * 256)], "SMTP-SYNTAXE"),
    (["AUTH LOGIN", b64(ALICE), "="], "SMTP-SYNTAXE"), (["AUTH PLAIN é"], "SMTP-SYNTAXE")])
async def test_exchanges_that_are_no_login(stage: SmtpStage, wire: Wire, steps: list[str], rule: str) -> None:
    assert (await wire.asks(*steps))[-1].endswith(f"[{rule}]")
    assert (await wire.ask(MAIL)).endswith("[AUTH-REQUISE]")
    assert await stage.journal(JournalKind.LOGIN) == []


async def test_a_line_of_an_exchange_is_bounded_and_its_nul_ends_it(wire: Wire) -> None:
    await wire.ask("AUTH PLAIN")
    await wire.send(b"AAAA\x00\r\n")
    assert (await wire.reply()).endswith("[SMTP-LIGNE]")
    assert (await wire.ask("NOOP")).startswith("250 "), "a command again"
    await wire.ask("AUTH PLAIN")
    assert (await wire.ask("A" * 11_000)).endswith("[SMTP-SYNTAXE]")
    await wire.ask("AUTH PLAIN")
    await wire.send(b"A" * 13_000)
    assert (await wire.reply()).endswith("[SMTP-LIGNE-LONGUE]")


async def test_a_wrong_password_waits_longer_each_time_and_says_nothing_more(
        stage: SmtpStage, wire: Wire, slept: list[float]) -> None:
    unknown = b64("\0absent@hopital.mssante.fr\0wrong")
    replies = [await wire.ask(f"AUTH PLAIN {word}") for word in (WRONG, WRONG, WRONG, unknown)]
    assert len(set(replies)) == 1 and replies[0].startswith("535 5.7.8 ") and replies[0].endswith("[AUTH-REFUSEE]")
    assert slept == [0.5, 1.0, 2.0, 0.5]
    assert (await wire.ask(f"AUTH PLAIN {PLAIN}")).startswith("235 ")
    assert len(await stage.journal(JournalKind.LOGIN_REFUSED)) == 4
    assert "wrong" not in repr(await stage.journal())


async def test_wrong_passwords_count_as_errors(stage: SmtpStage, slept: list[float]) -> None:
    wire = await secured(stage, "submission", errors=2)
    for _ in range(3):
        await wire.ask(f"AUTH PLAIN {WRONG}")
    assert (await wire.reply()).endswith("[SESSION-ERREURS]")
    await wire.closed()


async def test_auth_out_of_order(stage: SmtpStage, wire: Wire) -> None:
    for command in (MAIL, "RCPT TO:<x@a.mssante.fr>", "DATA"):
        assert (await wire.ask(command)).endswith("[AUTH-REQUISE]")
    await wire.ask(f"AUTH PLAIN {PLAIN}")
    assert (await wire.ask(f"AUTH PLAIN {PLAIN}")).endswith("[AUTH-DEJA]")
    await wire.ask(MAIL)
    assert (await wire.ask("AUTH PLAIN")).endswith("[SMTP-SEQUENCE]")
    silent = await stage.connect(await stage.open("submissions"), tls=True)
    await silent.reply()
    assert (await silent.ask(f"AUTH PLAIN {PLAIN}")).endswith("[SMTP-SEQUENCE]"), "EHLO first"


async def test_an_incident_during_the_check_is_temporary(
        stage: SmtpStage, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **given: object) -> None:
        raise OperatorFault("storage failed", detail="secret")

    monkeypatch.setattr(stage.stores.database, "read", fail)
    reply = await wire.ask(f"AUTH PLAIN {PLAIN}")
    assert reply.startswith("454 4.7.0 ") and reply.endswith("[AUTH-INDISPONIBLE]") and "secret" not in reply  # RFC 4954 §6
    monkeypatch.undo()
    assert (await wire.ask(f"AUTH PLAIN {PLAIN}")).startswith("235 ")


# ---------------------------------------------------------------- SCRAM


async def scram_door(stage: SmtpStage, end_point: bytes) -> Wire:
    """Open a door that offers SCRAM, with a login that has a verifier."""
    made = make_secrets(PASSWORD)
    await stage.stores.database.write(lambda tx: stage.stores.accounts.update_account(
        tx, ALICE, secret_hash=made.secret_hash, scram=made.scram))
    names = frozenset({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"})
    port = await stage.open("submission", login=Circumstances(names, end_point))
    wire = await stage.connect(port)
    await wire.reply()
    ehlo = await wire.secure()
    assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" in [line[4:] for line in ehlo.split("\n")]
    return wire


async def scram(wire: Wire, client: ScramClient, mechanism: str) -> str:
    """Log in as a client does; give the last reply."""
    challenge = await wire.ask(f"AUTH {mechanism} {b64encode(client.first()).decode()}")
    assert challenge.startswith("334 ")
    final = await wire.ask(b64encode(client.final(b64decode(challenge[4:]))).decode())
    if not final.startswith("334 "):
        return final
    assert client.trusts(b64decode(final[4:]))
    return await wire.ask("")


async def test_scram_with_the_certificate_of_the_door(stage: SmtpStage, tmp_path: Path) -> None:
    path, _ = pem_files(tmp_path, "ours", *leaf("ours"))
    end_point = end_point_of(path)
    assert end_point == leaf("ours")[0].fingerprint(hashes.SHA256())
    wire = await scram_door(stage, end_point)
    seen = wire.writer.get_extra_info("ssl_object").getpeercert(True)
    client = ScramClient(ALICE, PASSWORD, gs2="p=tls-server-end-point,,", binding=hashlib.sha256(seen).digest())
    assert (await scram(wire, client, "SCRAM-SHA-256-PLUS")).startswith("235 ")
    assert (await wire.ask(MAIL)).startswith("250 ")


async def test_scram_refused(stage: SmtpStage, slept: list[float]) -> None:
    wire = await scram_door(stage, b"another certificate")
    seen = wire.writer.get_extra_info("ssl_object").getpeercert(True)
    client = ScramClient(ALICE, PASSWORD, gs2="p=tls-server-end-point,,", binding=hashlib.sha256(seen).digest())
    assert (await scram(wire, client, "SCRAM-SHA-256-PLUS")).startswith("535 "), "somebody stands in the middle"
    assert (await scram(wire, ScramClient(ALICE, "wrong"), "SCRAM-SHA-256")).startswith("535 ")
    assert (await scram(wire, ScramClient("absent@x", PASSWORD), "SCRAM-SHA-256")).startswith("535 ")
    assert slept == [0.5, 1.0, 0.5]
    fooled = b64encode(ScramClient(ALICE, PASSWORD, gs2="y,,").first()).decode()
    assert (await wire.ask(f"AUTH SCRAM-SHA-256 {fooled}")).startswith("535 ")
    assert (await scram(wire, ScramClient(ALICE, PASSWORD), "SCRAM-SHA-256")).startswith("235 ")
