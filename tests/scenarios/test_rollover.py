"""Keys, anchors and CRL are replaced again and again while letters go in and out: no letter fails, no session drops.

Gamma sends to alpha over mutual TLS, a new session every few letters; claire submits at alpha letters for beta, so that alpha's
own sessions show its certificate too; readers stay in IMAP. Meanwhile each round gives alpha and beta a new key and certificate,
other anchors and another CRL; the last rounds are a rollover (declared, tried with beta, switched, retired). At the end the
last certificate is the one served, and everything that was accepted for beta is there.

`MSSANTE_ROLLOVER_RATE` (letters a second) and `MSSANTE_ROLLOVER_SECONDS` make it the full run; figures go to
`$MSSANTE_REPORT_DIR/rollover.md`.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support.lab import Reader, RunningLab, SmtpWire, letter, report, soon

from mssante.lab.igc import certificate_pem, key_pem
from mssante.services.rollover_state import Rollover, declare, retire, rollover_file, switch, try_with, write_rollover

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

RATE = float(os.environ.get("MSSANTE_ROLLOVER_RATE", "60"))
SECONDS = float(os.environ.get("MSSANTE_ROLLOVER_SECONDS", "8"))
INTAKE, OUTGOING, READERS = 8, 4, 4  # sessions at a time
SHARE_OUT = 0.2  # of the letters: claire's, for beta
LETTERS_A_SESSION = 10
GAMMA = "medecin@gamma.mssante.test"
CLAIRE = "claire.martin@alpha.mssante.test"


@dataclass
class Count:
    """What the clients met. leaves: certificates (SHA-256) that a door of alpha showed, in order of appearance."""

    accepted: int = 0
    submitted: int = 0
    sessions: int = 0
    resumed: int = 0
    heard: int = 0
    failed: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    leaves: dict[str, None] = field(default_factory=dict)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Pace:
    """Lets one letter go each 1/rate seconds, whoever asks."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next place."""
        with self._lock:
            self._next = max(self._next + self._step, time.monotonic() - 1.0)
            due = self._next
        time.sleep(max(due - time.monotonic(), 0.0))


@dataclass
class Sender:
    """One client that sends until told to stop. open: gives a session ready for MAIL."""

    open: Callable[[], SmtpWire]
    sender: str
    recipient: Callable[[int], str]
    pace: Pace
    count: Count
    stop: threading.Event
    own: str
    outgoing: bool = False

    def run(self) -> None:
        """Send, session after session."""
        number = 0
        while not self.stop.is_set():
            try:
                with self.open() as wire:
                    number = self._session(wire, number)
            except (OSError, ssl.SSLError, AssertionError) as fault:
                with self.count.lock:
                    self.count.dropped.append(f"{type(fault).__name__} {fault}")

    def _session(self, wire: SmtpWire, number: int) -> int:
        tls = wire.socket
        assert isinstance(tls, ssl.SSLSocket)
        leaf = x509.load_der_x509_certificate(tls.getpeercert(True) or b"").fingerprint(hashes.SHA256()).hex()
        with self.count.lock:
            self.count.sessions += 1
            self.count.leaves.setdefault(leaf)
        for _ in range(LETTERS_A_SESSION):
            if self.stop.is_set():
                break
            self.pace.wait()
            number += 1
            mark = f"rollover-{self.own}-{number}"
            began = time.monotonic()
            reply = wire.deliver(self.sender, [self.recipient(number)], letter(self.sender, self.recipient(number), mark))
            with self.count.lock:
                self.count.slowest = max(self.count.slowest, time.monotonic() - began)
                if reply.code == 250:
                    self.count.accepted += 1
                    self.count.submitted += self.outgoing
                elif reply.code == 0:
                    self.count.dropped.append(reply.text)
                    return number
                else:
                    self.count.failed.append(f"{reply.code} {reply.text}")
        if wire.ask(b"QUIT").code != 221:
            with self.count.lock:
                self.count.dropped.append("QUIT unanswered")
        return number


class Listener:
    """A reader who stays: one IMAP session from the beginning to the end."""

    def __init__(self, lab: RunningLab, address: str, count: Count, stop: threading.Event) -> None:
        self._reader: Reader = lab.reader(address)
        self._count = count
        self._stop = stop

    def run(self) -> None:
        """Say NOOP again and again in the same session."""
        try:
            while not self._stop.wait(0.2):
                done, _ = self._reader.client.noop()
                assert done == "OK"
                with self._count.lock:
                    self._count.heard += 1
            self._reader.client.logout()
        except Exception as fault:
            with self._count.lock:
                self._count.dropped.append(f"IMAP {type(fault).__name__} {fault}")


class Renewal:
    """Certificates, anchors and CRLs of a lab, replaced on disk as an administrator does."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.certs = {name: lab.folder / name / "certs" for name in ("alpha", "beta")}
        issuer_file, key_file = (lab.lab.path(lab.lab.trust(f"issuing_{part}")) for part in ("certificate", "key"))
        self.issuer = x509.load_pem_x509_certificates(issuer_file.read_bytes())[0]
        self._issuer_key = load_pem_private_key(key_file.read_bytes(), None)
        self._root = x509.load_pem_x509_certificates(lab.lab.path(lab.lab.trust("root_certificate")).read_bytes())[0]
        self._root_key = load_pem_private_key(lab.lab.path(lab.lab.trust("root_key")).read_bytes(), None)
        self.published = lab.lab.path("infra/published")

    def renewed(self, name: str) -> tuple[bytes, bytes, str]:
        """Give chain and key, both PEM, of a new certificate of an operator with its old names; and its SHA-256."""
        chain = x509.load_pem_x509_certificates((self.certs[name] / "mta.pem").read_bytes())
        key = generate_private_key(public_exponent=65537, key_size=2048)
        leaf = self._again(chain[0], key)
        return certificate_pem(leaf, *chain[1:]), key_pem(key), leaf.fingerprint(hashes.SHA256()).hex()

    def _again(self, old: x509.Certificate, key: RSAPrivateKey) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (x509.CertificateBuilder().subject_name(old.subject).issuer_name(self.issuer.subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=90)))
        for extension in old.extensions:
            if not isinstance(extension.value, x509.SubjectKeyIdentifier):
                builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(self._issuer_key, hashes.SHA256())  # type: ignore[arg-type]

    def sister(self) -> bytes:
        """Give another generation of the issuing authority, PEM: an anchors file with one more."""
        key = generate_private_key(public_exponent=65537, key_size=2048)
        builder = (x509.CertificateBuilder().subject_name(self.issuer.subject).issuer_name(self._root.subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(self.issuer.not_valid_before_utc)
                   .not_valid_after(self.issuer.not_valid_after_utc))
        for extension in self.issuer.extensions:
            if not isinstance(extension.value, x509.SubjectKeyIdentifier):
                builder = builder.add_extension(extension.value, extension.critical)
        return certificate_pem(builder.sign(self._root_key, hashes.SHA256()))  # type: ignore[arg-type]

    def install(self, name: str, chain: bytes, key: bytes) -> None:
        """Put a pair in the configured files, one after the other, each atomically."""
        replace(self.certs[name] / "mta.key", key)
        replace(self.certs[name] / "mta.pem", chain)

    def revoke(self, rank: int) -> None:
        """Let the authority publish another CRL: one certificate more is revoked, nobody's here."""
        with (self.published / "revoked.txt").open("a") as file:
            file.write(f"{0xABCDEF0000 + rank:x} crl\n")

    def hurry(self) -> None:
        """SIGHUP to both: what an administrator does who does not want to wait for the next look."""
        for name in self.certs:
            os.kill(self.lab.operator(name).pid, signal.SIGHUP)


def replace(path: Path, data: bytes) -> None:
    """Write beside, keep the mode, rename."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(data)
    fresh.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o600)
    fresh.replace(path)


@pytest.fixture
def renewal(running_lab: RunningLab) -> Iterator[Renewal]:
    """What replaces files; the lab has its first certificates, anchors and CRL again at the end."""
    made = Renewal(running_lab)
    first = {path: path.read_bytes() for folder in made.certs.values() for path in (folder / "mta.pem", folder / "mta.key", folder / "anchors.pem")}
    made.published.mkdir(exist_ok=True)
    yield made
    for path, data in first.items():
        replace(path, data)
    for folder in made.certs.values():
        for name in ("rollover.json", "next.pem", "next.key"):
            (folder / name).unlink(missing_ok=True)
    (made.published / "revoked.txt").unlink(missing_ok=True)
    made.hurry()
    assert soon(lambda: all(shown(running_lab, name) == fingerprint(first[folder / "mta.pem"]) for name, folder in made.certs.items()))


def fingerprint(chain: bytes) -> str:
    """Give the SHA-256 of the first certificate of a PEM text."""
    return x509.load_pem_x509_certificates(chain)[0].fingerprint(hashes.SHA256()).hex()


def shown(lab: RunningLab, operator: str) -> str:
    """Give the SHA-256 of what an operator's port shows now."""
    with lab.session_as("gamma", operator) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        return x509.load_der_x509_certificate(wire.socket.getpeercert(True) or b"").fingerprint(hashes.SHA256()).hex()


def submitting(lab: RunningLab) -> SmtpWire:
    """Give a session of claire's, logged in."""
    account = lab.operator("alpha").account(CLAIRE)
    assert account is not None
    wire = lab.wire("alpha", "submissions")
    wire.start_tls(lab.anchors())
    wire.read_reply()
    wire.ask(b"EHLO poste.alpha.test")
    secret = base64.b64encode(f"\0{account.login}\0{account.password}".encode())
    assert wire.ask(b"AUTH PLAIN " + secret).code == 235, wire.last
    return wire


def receiving(lab: RunningLab) -> SmtpWire:
    """Give a session of gamma's with alpha."""
    wire = lab.session_as("gamma")
    assert wire.last.code == 250, wire.last
    return wire


def rounds(renewal: Renewal, seconds: float) -> list[str]:
    """Replace everything, round after round, for that long; give the certificates that alpha was given, in order."""
    given, step = [], seconds / 5
    anchors = {name: (folder / "anchors.pem").read_bytes() for name, folder in renewal.certs.items()}
    for rank in range(3):
        for name in renewal.certs:
            chain, key, leaf = renewal.renewed(name)
            renewal.install(name, chain, key)
            if name == "alpha":
                given.append(leaf)
            more = renewal.sister() if rank % 2 == 0 else b""
            replace(renewal.certs[name] / "anchors.pem", anchors[name] + more)
        renewal.revoke(rank)
        if rank != 1:
            renewal.hurry()  # the second round is found by the look of every few seconds
        time.sleep(step)
    folder = renewal.certs["alpha"]
    chain, key, leaf = renewal.renewed("alpha")
    replace(folder / "next.pem", chain)
    replace(folder / "next.key", key)
    file, now = rollover_file(folder / "mta.pem"), datetime.now(UTC)
    trying = try_with(declare(Rollover(), folder / "next.pem", folder / "next.key", now), ("beta.mssante.test",), now)
    switched = switch(trying, now)
    for state in (trying, switched):
        write_rollover(file, state)
        renewal.hurry()
        time.sleep(step / 2)
    for end in ("key", "pem"):
        shutil.copy(folder / f"next.{end}", folder / f"mta.{end}")
    write_rollover(file, retire(switched, given[-1], now))
    for end in ("key", "pem"):
        (folder / f"next.{end}").unlink()
    renewal.hurry()
    time.sleep(step)
    return [*given, leaf]


def test_everything_is_replaced_under_load(running_lab: RunningLab, renewal: Renewal) -> None:
    lab, count, stop = running_lab, Count(), threading.Event()
    first = fingerprint((renewal.certs["alpha"] / "mta.pem").read_bytes())
    boxes, far = lab.numbered("alpha"), lab.numbered("beta")
    relayed = lab.metric("alpha", "mssante_recipients_relayed_total", 'result="delivered"')
    others = [lab.metric("alpha", "mssante_recipients_relayed_total", f'result="{one}"') for one in ("failed", "queued")]
    refused = lab.log("alpha").count("trust_source_refused")
    inward, outward = Pace(RATE * (1 - SHARE_OUT)), Pace(RATE * SHARE_OUT)
    run_id = f"{os.getpid()}-{time.monotonic_ns() % 100000}"
    senders = [Sender(lambda: receiving(lab), GAMMA, lambda n: boxes[n % len(boxes)], inward, count, stop, f"{run_id}-in{rank}")
               for rank in range(INTAKE)]
    senders += [Sender(lambda: submitting(lab), CLAIRE, lambda n: far[n % len(far)], outward, count, stop, f"{run_id}-out{rank}", outgoing=True)
                for rank in range(OUTGOING)]
    workers = [threading.Thread(target=one.run) for one in (*senders, *(Listener(lab, boxes[rank], count, stop) for rank in range(READERS)))]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    try:
        given = rounds(renewal, SECONDS)
        time.sleep(max(SECONDS - (time.monotonic() - began), 0))
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    took = time.monotonic() - began
    assert count.failed == [] and count.dropped == []
    assert soon(lambda: lab.metric("alpha", "mssante_recipients_relayed_total", 'result="delivered"') - relayed >= count.submitted)
    later = [lab.metric("alpha", "mssante_recipients_relayed_total", f'result="{one}"') for one in ("failed", "queued")]
    assert later == others, "none bounced, none had to wait for another attempt"
    assert soon(lambda: shown(lab, "alpha") == given[-1])
    assert next(iter(count.leaves)) == first and set(given) & set(count.leaves), "new sessions saw new certificates"
    assert lab.log("alpha").count("trust_source_refused") == refused, "no alarm on the way"
    assert count.accepted >= RATE * SECONDS * 0.5 and count.heard > 0
    report("rollover.md", "\n".join((
        "| | |", "|---|---|", f"| durée, lettres, par seconde | {took:.1f} s, {count.accepted}, {count.accepted / took:.0f} |",
        f"| dont déposées pour beta et relayées au premier essai | {count.submitted} |", f"| sessions SMTP | {count.sessions} |",
        f"| sessions IMAP tenues, NOOP | {READERS}, {count.heard} |",
        f"| certificats d'alpha posés, vus par les clients | {len(given)}, {len(set(count.leaves) & set(given))} |",
        f"| lettre la plus lente | {count.slowest * 1000:.0f} ms |",
        f"| lettres en échec, sessions coupées | {len(count.failed)}, {len(count.dropped)} |")))
