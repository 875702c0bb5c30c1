"""The outbound driver against real sockets and real TLS, well-behaved and hostile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.smtp_receiver import Identity, Receiver, make_identity

from mssante.errors import InputFault, MssFault, OperatorFault, PeerFault
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.protocol.smtp.client import Transaction
from mssante.protocol.smtp.replies import SmtpFault
from mssante.transport.smtp_connection import Endpoint, SmtpSession, SmtpTimeouts, open_session
from mssante.transport.tls_offer import outbound_tls

QUICK = SmtpTimeouts(connect=5, handshake=5, greeting=5, command=5, block=5, final=5, quit=1, transaction=10)
SECRET = b"Subject: s\r\n\r\nresultat-secret\r\n"


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("alpha"), "mx.alpha.test")


@pytest.fixture(scope="module")
def beta(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("beta"), "mx.beta.test")


def letter(count: int = 1) -> Transaction:
    return Transaction(
        MailAddress("claire", "alpha.test"),
        tuple(Recipient(MailAddress(f"box{index}", "beta.test")) for index in range(count)), size=len(SECRET))


async def connect(receiver: Receiver, alpha: Identity, beta: Identity, timeouts: SmtpTimeouts = QUICK) -> SmtpSession:
    def verify(leaf: bytes) -> None:
        if leaf != beta.der:
            raise PeerFault("certificate is not the operator's", rule="TRUST-DN")

    return await open_session(
        Endpoint("127.0.0.1", receiver.port, "mx.beta.test"), tls=outbound_tls(alpha.certificate, alpha.key),
        ehlo_name="mx.alpha.test", verify=verify, timeouts=timeouts)


async def fault_of(receiver: Receiver, alpha: Identity, beta: Identity, timeouts: SmtpTimeouts = QUICK) -> MssFault:
    with pytest.raises(MssFault) as caught:
        await connect(receiver, alpha, beta, timeouts)
    return caught.value


def no_envelope(receiver: Receiver) -> bool:
    """True when neither an envelope nor a content octet was ever received."""
    seen = receiver.clear + receiver.sealed
    return not receiver.contents and not any("MAIL" in line or "secret" in line for line in seen)


async def test_letter_goes_through_mutual_tls(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta, alpha) as receiver:
        session = await connect(receiver, alpha, beta)
        result = await session.send(letter(2), [SECRET[:10], SECRET[10:]])
        assert result.fault is None
        assert result.replies.final is not None
        assert result.replies.final.text == "250 2.0.0 taken"
        assert session.usable
        again = await session.send(letter(), [b".hidden\r\n.\r\nMAIL FROM:<evil@x.test>"])
        assert again.fault is None
        await session.quit()
    assert receiver.contents == [SECRET, b".hidden\r\n.\r\nMAIL FROM:<evil@x.test>\r\n"]
    assert receiver.leaves == [alpha.der]
    assert receiver.clear == ["EHLO mx.alpha.test", "STARTTLS"]
    assert receiver.sealed[-1] == "QUIT"
    assert session.tls.startswith("TLSv1.3 TLS_")
    assert len(session.certificate) == 64


async def test_large_stream_goes_whole_under_back_pressure(alpha: Identity, beta: Identity) -> None:
    lines = b"".join(b".%07d " % index + b"x" * 60 + b"\r\n" for index in range(60_000))
    opened = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        for start in range(0, len(lines), 70_001):
            yield lines[start:start + 70_001]

    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta)
        result = await session.send(letter(), body)
        await session.quit()
    assert result.fault is None
    assert opened == 1
    assert receiver.contents == [lines]


@pytest.mark.parametrize(
    ("mode", "rule"),
    [("strip", "SMTP-NO-STARTTLS"), ("refuse", "SMTP-NO-STARTTLS"), ("inject", "SMTP-STARTTLS-INJECTION"),
     ("clear", "SMTP-TLS-HANDSHAKE")],
)
async def test_no_octet_of_mail_in_clear(alpha: Identity, beta: Identity, mode: str, rule: str) -> None:
    async with Receiver(beta) as receiver:
        receiver.starttls = mode
        fault = await fault_of(receiver, alpha, beta)
    assert fault.rule == rule
    assert fault.temporary
    assert no_envelope(receiver)
    assert receiver.sealed == []


async def test_handshake_that_never_comes_is_cut(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        receiver.starttls = "silent"
        fault = await fault_of(receiver, alpha, beta, replace(QUICK, handshake=0.1))
    assert fault.rule == "SMTP-TLS-HANDSHAKE"


async def test_stranger_gets_nothing_not_even_ehlo(alpha: Identity, beta: Identity, tmp_path: Path) -> None:
    async with Receiver(make_identity(tmp_path, "mx.beta.test")) as receiver:
        fault = await fault_of(receiver, alpha, beta)
    assert fault.rule == "TRUST-DN"
    assert receiver.sealed == []


async def test_server_that_refuses_our_certificate(alpha: Identity, beta: Identity, tmp_path: Path) -> None:
    async with Receiver(beta, make_identity(tmp_path, "mx.other.test")) as receiver:
        fault = await fault_of(receiver, alpha, beta)
    assert fault.rule in ("SMTP-CLOSED", "SMTP-TLS-HANDSHAKE")  # TLS 1.3 tells it after the handshake
    assert no_envelope(receiver)


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"), (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_tls_floor(alpha: Identity, beta: Identity, version: ssl.TLSVersion, ciphers: str) -> None:
    async with Receiver(beta) as receiver:
        receiver.context.set_ciphers(ciphers)
        receiver.context.minimum_version = ssl.TLSVersion.TLSv1
        receiver.context.maximum_version = version
        fault = await fault_of(receiver, alpha, beta)
    assert fault.rule == "SMTP-TLS-HANDSHAKE"
    assert no_envelope(receiver)


async def test_silent_server_is_left(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        receiver.greeting = ""
        fault = await fault_of(receiver, alpha, beta, replace(QUICK, greeting=0.1))
    assert fault.rule == "SMTP-TIMEOUT"


async def test_nobody_listens(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        pass
    fault = await fault_of(receiver, alpha, beta)
    assert fault.rule == "SMTP-CONNECT"


async def test_refusing_greeting(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        receiver.greeting = "554 5.7.1 unknown operator"
        fault = await fault_of(receiver, alpha, beta)
    assert isinstance(fault, SmtpFault)
    assert fault.reply is not None
    assert fault.reply.code == 554


@pytest.mark.parametrize(
    ("verb", "reply", "rule"),
    [(".", None, "SMTP-OUTCOME-UNKNOWN"), ("MAIL", None, "SMTP-CLOSED"), ("RCPT", "421 4.3.2 stopping", "SMTP-ENDED"),
     ("DATA", "250 fine", "SMTP-REPLY-SYNTAX"), ("RCPT", "rubbish", "SMTP-REPLY-SYNTAX"),
     ("DATA", "354 go\r\n250 2.0.0 taken", "SMTP-UNSOLICITED"), ("RCPT", "250 " + "x" * 5000, "SMTP-REPLY-LINE")])
async def test_session_broken_in_a_transaction(
    alpha: Identity, beta: Identity, verb: str, reply: str | None, rule: str,
) -> None:
    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta)
        receiver.on[verb] = reply
        result = await session.send(letter(), [SECRET])
    assert result.fault is not None
    assert result.fault.rule == rule
    assert not session.usable


async def test_slow_final_reply_is_unknown(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta, replace(QUICK, final=0.1))
        receiver.on["."] = lambda line: asyncio.Event().wait()  # type: ignore[assignment,return-value]
        result = await session.send(letter(), [SECRET])
    assert result.fault is not None
    assert result.fault.rule == "SMTP-OUTCOME-UNKNOWN"


async def test_transaction_that_drips_is_cut(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta, replace(QUICK, transaction=0.1))
        receiver.on["RCPT"] = lambda line: asyncio.Event().wait()  # type: ignore[assignment,return-value]
        result = await session.send(letter(), [SECRET])
    assert result.fault is not None
    assert result.fault.rule == "SMTP-TIMEOUT"
    assert not session.usable


async def test_receiver_that_does_not_read_the_body_is_left(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta, replace(QUICK, block=0.2))
        receiver.stall = True
        result = await session.send(letter(), [b"x" * 70 + b"\r\n"] * 400_000)
    assert result.fault is not None
    assert result.fault.rule == "SMTP-TIMEOUT"
    assert receiver.contents == []


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\r.\r\n", b"a\x00\r\n"])
async def test_content_with_bare_octets_never_leaves(alpha: Identity, beta: Identity, content: bytes) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"first line\r\n" * 30_000
        yield content

    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta)
        result = await session.send(letter(), [content])
        assert isinstance(result.fault, InputFault)
        assert no_envelope(receiver)
        assert session.usable  # nothing was sent: the session goes on
        result = await session.send(letter(), stream)
        assert isinstance(result.fault, InputFault)
        assert not session.usable
    assert receiver.contents == []  # cut without a final dot


async def test_content_that_cannot_be_read_gets_no_final_dot(alpha: Identity, beta: Identity) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield SECRET
        raise OSError("disk")

    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta)
        result = await session.send(letter(), stream)
    assert isinstance(result.fault, OperatorFault)
    assert result.fault.rule == "SMTP-BODY"
    assert receiver.contents == []


async def test_idle_session_that_the_server_closes_is_not_usable(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        session = await connect(receiver, alpha, beta)
        assert session.usable
    await asyncio.wait_for(session._wire.closed, 5)
    assert not session.usable
    await session.quit()


async def test_cancelled_send_cuts_the_session(alpha: Identity, beta: Identity) -> None:
    async with Receiver(beta) as receiver:
        reached = asyncio.Event()

        async def hang(line: str) -> None:
            reached.set()
            await asyncio.Event().wait()

        receiver.on["RCPT"] = hang
        session = await connect(receiver, alpha, beta)
        task = asyncio.create_task(session.send(letter(), [SECRET]))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.usable
    assert receiver.contents == []
