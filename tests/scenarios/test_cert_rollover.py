"""The operator's certificate is renewed in a running lab by the guided way: request, declare, seen, try, switch, back.

The authority of the lab signs our own request; beta's real door gives its verdict; the running server of alpha serves the new
pair without a stop, an open session lives on, and it is taken back at the end: the lab is left as it was found.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from support.lab import RunningLab, letter, soon

from mssante.clock import SystemClock

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


def sign(lab: RunningLab, request: x509.CertificateSigningRequest) -> bytes:
    """Give the chain that the lab's authority makes of a request: its extensions, and what an authority adds."""
    folder = lab.folder / "igc"
    issuer = x509.load_pem_x509_certificate((folder / "organisations.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "organisations.key").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey) and request.is_signature_valid
    now = SystemClock().now()
    builder = (x509.CertificateBuilder().subject_name(request.subject).issuer_name(issuer.subject).public_key(request.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
               .not_valid_after(now + timedelta(days=1095)).add_extension(x509.BasicConstraints(False, None), critical=True))
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    made = builder.sign(key, hashes.SHA256())
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (made, issuer))


def served(lab: RunningLab) -> bytes:
    """Give the certificate that alpha's operators' port shows now (DER)."""
    with lab.wire("alpha") as wire:
        wire.read_reply()
        wire.ask(b"EHLO essai.test")
        wire.ask(b"STARTTLS")
        wire.start_tls(lab.anchors())
        assert isinstance(wire.socket, ssl.SSLSocket)
        return wire.socket.getpeercert(True) or b""


def leaf(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


@pytest.fixture
def alpha(running_lab: RunningLab) -> Iterator[Any]:
    """`mssante cert …` on alpha, as JSON; what was begun is taken back, the certificate in force is the first one again."""
    config = running_lab.folder / "alpha" / "operator_config"
    certs = running_lab.folder / "alpha" / "certs"

    def cert(*words: object, code: int = 0) -> Any:
        found, out, error = running_lab.command("cert", *words, "--config", config, "--json")
        assert found == code, (words, out, error)
        return json.loads(out)

    yield cert
    for step in ("back", "abandon"):
        running_lab.command("cert", "rollover", step, "--config", config)
    assert soon(lambda: served(running_lab) == leaf(certs / "mta.pem"))
    for name in ("next.key", "next.csr", "next.pem", "rollover.json"):
        (certs / name).unlink(missing_ok=True)


def test_a_guided_rollover_in_a_running_lab(running_lab: RunningLab, alpha: Any) -> None:
    certs = running_lab.folder / "alpha" / "certs"
    alpha("request", "--renew", "--out", certs / "next")
    (certs / "next.pem").write_bytes(sign(running_lab, x509.load_pem_x509_csr((certs / "next.csr").read_bytes())))
    assert alpha("rollover", "declare", certs / "next.pem", certs / "next.key")["same_dn"]
    assert alpha("rollover", "seen")["missing"] == []
    (tried,) = alpha("rollover", "try", "beta.mssante.test")["tried"]
    assert tried["accepted"] and tried["step"] == "MAIL" and tried["server_rule"] == "", tried
    assert served(running_lab) == leaf(certs / "mta.pem"), "nobody who was not asked to try sees it"

    with running_lab.session_as("gamma") as held:
        alpha("rollover", "switch")
        assert soon(lambda: served(running_lab) == leaf(certs / "next.pem"), 15)
        assert held.ask(b"NOOP").code == 250, "a session that was open goes on"
    with running_lab.session_as("gamma") as wire:
        sender, recipient = "medecin@gamma.mssante.test", running_lab.numbered("alpha")[0]
        assert wire.deliver(sender, [recipient], letter(sender, recipient, "rollover")).code == 250
    assert running_lab.metric("alpha", "mssante_expiry_seconds{", "operator") > 0
    assert alpha("rollover", "back")["serve"] == "current"
    assert soon(lambda: served(running_lab) == leaf(certs / "mta.pem"), 15)
