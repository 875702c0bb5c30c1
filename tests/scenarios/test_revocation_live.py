"""A certificate is revoked while its operator's session is open, in a running lab: by OCSP, then by CRL, then a CRL is rolled back.

Peer gamma holds one session with alpha (policy `both`, CRL every 2 s, OCSP answers asked anew after 4 s) and says MAIL now and
then. What is shown goes to `$MSSANTE_REPORT_DIR/revocation-live.md`.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from support.lab import Reply, RunningLab, SmtpWire, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]
GAMMA = b"MAIL FROM:<medecin@gamma.mssante.test>"
CRL = "ACI-EL-ORG.crl"
LIMIT_SECONDS = 15.0  # the refresh times above, and room for a slow machine


@pytest.fixture
def published(running_lab: RunningLab) -> Iterator[Path]:
    """The lab's window, empty before and after; gamma is admitted again at the end."""
    folder = running_lab.lab.path("infra/published")
    folder.mkdir(exist_ok=True)
    yield folder
    for name in ("revoked.txt", CRL):
        (folder / name).unlink(missing_ok=True)
    assert soon(lambda: fresh(running_lab).code == 250 and running_lab.metric("alpha", "mssante_trust_alarm{", "crl0") == 0)


def fresh(lab: RunningLab) -> Reply:
    """Give the reply to MAIL of a new session of gamma (a refused one is told at EHLO)."""
    with lab.session_as("gamma") as wire:
        return wire.last if wire.last.code != 250 else wire.ask(GAMMA)


def mail(wire: SmtpWire) -> Reply:
    """Say MAIL in an open session, and take it back."""
    reply = wire.ask(GAMMA)
    wire.ask(b"RSET")
    return reply


def within(condition: Callable[[], bool]) -> float:
    """Give the seconds until a condition holds; fails past the limit."""
    began = time.monotonic()
    assert soon(condition, LIMIT_SECONDS)
    return time.monotonic() - began


def crl_in_force(lab: RunningLab) -> bytes:
    """Give the CRL that the authority publishes now."""
    with urllib.request.urlopen(lab.lab.trust("crl_url"), timeout=5) as answer:
        return bytes(answer.read())


def test_a_revocation_reaches_an_open_session_and_only_newer_news_ends_it(running_lab: RunningLab, published: Path) -> None:
    lab = running_lab
    serial = f"{x509.load_pem_x509_certificate(lab.peer_files('gamma')[0].read_bytes()).serial_number:x}"
    revoked = published / "revoked.txt"
    before = crl_in_force(lab)
    lines = []
    with lab.session_as("gamma") as wire:
        assert mail(wire).code == 250

        revoked.write_text(f"{serial} ocsp\n")
        seconds = within(lambda: mail(wire).code == 554)
        by_ocsp = mail(wire)
        assert by_ocsp.rule == "PEER-REVOKED" and "OCSP" in by_ocsp.text
        lines.append(f"OCSP révoque : MAIL refusé dans la session ouverte après {seconds:.1f} s : {by_ocsp.text}")
        revoked.unlink()
        seconds = within(lambda: fresh(lab).code == 250)
        assert mail(wire).code == 250, "the open session too"
        lines.append(f"une réponse plus récente le rétablit : {seconds:.1f} s")

        revoked.write_text(f"{serial} crl\n")
        seconds = within(lambda: mail(wire).code == 554)
        by_crl = mail(wire)
        assert by_crl.rule == "PEER-REVOKED" and "OCSP" not in by_crl.text
        assert fresh(lab).code == 554
        lines.append(f"CRL révoque : MAIL refusé dans la session ouverte après {seconds:.1f} s : {by_crl.text}")

        (published / CRL).write_bytes(before)  # the good CRL of before, replayed: signed, in date, older
        assert soon(lambda: lab.metric("alpha", "mssante_trust_alarm{", "crl0") == 1, LIMIT_SECONDS)
        replayed = mail(wire)
        assert replayed.code == 554
        assert "CRL-RECUL" in lab.log("alpha")
        lines.append(f"l'ancienne CRL rejouée ne le rétablit pas (CRL-RECUL, alarme) : {replayed.code}")

        (published / CRL).unlink()
        revoked.unlink()
        seconds = within(lambda: fresh(lab).code == 250)
        assert mail(wire).code == 250
        lines.append(f"une CRL plus récente le rétablit : {seconds:.1f} s")
    report("revocation-live.md", "\n".join(f"- {line}" for line in lines))


def test_the_lab_asks_ocsp_and_its_answers_count(running_lab: RunningLab) -> None:
    """Alpha asks the authority itself, beta a responder that it named: both believe the answers."""
    for operator in ("alpha", "beta"):
        with running_lab.session_as("gamma", operator) as wire:
            assert wire.last.code == 250
        assert running_lab.metric(operator, "mssante_ocsp_questions_total", 'result="good"') >= 1
