"""What doors serve: swapped while they are open, chosen by name, resumed with the client's identity, refused with an alert."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.pki import der, key_pem, pem_files
from support.smtp_stage import IGC, leaf
from support.tls_memory import client, shake

from mssante.endpoints.listeners import listen_on
from mssante.endpoints.tls_context import AlertingContext, bound
from mssante.endpoints.tls_material import DoorPlan, DoorTls, build
from mssante.errors import OperatorFault
from mssante.protocol.sasl.mechanisms import ALL, Circumstances
from mssante.services.tlskeys import Pair, ReadPair, read_pair

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ("ours", "a", "b")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReadPair]:
    folder = tmp_path_factory.mktemp("pairs")
    found = {name: read_pair(Pair(*pem_files(folder, name, *leaf(name))), NOW, IGC.anchors) for name in NAMES}
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = IGC.leaf("mx.hopital.mssante.fr", key=key)[0]  # type: ignore[arg-type]
    (folder / "ec.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ec.key").write_bytes(key_pem(key))  # type: ignore[arg-type]
    return {**found, "ec": read_pair(Pair(folder / "ec.pem", folder / "ec.key"), NOW, IGC.anchors)}


def shown(raw: bytes) -> str:
    return x509.load_der_x509_certificate(raw).fingerprint(hashes.SHA256()).hex()


# ---------------------------------------------------------------- swap


def test_a_swap_is_for_handshakes_to_come(pairs: dict[str, ReadPair]) -> None:
    door = DoorTls(build(DoorPlan([pairs["ours"]])))
    former = shake(door.starttls, client())
    door.put(build(DoorPlan([pairs["a"]])))
    assert former.say(b"still here") == b"still here"
    assert shown(former.shown) == pairs["ours"].fingerprint
    for front in (door.starttls, door.implicit):
        assert shown(shake(front, client()).shown) == pairs["a"].fingerprint


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_end_with_their_context(pairs: dict[str, ReadPair], version: ssl.TLSVersion) -> None:
    plan = DoorPlan([pairs["ours"]])
    door, mine = DoorTls(build(plan)), client(version=version)
    first = shake(door.starttls, mine)
    first.say(b"220")
    again = shake(door.starttls, mine, session=first.client.session)
    assert again.client.session_reused and again.server.session_reused
    door.put(build(plan))
    assert not shake(door.starttls, mine, session=first.client.session).client.session_reused


# ---------------------------------------------------------------- the client's identity over resumption


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("people", [True, False])
def test_a_resumed_session_shows_the_certificate_of_the_first(pairs: dict[str, ReadPair], version: ssl.TLSVersion,
                                                              people: bool) -> None:
    door = DoorTls(build(DoorPlan([pairs["ours"]], client_anchors=IGC.anchors_pem.decode(), people=people)))
    mine = client(version=version)
    pairs["a"].load_into(mine)
    first = shake(door.starttls, mine)
    first.say(b"220")
    again = shake(door.starttls, mine, session=first.client.session)
    assert again.server.session_reused
    assert again.server.getpeercert(True) == first.server.getpeercert(True) == der(leaf("a")[0])
    assert again.say(b"220") == b"220"
    third = shake(door.starttls, mine, session=again.client.session)
    assert third.server.session_reused and third.server.getpeercert(True) == der(leaf("a")[0])


# ---------------------------------------------------------------- tickets wait for our first word


def test_a_ticket_comes_with_our_first_answer_and_not_before(pairs: dict[str, ReadPair]) -> None:
    """A client that writes and reads in two threads loses its first command when a ticket comes meanwhile (imaplib2)."""
    ends = shake(build(DoorPlan([pairs["ours"]])), client(version=ssl.TLSVersion.TLSv1_3))
    assert ends.to_client.pending == 0 and not ends.client.session.has_ticket
    ends.client.write(b"a CAPABILITY\r\n")
    assert ends.server.read(100) == b"a CAPABILITY\r\n"
    assert ends.to_client.pending == 0
    assert ends.say(b"* CAPABILITY\r\n") == b"* CAPABILITY\r\n"
    assert ends.client.session.has_ticket


def test_an_alert_stays_behind_the_tickets(pairs: dict[str, ReadPair]) -> None:
    ends = shake(build(DoorPlan([pairs["ours"]])), client(version=ssl.TLSVersion.TLSv1_3))
    ends.to_server.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with pytest.raises(ssl.SSLError):
        ends.server.read(100)
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
        ends.client.read(100)


def test_closing_without_a_word_is_still_a_close(pairs: dict[str, ReadPair]) -> None:
    ends = shake(build(DoorPlan([pairs["ours"]])), client(version=ssl.TLSVersion.TLSv1_3))
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.unwrap()
    assert ends.client.read(100) == b""
    assert ends.client.session.has_ticket


# ---------------------------------------------------------------- names, kinds of key


@pytest.mark.parametrize(("asked", "served"), [
    ("imap.autre.fr", "a"), ("IMAP.Autre.FR", "a"), ("imap.autre.fr.", "a"), ("mail.autre.fr", "a"), ("b.fr", "b"),
    ("inconnu.fr", "ours"), (None, "ours"), ("autre.fr", "ours")])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_name_chooses_its_certificate(pairs: dict[str, ReadPair], asked: str | None, served: str, version: ssl.TLSVersion) -> None:
    names = {"imap.autre.fr": pairs["a"], "Mail.autre.fr": pairs["a"], "b.fr": pairs["b"]}
    context = build(DoorPlan([pairs["ours"]], names))
    ends = shake(context, client(version=version), name=asked)
    assert shown(ends.shown) == pairs[served].fingerprint
    have = bound(Circumstances(ALL, b"of the start"), ends.server)
    assert have.end_point == hashlib.sha256(ends.shown).digest()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_name_keeps_the_client_asked_for_its_certificate(pairs: dict[str, ReadPair], version: ssl.TLSVersion) -> None:
    context = build(DoorPlan([pairs["ours"]], {"b.fr": pairs["b"]}, IGC.anchors_pem.decode(), people=False))
    mine = client(version=version)
    pairs["a"].load_into(mine)
    first = shake(context, mine, name="b.fr")
    assert first.server.getpeercert(True) == der(leaf("a")[0])
    first.say(b"220")
    again = shake(context, mine, name="b.fr", session=first.client.session)
    assert again.server.session_reused and again.server.getpeercert(True) == der(leaf("a")[0])


def test_rsa_and_ecdsa_side_by_side(pairs: dict[str, ReadPair]) -> None:
    context = build(DoorPlan([pairs["ours"], pairs["ec"]]))
    served = {ciphers: shown(shake(context, client(version=ssl.TLSVersion.TLSv1_2, ciphers=ciphers)).shown)
              for ciphers in ("ECDHE+aRSA+AESGCM", "ECDHE+aECDSA+AESGCM")}
    assert list(served.values()) == [pairs["ours"].fingerprint, pairs["ec"].fingerprint]
    assert shown(shake(context, client()).shown) in served.values()
    assert bound(Circumstances(ALL, b"of the start"), shake(context, client()).server).end_point == b"", "which one is not known"


def test_a_context_that_knows_nothing_changes_nothing() -> None:
    have = Circumstances(ALL, b"of the start")
    assert bound(have, None) is have

    class Session:
        context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)

    assert bound(have, Session()) is have


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("offer", [
    {"version": ssl.TLSVersion.TLSv1_1, "ciphers": "ALL:@SECLEVEL=0"}, {"version": ssl.TLSVersion.TLSv1, "ciphers": "ALL:@SECLEVEL=0"},
    {"version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES128-GCM-SHA256"}, {"version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE+AES128+SHA256"},
    {"version": ssl.TLSVersion.TLSv1_2, "ciphers": "DHE+AESGCM"}, {"version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES256-SHA"},
], ids=["1.1", "1.0", "static RSA", "CBC", "DHE", "CBC RSA"])
def test_yesterday_is_refused(pairs: dict[str, ReadPair], offer: dict[str, object]) -> None:
    with pytest.raises(ssl.SSLError):
        shake(build(DoorPlan([pairs["ours"]])), client(**offer))  # type: ignore[arg-type]


def test_what_openssl_does_not_take_is_told(tmp_path: Path, pairs: dict[str, ReadPair]) -> None:
    bad = replace(pairs["ours"], octets=(pairs["ours"].octets[0], b"no key"))
    with pytest.raises(OperatorFault) as caught:
        build(DoorPlan([bad]))
    assert caught.value.rule == "TLS-CONTEXTE" and "no key" not in str(caught.value) + repr(bad)


# ---------------------------------------------------------------- alerts on implicit doors


class Silent(asyncio.Protocol):
    """Says nothing."""


def failed_handshake(port: int, pair: ReadPair) -> str:
    mine = client(version=ssl.TLSVersion.TLSv1_2)
    pair.load_into(mine)
    with socket.create_connection(("127.0.0.1", port), 10) as plain, pytest.raises(ssl.SSLError) as caught:
        mine.wrap_socket(plain)
    return str(caught.value)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_failed_handshake_on_an_implicit_door_is_answered_by_its_alert(
        pairs: dict[str, ReadPair], tmp_path: Path, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    stranger = read_pair(Pair(*pem_files(tmp_path, "x", *leaf("foreign"))), NOW, None)
    door = DoorTls(build(DoorPlan([pairs["ours"]], client_anchors=IGC.anchors_pem.decode(), people=False)))

    async def knock() -> str:
        server = await listen_on("127.0.0.1:0", Silent, door.implicit)
        try:
            return await asyncio.to_thread(failed_handshake, server.sockets[0].getsockname()[1], stranger)
        finally:
            server.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert "UNKNOWN_CA" in runner.run(knock())
