"""TLS of the gateway over real sockets: our door as applications meet it, and applications as we meet them, with bad certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import uvloop
from support.hl7 import answer_to, order
from support.pki import certificate_pem, dn_text, pem_files
from support.smtp_stage import IGC, leaf

from mssante.config.documents import Hl7Application, Hl7Section
from mssante.endpoints.listeners import Door
from mssante.endpoints.mllp import MllpServer, MllpSettings
from mssante.errors import OperatorFault
from mssante.protocol.hl7v2.faults import Hl7Fault
from mssante.services.hl7values import Application, Caller
from mssante.topics.hl7 import application_of, door_tls, link_tls
from mssante.transport.mllp import MllpLink, MllpTarget

RAW = order(("a@a.mssante.fr",))
WAIT = 10.0
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@dataclass
class Site:
    """Files of a hospital, and configurations that name them."""

    folder: Path

    def files(self, name: str) -> dict[str, Path]:
        certificate, key = pem_files(self.folder, name, *leaf(name))
        return {"connect_certificate": certificate, "connect_key": key}

    def authorities(self, *names: str) -> Path:
        path = self.folder / f"{'-'.join(names)}.pem"
        path.write_bytes(certificate_pem(*[IGC.authority(name).certificate for name in names]))
        return path

    def application(self, **changes: Any) -> Hl7Application:
        return Hl7Application(**{"name": "dpi", "mailbox": "dpi@a.mssante.fr", "sending_application": "DPI", "networks": ("127.0.0.0/8",),
                                 "connect": "127.0.0.1:1", **changes})

    def config(self, **changes: Any) -> Any:
        section = Hl7Section(**{"enabled": True, "applications": (self.application(),), **changes})
        certificate, key = pem_files(self.folder, "ours", *leaf("ours"))
        tls = SimpleNamespace(client_certificate=certificate, client_key=key, operator_certificate=None, operator_key=None)
        return SimpleNamespace(operator=SimpleNamespace(hl7=section, tls=tls), path=lambda value: self.folder / value)

    def link(self, port: int, *, name: str = "localhost", seconds: float = WAIT, **changes: Any) -> MllpLink:
        one = self.application(**{"connect_tls": True, "connect_authorities": self.authorities("root", "organisations"),
                                  "connect_name": name, **changes})
        return MllpLink(MllpTarget("127.0.0.1", port, link_tls(self.config(), one), one.connect_name, seconds, WAIT))


class Taker:
    """A gateway that answers the applications that it knows."""

    def __init__(self, *applications: Application) -> None:
        self.applications = applications
        self.taken: list[bytes] = []

    def admits(self, caller: Caller) -> bool:
        return any(one.admits(caller) for one in self.applications)

    async def take(self, content: bytes, caller: Caller) -> bytes:
        self.taken.append(content)
        return answer_to(content)

    async def reject(self, head: bytes, fault: Hl7Fault) -> bytes:
        return b""


class Place:
    """An open door. tls None: clear."""

    def __init__(self, taker: Taker, tls: ssl.SSLContext | None) -> None:
        self.taker, self.tls = taker, tls
        self.door = Door("mllp", total=10, per_address=10)
        self.server = MllpServer(MllpSettings(100_000, 200_000, 60.0, 60.0), self.door, taker)
        self.port = 0

    async def __aenter__(self) -> Place:
        await self.server.open("127.0.0.1:0", self.tls)
        self.port = self.door._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.door.close(WAIT)
        assert self.door.open_sessions == 0


async def verdict(link: MllpLink) -> tuple[str, str]:
    """Give ("AA", "") for a message that was taken, else rule and detail of the fault; the second try must say the same."""
    said: list[tuple[str, str]] = []
    for _ in range(2):
        try:
            assert await link.exchange(RAW) == answer_to(RAW)
            said.append(("AA", ""))
        except OperatorFault as fault:
            said.append((fault.rule, fault.detail))
    await link.close()
    assert said[0] == said[1]
    return said[0]


def run(loop: Callable[[], Any], work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


# -------------------------------------------------------------------------------------------------- our door

@LOOPS
@pytest.mark.parametrize(("shown", "rule", "detail", "reason"), [
    ("a", "AA", "", ""),
    ("", "HL7-TLS", "CERTIFICATE_REQUIRED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    ("foreign", "HL7-TLS", "UNKNOWN_CA", "certificate refused: unable to get local issuer certificate"),
    ("expired", "HL7-TLS", "CERTIFICATE_EXPIRED", "certificate refused: certificate has expired"),
])
def test_a_door_that_asks_for_a_certificate(
        tmp_path: Path, loop: Callable[[], Any], shown: str, rule: str, detail: str, reason: str) -> None:
    site = Site(tmp_path)
    config = site.config(tls=True, client_authorities=site.authorities("organisations"))  # the issuing authority alone

    async def go() -> tuple[tuple[str, str], int]:
        taker = Taker(application_of(config.operator.hl7, site.application()))
        async with Place(taker, door_tls(config)) as place:
            said = await verdict(site.link(place.port, **(site.files(shown) if shown else {})))
            return said, len(taker.taken)

    with structlog.testing.capture_logs() as logs:
        said, taken = run(loop, go())
    assert said[0] == rule
    assert said[1].endswith(detail)
    assert taken == (2 if rule == "AA" else 0)
    assert [(one["rule"], one["reason"]) for one in logs] == ([("HL7-TLS", reason)] * 2 if reason else [])


def test_a_door_without_client_certificates_takes_all_of_its_networks(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def go(network: str, **files: Any) -> tuple[str, str]:
        config = site.config(tls=True, applications=(site.application(networks=(network,)),))
        taker = Taker(application_of(config.operator.hl7, config.operator.hl7.applications[0]))
        async with Place(taker, door_tls(config)) as place:
            return await verdict(site.link(place.port, **files))

    assert asyncio.run(go("127.0.0.0/8"))[0] == "AA"
    assert asyncio.run(go("127.0.0.0/8", **site.files("foreign")))[0] == "AA", "none is asked for: none is judged"
    assert asyncio.run(go("10.0.0.0/8"))[0] == "HL7-INJOIGNABLE"


@pytest.mark.parametrize(("pinned", "shown", "rule"), [
    ("a", "a", "AA"), ("a", "b", "HL7-INJOIGNABLE"), ("b", "a", "HL7-INJOIGNABLE"), ("a", "", "HL7-TLS")])
@pytest.mark.parametrize("by", ["subjects", "certificates"])
def test_a_pinned_name_or_certificate(tmp_path: Path, by: str, pinned: str, shown: str, rule: str) -> None:
    site = Site(tmp_path)
    certificate = leaf(pinned)[0]
    from cryptography.hazmat.primitives.hashes import SHA256

    value = dn_text(certificate) if by == "subjects" else certificate.fingerprint(SHA256()).hex()
    config = site.config(tls=True, client_authorities=site.authorities("root", "organisations"),
                         applications=(site.application(networks=(), **{by: (value,)}),))

    async def go() -> tuple[str, str]:
        taker = Taker(application_of(config.operator.hl7, config.operator.hl7.applications[0]))
        async with Place(taker, door_tls(config)) as place:
            return await verdict(site.link(place.port, **(site.files(shown) if shown else {})))

    with structlog.testing.capture_logs() as logs:
        assert asyncio.run(go())[0] == rule
    assert {one["rule"] for one in logs} == {"AA": set(), "HL7-INJOIGNABLE": {"HL7-RESEAU"}, "HL7-TLS": {"HL7-TLS"}}[rule]


def test_a_name_that_outlives_a_renewal(tmp_path: Path) -> None:
    renewed, _ = IGC.leaf("mx.a.mssante.fr", serial=77)
    one = application_of(Site(tmp_path).config().operator.hl7, Site(tmp_path).application(subjects=(dn_text(leaf("a")[0]),)))
    from mssante.trust.names import dn_from_x509

    assert one.admits(Caller.of("127.0.0.1", "ab" * 32, dn_from_x509(renewed.subject).pairs))
    assert not one.admits(Caller.of("127.0.0.1", "ab" * 32, dn_from_x509(leaf("b")[0].subject).pairs))
    assert not one.admits(Caller.of("127.0.0.1"))


@LOOPS
def test_what_does_not_speak_tls_at_a_tls_door_and_tls_at_a_clear_one(tmp_path: Path, loop: Callable[[], Any]) -> None:
    site = Site(tmp_path)
    config = site.config(tls=True)

    async def go() -> None:
        taker = Taker(application_of(config.operator.hl7, site.application()))
        async with Place(taker, door_tls(config)) as place:
            assert (await verdict(MllpLink(MllpTarget("127.0.0.1", place.port))))[0] == "HL7-INJOIGNABLE"
        async with Place(taker, None) as place:
            link = site.link(place.port, seconds=0.2)
            with pytest.raises(OperatorFault) as caught:
                await link.exchange(RAW)
            assert caught.value.rule in ("HL7-INJOIGNABLE", "HL7-TLS")  # each waits for the other; the loops end it in their ways
        # random octets may look like a block (FS CR), one time in thousands: never like a message
        assert not any(one.startswith(b"MSH") for one in taker.taken)

    run(loop, go())


@LOOPS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_first_octets_that_come_with_the_handshake(tmp_path: Path, loop: Callable[[], Any], version: ssl.TLSVersion) -> None:
    site = Site(tmp_path)

    async def go() -> None:
        taker = Taker(application_of(site.config().operator.hl7, site.application()))
        async with Place(taker, door_tls(site.config(tls=True))) as place:
            mine = link_tls(site.config(), site.application(connect_tls=True, connect_authorities=site.authorities("root", "organisations")))
            assert mine is not None
            mine.minimum_version = mine.maximum_version = version
            for _ in range(5):
                link = MllpLink(MllpTarget("127.0.0.1", place.port, mine, "localhost"))
                assert await link.exchange(RAW) == answer_to(RAW)
                await link.close()
        assert len(taker.taken) == 5

    run(loop, go())


@LOOPS
def test_a_handshake_that_does_not_come_takes_a_place_for_a_time(tmp_path: Path, loop: Callable[[], Any]) -> None:
    site = Site(tmp_path)

    async def go() -> None:
        taker = Taker(application_of(site.config().operator.hl7, site.application()))
        async with Place(taker, door_tls(site.config(tls=True))) as place:
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            async with asyncio.timeout(WAIT):
                while place.door.open_sessions != 1:
                    await asyncio.sleep(0)
                (waiting,) = place.door._sessions
                waiting.deadline = 0.0
                place.door.sweep()
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
                while place.door.open_sessions:
                    await asyncio.sleep(0)
            writer.close()

    run(loop, go())


@LOOPS
def test_a_full_door_begins_no_handshake(tmp_path: Path, loop: Callable[[], Any]) -> None:
    site = Site(tmp_path)

    async def go() -> None:
        taker = Taker(application_of(site.config().operator.hl7, site.application()))
        async with Place(taker, door_tls(site.config(tls=True))) as place:
            place.door._total = 1
            first = site.link(place.port)
            assert await first.exchange(RAW) == answer_to(RAW)
            assert (await verdict(site.link(place.port)))[0] == "HL7-INJOIGNABLE"
            assert await first.exchange(RAW) == answer_to(RAW)
            await first.close()

    run(loop, go())


# ---------------------------------------------------------------------------------------- toward an application

def its_tls(site: Site, shown: str, *, asks: bool = False) -> ssl.SSLContext:
    """Give the TLS of an application, as its author would write it."""
    certificate, key = pem_files(site.folder, f"app-{shown}", *leaf(shown))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if asks:
        context.load_verify_locations(cafile=str(site.authorities("root", "organisations")))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@LOOPS
@pytest.mark.parametrize(("shown", "asks", "changes", "rule", "detail"), [
    ("ours", False, {}, "AA", ""),
    ("ours", False, {"connect_authorities": "organisations"}, "AA", ""),
    ("ours", False, {"connect_name": "mx.elsewhere.fr"}, "HL7-TLS", "Hostname mismatch, certificate is not valid for 'mx.elsewhere.fr'."),
    ("ours", False, {"connect_name": ""}, "HL7-TLS", "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ("ours", False, {"connect_authorities": "foreign"}, "HL7-TLS", "unable to get local issuer certificate"),
    ("ours", False, {"connect_authorities": None}, "HL7-TLS", "unable to get local issuer certificate"),
    ("expired", False, {"connect_name": "mx.x.mssante.fr"}, "HL7-TLS", "certificate has expired"),
    ("ours", True, {"shown": "a"}, "AA", ""),
    ("ours", True, {}, "HL7-TLS", "CERTIFICATE_REQUIRED"),
    ("ours", True, {"shown": "foreign"}, "HL7-TLS", "UNKNOWN_CA"),
])
def test_an_application_behind_tls(tmp_path: Path, loop: Callable[[], Any], shown: str, asks: bool, changes: dict[str, Any],
                                   rule: str, detail: str) -> None:
    site, given = Site(tmp_path), dict(changes)
    mine = given.pop("shown", "")
    if given.get("connect_authorities"):
        given["connect_authorities"] = site.authorities(given["connect_authorities"])
    name = given.pop("connect_name", "localhost")

    async def go() -> tuple[tuple[str, str], int]:
        taken: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                taken.append(data)
                writer.write(b"\x0b" + answer_to(RAW) + b"\x1c\r")
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=its_tls(site, shown, asks=asks))
        async with server:
            said = await verdict(site.link(server.sockets[0].getsockname()[1], name=name, **given, **(site.files(mine) if mine else {})))
            return said, len(taken)

    said, taken = run(loop, go())
    if (rule, asks) == ("HL7-TLS", True) and said[0] == "HL7-INJOIGNABLE":
        said = (rule, detail)  # their event loop cuts the connection and keeps the alert: ours (above) sends it
    assert said[0] == rule
    assert said[1].endswith(detail)
    assert bool(taken) == (rule == "AA"), "nothing leaves before the application is known"


def test_an_application_that_answers_in_clear_or_not_at_all(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def go(answer: bytes) -> tuple[str, str]:
        got: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.read(65_536))
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            said = await verdict(site.link(server.sockets[0].getsockname()[1]))
        assert got
        assert not any(b"MSH" in one for one in got), "never in clear"
        return said

    assert asyncio.run(go(b"\x0b" + answer_to(RAW) + b"\x1c\r"))[0] == "HL7-TLS"
    assert asyncio.run(go(b""))[0] in ("HL7-INJOIGNABLE", "HL7-TLS")


def test_a_key_with_a_password_or_of_another_certificate_is_refused_before_anything_opens(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    from mssante.errors import InputFault

    site = Site(tmp_path)
    files = site.files("a")
    files["connect_key"].write_bytes(leaf("a")[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")))
    for key in (files["connect_key"], site.files("b")["connect_key"]):
        with pytest.raises(InputFault) as caught:
            link_tls(site.config(), site.application(connect_tls=True, connect_certificate=files["connect_certificate"], connect_key=key))
        assert caught.value.rule == "HL7-TLS"
