"""Letters, sessions and scans for the tests about citizens. All matricules are made up, or the public test ones of the lab.

`scan_for` is the privacy scan: logs of all parts, journal exports and metrics of all operators, searched for every matricule and
name that a test used.
"""

from __future__ import annotations

import io
import json
import smtplib
import urllib.request
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from importlib.resources import files
from itertools import count

from support.lab import Reply, RunningLab

from mssante.cli.main import run
from mssante.documents.ins import ins_key
from mssante.documents.metadata import SenderFacts, cda_document
from mssante.documents.xdm import ARCHIVE_NAME, pack
from mssante.lang import set_language

DOMAIN = "patient.mssante.test"
_SUBJECT = b"270019999900123"
NAMES = ("EXEMPLE-LABO", "CAMILLE")  # of the patient of the lab's document
_number = count(1)


def matricule(body: str) -> str:
    """Give a made-up matricule with its key. body: 13 characters."""
    key = ins_key(body)
    assert key is not None
    return f"{body}{key:02d}"


def cda(ins: str, *, number: int = 1) -> bytes:
    """Give the lab's document as if it were of another patient; ins empty: without INS."""
    raw = files("mssante.lab").joinpath("data/compte-rendu-fictif.xml").read_bytes()
    if not ins:
        raw = raw.replace(b'<id root="1.2.250.1.213.1.4.10" extension="270019999900123"/>', b"")
    return raw.replace(_SUBJECT, ins.encode()).replace(b"LAB-0001", b"LAB-%04d" % number)


def archive(*documents: bytes) -> bytes:
    """Give an IHE_XDM archive, whoever its documents are of."""
    return pack([cda_document(one) for one in documents], SenderFacts("2.25.1", "ETABLISSEMENT FICTIF"),
                datetime(2026, 11, 23, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Written:
    """A message made for a test. reference: its Message-ID, with brackets; mark: its X-Id."""

    raw: bytes
    reference: str
    mark: str


def write(sender: str, to: str, *, subject: str = "Suites de votre consultation", text: str = "Bonjour.\n", zipped: Sequence[bytes] = (),
          name: str = "", **headers: str) -> Written:
    """Make a message. zipped: archives to attach; headers: further fields, `_` for `-`."""
    mark = f"usager-{next(_number)}"
    message = EmailMessage(policy=SMTP)
    message["From"] = f"{name} <{sender}>" if name else sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = "Mon, 23 Nov 2026 09:00:00 +0000"
    reference = f"<{mark}@poste.mssante.test>"
    message["Message-ID"] = reference
    message["X-Id"] = mark
    for field, value in headers.items():
        message[field.replace("_", "-")] = value
    message.set_content(text)
    for one in zipped:
        message.add_attachment(one, maintype="application", subtype="zip", filename=ARCHIVE_NAME)
    return Written(message.as_bytes(), reference, mark)


def sealed(sender: str, to: str) -> Written:
    """Make a message that looks encrypted by S/MIME."""
    plain = write(sender, to)
    head = plain.raw.partition(b"\r\n\r\n")[0]
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-")]
    body = b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n"
    return Written(b"\r\n".join(lines) + b"\r\n" + body + b"\r\nMIAGCSqGSIb3DQEHA6CA\r\n", plain.reference, plain.mark)


def submit(lab: RunningLab, sender: str, recipients: Sequence[str], raw: bytes, *, size: int = 0) -> tuple[str, Reply]:
    """Send as the login of an address does; give the moment of the first refusal (or `end of DATA`) and the reply."""
    operator = next(one for one in lab.lab.operators if one.account(sender) is not None)
    account = operator.account(sender)
    assert account is not None
    with smtplib.SMTP_SSL(*operator.address("submissions"), context=lab.anchors(), timeout=60) as client:
        client.login(account.login, account.password)
        steps = [("MAIL", lambda: client.mail(sender, [f"SIZE={size or len(raw)}"])),
                 *[("RCPT", lambda one=one: client.rcpt(one)) for one in recipients]]
        for moment, step in steps:
            code, text = step()
            if code >= 400:
                return moment, Reply(code, text.decode())
        try:
            code, text = client.data(raw)
        except smtplib.SMTPDataError as refusal:
            code, text = refusal.smtp_code, bytes(refusal.smtp_error)
        return "end of DATA", Reply(code, text.decode())


def command(lab: RunningLab, operator: str, *words: str) -> str:
    """Run a command on an operator of the lab in this process, a second cheaper than a process of its own; give what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["--lang", "en", *words, "--config", str(lab.folder / operator / "operator_config")])
    set_language("fr")  # as other tests expect it
    assert code == 0, err.getvalue()
    return out.getvalue()


def scan_for(lab: RunningLab, words: Iterable[str]) -> dict[str, int]:
    """Give how often each word stands in logs, journal exports and metrics, by source; sources without any are left out."""
    wanted = [word.lower() for word in words]
    texts: dict[str, str] = {}
    for part in ("infra", "alpha", "beta", "citizen"):
        texts[f"log {part}"] = lab.log(part)
    for entry in lab.lab.document["operators"]:
        with urllib.request.urlopen(entry["metrics"], timeout=5) as answer:
            texts[f"metrics {entry['name']}"] = answer.read().decode()
        texts[f"journal {entry['name']}"] = command(lab, entry["name"], "journal", "list", "--json", "--limit", "1000000")
        assert json.loads(texts[f"journal {entry['name']}"])
    return {f"{name}: {word}": text.lower().count(word) for name, text in texts.items() for word in wanted if word in text.lower()}
