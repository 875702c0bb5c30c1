"""The lab's mail program against a server that is not ours (aiosmtpd as it stands)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from mssante.errors import OperatorFault, PeerFault
from mssante.lab.mailclient import InboxWatcher, Login, anchors_context, submit
from mssante.lab.manifest import Lab

ME = "claire.martin@alpha.mssante.test"
MESSAGE = b"Subject: dots\r\n\r\n.one\r\n..two\r\n.\r\n\xc3\xa9t\xc3\xa9\r\n"


class Sink:
    """Keeps what it gets; refuses one recipient."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 boite inconnue [BAL-INCONNUE]"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 Pris en charge 01JZZZZZZZZZZZZZZZZZZZZZZZ"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and data.password == b"secret"
    return AuthResult(success=good, handled=False)


@pytest.fixture
def sink(lab: Lab) -> Iterator[tuple[Sink, tuple[str, int]]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(lab.path("alpha/certs/mta.pem"), lab.path("alpha/certs/mta.key"))
    handler = Sink()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()[:2]
    controller = Controller(handler, hostname=address[0], port=address[1], tls_context=context, require_starttls=True,
                            authenticator=authenticate, decode_data=False)
    controller.start()
    yield handler, address
    controller.stop()


def test_what_arrives_is_what_was_given(lab: Lab, sink: tuple[Sink, tuple[str, int]]) -> None:
    handler, address = sink
    reply = submit(Login(address, ME, "secret"), anchors_context(lab.path("igc/anchors.pem")),
                   recipient="b@beta.mssante.test", message=MESSAGE)
    assert "01JZZZZZZZZZZZZZZZZZZZZZZZ" in reply
    (envelope,) = handler.envelopes
    assert envelope.content == MESSAGE and envelope.mail_from == ME and envelope.rcpt_tos == ["b@beta.mssante.test"]


def test_refusals_carry_the_reply_but_never_the_password(lab: Lab, sink: tuple[Sink, tuple[str, int]]) -> None:
    handler, address = sink
    context = anchors_context(lab.path("igc/anchors.pem"))
    with pytest.raises(PeerFault, match=r"550 5\.1\.1 boite inconnue"):
        submit(Login(address, ME, "secret"), context, recipient="nobody@beta.mssante.test", message=MESSAGE)
    with pytest.raises(PeerFault, match="535") as caught:
        submit(Login(address, ME, "not-this-one"), context, recipient="b@beta.mssante.test", message=MESSAGE)
    assert "not-this-one" not in str(caught.value) and "not-this-one" not in repr(Login(address, ME, "not-this-one"))
    assert handler.envelopes == []


def test_a_server_of_another_authority_gets_nothing(lab: Lab, sink: tuple[Sink, tuple[str, int]]) -> None:
    handler, address = sink
    with pytest.raises(OperatorFault):
        submit(Login(address, ME, "secret"), anchors_context(lab.path("igc/foreign.pem")),
               recipient="b@beta.mssante.test", message=MESSAGE)
    assert handler.envelopes == []


def test_nobody_there_is_waited_for_no_longer_than_asked(lab: Lab) -> None:
    watcher = InboxWatcher(Login(("127.0.0.1", lab.base_port + 114), ME, "secret"),
                           anchors_context(lab.path("igc/anchors.pem")))
    with watcher:
        assert watcher.open() is False
        assert watcher.wait_for("<x@y>", 0.0) is None
