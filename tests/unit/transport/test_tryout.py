"""The try of a pair at another's door: how far it goes, what it says, never a letter, never a crash."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from support.smtp_receiver import Identity, Receiver, make_identity

from mssante.transport import tryout
from mssante.transport.smtp_connection import Endpoint
from mssante.transport.tryout import Tried, try_pair


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("server"), "mx.beta.test")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("ours"), "mta.alpha.test")


def context(identity: Identity) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.load_cert_chain(identity.certificate, identity.key)
    return made


async def knock(receiver: Receiver, ours: Identity) -> Tried:
    return await try_pair(Endpoint("127.0.0.1", receiver.port, "mx.beta.test"), context(ours), ehlo_name="mta.alpha.test",
                          sender="postmaster@alpha.test")


async def test_an_accepted_pair(server: Identity, ours: Identity) -> None:
    async with Receiver(server, ours) as receiver:
        tried = await knock(receiver, ours)
    assert tried.accepted and tried.step == "MAIL" and tried.reply == "250 2.1.0 ok"
    assert tried.leaf == server.der and tried.tls == "TLSv1.3" and receiver.leaves == [ours.der]
    assert receiver.sealed == ["EHLO mta.alpha.test", "MAIL FROM:<postmaster@alpha.test>", "RSET", "QUIT"] and not receiver.contents


async def test_a_refusal_is_told_word_for_word(server: Identity, ours: Identity) -> None:
    async with Receiver(server, ours) as receiver:
        receiver.on["MAIL"] = "554 5.7.1 Certificat inconnu de la liste [PEER-CERT-NOT-LISTED]"
        tried = await knock(receiver, ours)
    assert (tried.accepted, tried.step) == (False, "MAIL") and "[PEER-CERT-NOT-LISTED]" in tried.reply


@pytest.mark.parametrize(("starttls", "step"), [("refuse", "STARTTLS"), ("strip", "STARTTLS"), ("inject", "TLS"), ("clear", "TLS")])
async def test_bad_doors(server: Identity, ours: Identity, starttls: str, step: str) -> None:
    async with Receiver(server) as receiver:
        receiver.starttls = starttls
        if starttls == "strip":
            receiver.starttls = "refuse"
        tried = await knock(receiver, ours)
    assert not tried.accepted and tried.step == step and tried.reply
    assert not receiver.sealed


async def test_a_door_that_wants_another_authority(server: Identity, ours: Identity, tmp_path: Path) -> None:
    async with Receiver(server, make_identity(tmp_path, "other.test")) as receiver:
        tried = await knock(receiver, ours)
    assert not tried.accepted and tried.step in ("TLS", "EHLO TLS") and tried.reply


async def test_a_greeting_that_refuses_and_a_server_that_cuts(server: Identity, ours: Identity) -> None:
    async with Receiver(server) as receiver:
        receiver.greeting = "554 5.7.1 no"
        assert (await knock(receiver, ours)).reply == "554 5.7.1 no"
        receiver.greeting = "220 ok"
        receiver.on["MAIL"] = None
        tried = await knock(receiver, ours)
        assert not tried.accepted and tried.step == "MAIL"


async def test_nobody_there_and_nobody_speaking(server: Identity, ours: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(server) as receiver:
        receiver.greeting = ""
        monkeypatch.setattr(tryout, "REPLY_SECONDS", 0.1)
        assert (await knock(receiver, ours)).reply == "timeout"
    assert (await knock(receiver, ours)).step == "connect"


async def test_a_flood_is_cut(server: Identity, ours: Identity) -> None:
    async with Receiver(server) as receiver:
        receiver.greeting = "220-" + "x" * 400 + "\r\n" + "\r\n".join(["220-" + "y" * 400] * 1000)
        tried = await knock(receiver, ours)
    assert not tried.accepted and tried.step == "greeting"
