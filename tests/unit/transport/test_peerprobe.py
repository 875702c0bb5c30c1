"""The probe against doors of every sort: sound, weak, open to strangers, vulnerable, hostile. Bounded and typed, always."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.pki import build_igc, pem_files

from mssante.services.peervalues import Door, Observed
from mssante.transport import peerprobe
from mssante.transport.peerprobe import PeerProbe, ProbeSettings, client_context, find_open

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SHORT = {"connect": 2.0, "wait": 0.4, "handshake": 0.25, "talk": 1.0, "whole": 6.0}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    certificate, key = build_igc().leaf("mta.chez-nous.test")
    return pem_files(folder, "mta", [certificate, build_igc().organisations.certificate], key)


@asynccontextmanager
async def door(handler: Handler) -> AsyncIterator[Door]:
    """A server of our own on a free port; its connections end with it."""
    tasks: set[asyncio.Task[Any]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Door("mta.pair.test", "127.0.0.1", port)
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def probe(handler: Handler, pair: tuple[Path, Path], **limits: float) -> Observed:
    async with door(handler) as there:
        return await PeerProbe(ProbeSettings("mta.chez-nous.test", *pair, "postmaster@chez-nous.test", **(SHORT | limits)), there).run()


class Mta:
    """A server that speaks a little SMTP. ask: ask clients for a certificate; drops: forget what came behind STARTTLS."""

    def __init__(self, pair: tuple[Path, Path], *, drops: bool = True, strict: bool = False, ciphers: str = "",
                 lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*pair)
        self.context.minimum_version = lowest
        if ciphers:
            self.context.set_ciphers(ciphers)
        if strict:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(cadata=build_igc().anchors_pem.decode())
        self.drops = drops

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mta.pair.test ESMTP\r\n")
        secure = False
        waiting: list[bytes] = []
        while True:
            line = waiting.pop(0) if waiting else await reader.readuntil(b"\r\n")
            verb = line.split()[0].upper()
            if verb == b"STARTTLS":
                behind = b"" if self.drops else bytes(reader._buffer)  # type: ignore[attr-defined]
                reader._buffer.clear()  # type: ignore[attr-defined]
                writer.write(b"220 2.0.0 go\r\n")
                await writer.drain()
                await writer.start_tls(self.context)
                waiting += [one + b"\r\n" for one in behind.split(b"\r\n") if one]
                secure = True
            elif verb == b"EHLO":
                writer.write(b"250-mta.pair.test\r\n250-PIPELINING\r\n250-SIZE 30000000\r\n"
                             + (b"" if secure else b"250-STARTTLS\r\n") + b"250 8BITMIME\r\n")
            elif verb == b"MAIL" and not secure:
                writer.write(b"530 5.7.0 STARTTLS first\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                await writer.drain()
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")
            await writer.drain()


async def test_a_lax_server_is_seen_whole(pair: tuple[Path, Path]) -> None:
    seen = await probe(Mta(pair), pair, wait=5.0, talk=10.0, whole=60.0, handshake=5.0)
    assert set(seen.talks) == {"plain", "ours", "injection", "without", "foreign", "tls1.0", "tls1.1", "tls1.2", "tls1.3", "cbc", "rsa"}
    ours = seen.talks["ours"]
    assert ours.tls is not None and ours.tls.version == "TLSv1.3" and len(ours.tls.chain) == 2
    assert [one.code for one in ours.inside] == [250, 250, 250, 250, 250, 221] and not ours.fault
    for stranger in ("without", "foreign"):
        mail = seen.talks[stranger].find("MAIL", inside=True)
        assert mail is not None and mail.code == 250, "nobody asked for a certificate"
    assert not seen.talks["tls1.1"].tls.done  # type: ignore[union-attr]
    assert [one.code for one in seen.talks["injection"].inside if one.code] == [250, 221], "what came behind STARTTLS was forgotten"


async def test_a_strict_server_refuses_strangers(pair: tuple[Path, Path]) -> None:
    seen = await probe(Mta(pair, strict=True), pair, wait=5.0, talk=10.0, whole=60.0, handshake=5.0)
    assert seen.talks["ours"].find("MAIL", inside=True).code == 250  # type: ignore[union-attr]
    for stranger in ("without", "foreign"):
        talk = seen.talks[stranger]
        assert talk.fault in ("SMTP-TLS-HANDSHAKE", "SMTP-CLOSED") and talk.find("MAIL", inside=True) is None


async def test_a_command_behind_starttls_that_is_run(pair: tuple[Path, Path]) -> None:
    seen = await probe(Mta(pair, drops=False), pair, wait=5.0, talk=10.0, whole=60.0, handshake=5.0)
    assert [one.code for one in seen.talks["injection"].inside if one.code] == [250, 250, 221]


async def test_weak_offers_are_taken_by_a_weak_server(pair: tuple[Path, Path]) -> None:
    weak = Mta(pair, ciphers="ALL:@SECLEVEL=0", lowest=ssl.TLSVersion.TLSv1)
    seen = await probe(weak, pair, wait=5.0, talk=10.0, whole=60.0, handshake=5.0)
    taken = {name: seen.talks[name].tls.version for name in ("tls1.0", "tls1.1", "cbc", "rsa")}  # type: ignore[union-attr]
    assert taken == {"tls1.0": "TLSv1", "tls1.1": "TLSv1.1", "cbc": "TLSv1.2", "rsa": "TLSv1.2"}


# ------------------------------------------------------------ hostile doors


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"220-" + b"x" * 900 + b"\r\n")
        await writer.drain()


async def one_endless_line(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"220 " + b"x" * 65536)
        await writer.drain()


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.05)


async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(range(256)) * 4 + b"\r\n")
    await writer.drain()


async def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def http(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")
    await writer.drain()


async def refuses(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"554 5.7.1 go away\r\n")
    await writer.drain()


@pytest.mark.parametrize(("handler", "faults"), [
    (flood, {"SMTP-REPLY-LINE"}), (one_endless_line, {"SMTP-REPLY-LINE"}), (hang, {"SMTP-TIMEOUT"}), (drip, {"SMTP-TIMEOUT"}),
    (garbage, {"SMTP-REPLY-SYNTAX"}), (slam, {"SMTP-CLOSED"}), (http, {"SMTP-REPLY-SYNTAX"}),
    (refuses, {"SMTP-CLOSED"}),
])
async def test_a_hostile_greeting_costs_one_bounded_talk(handler: Handler, faults: set[str], pair: tuple[Path, Path]) -> None:
    seen = await probe(handler, pair)
    assert set(seen.talks) == {"plain"} and seen.talks["plain"].fault in faults
    assert sum(len(one.text) for one in seen.talks["plain"].clear) <= 10 * peerprobe.MAX_TEXT


def after_starttls(behaviour: Handler) -> Handler:
    """A server that is polite until STARTTLS, then behaves so."""
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mta ESMTP\r\n")
        while True:
            line = await reader.readuntil(b"\r\n")
            if line.startswith(b"STARTTLS"):
                await behaviour(reader, writer)
                return
            writer.write(b"250-mta\r\n250 STARTTLS\r\n" if line.startswith(b"EHLO") else b"530 no\r\n")
            await writer.drain()

    return handler


async def says_then_floods(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 go\r\n")
    while True:
        writer.write(b"\x16\x03\x03\x40\x00" + b"\x00" * 16384)
        await writer.drain()


async def says_then_hangs(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 go\r\n")
    await writer.drain()
    await asyncio.Event().wait()


async def adds_clear_text(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 go\r\n250 injected\r\n")
    await writer.drain()
    await asyncio.Event().wait()


async def never_goes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"454 4.7.0 TLS not available\r\n")
    await writer.drain()


@pytest.mark.parametrize(("behaviour", "reason"), [
    (says_then_floods, ""), (says_then_hangs, "timeout"), (adds_clear_text, ""), (never_goes, "")])
async def test_hostile_after_starttls(behaviour: Handler, reason: str, pair: tuple[Path, Path]) -> None:
    seen = await probe(after_starttls(behaviour), pair, whole=30.0)
    assert set(seen.talks) >= {"plain", "ours", "without", "foreign", "tls1.2"}
    assert not any(talk.tls is not None and talk.tls.done for talk in seen.talks.values())
    if reason:
        assert {talk.tls.reason for name, talk in seen.talks.items() if talk.tls is not None} == {reason}
    if behaviour is adds_clear_text:
        assert seen.talks["ours"].fault == "SMTP-STARTTLS-INJECTION"


async def test_the_whole_is_bounded_too(pair: tuple[Path, Path]) -> None:
    seen = await probe(after_starttls(says_then_hangs), pair, handshake=5.0, talk=5.0, wait=5.0, whole=0.5)
    assert seen.ended == "SMTP-TIMEOUT" and "rsa" not in seen.talks


async def test_inside_tls_too(pair: tuple[Path, Path]) -> None:
    context = Mta(pair).context

    async def floods_inside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 go\r\n")
        await writer.drain()
        await writer.start_tls(context)
        while True:
            writer.write(b"250-" + b"y" * 900 + b"\r\n")
            await writer.drain()

    seen = await probe(after_starttls(floods_inside), pair, wait=5.0, talk=10.0, whole=60.0, handshake=5.0)
    assert seen.talks["ours"].fault == "SMTP-REPLY-LINE"


async def test_doors_that_do_not_open(pair: tuple[Path, Path]) -> None:
    async with door(hang) as there:
        pass
    closed, other = await find_open([there, Door("x", "127.0.0.1", 0)], 1.0)
    assert closed.fault.startswith("SMTP-CONNECT") and other.fault
    seen = await PeerProbe(ProbeSettings("a.test", *pair, "p@a.test", **SHORT), there).run()
    assert seen.talks["plain"].fault == "SMTP-CONNECT"
    assert len(await find_open([there] * 50, 1.0)) == peerprobe.MAX_DOORS


def test_our_own_files_that_do_not_serve(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(OSError):
        client_context((tmp_path / "none.pem", tmp_path / "none.key"))
    other = pem_files(tmp_path, "other", *build_igc().leaf("autre.test"))
    with pytest.raises(ssl.SSLError):
        client_context((pair[0], other[1]))
