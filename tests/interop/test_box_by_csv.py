"""A box of a team by one line of a CSV, two programs in it at once, who read and who sent; and what a suspended box does by each door."""

from __future__ import annotations

import contextlib
import imaplib
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lab import RunningLab, as_json, letter, need_programs, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

GAMMA = "medecin@gamma.mssante.test"
BOX, OTHER = "urgences-csv@alpha.mssante.test", "accueil-csv@alpha.mssante.test"
INSIDE = f"Partages/{BOX}/INBOX"
HOLDER = "1990000010"  # the structure of the lab's operator alpha
MBSYNCRC = """\
IMAPStore far
Host localhost
Port {port}
User {login}
Pass {password}
SSLType IMAPS
SystemCertificates no
CertificateFile {anchors}

MaildirStore near
Path {folder}/mail/
Inbox {folder}/mail/INBOX
SubFolders Verbatim

Channel box
Far :far:
Near :near:
Patterns "{pattern}"
Create Near
Sync Pull
SyncState *
"""


class Desk:
    """The administrator of alpha."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.config = lab.lab.path(str(lab.operator("alpha").config))

    def run(self, *words: object, code: int = 0) -> Any:
        got, out, error = self.lab.command("mailbox", *words, "--config", self.config, "--json")
        assert got == code, out + error
        return as_json(out)

    def account(self, address: str) -> Any:
        found = self.lab.operator("alpha").account(address)
        assert found is not None
        return found

    def imap(self, address: str) -> imaplib.IMAP4_SSL:
        account = self.account(address)
        client = imaplib.IMAP4_SSL(*self.lab.address("alpha", "imaps"), ssl_context=self.lab.anchors(), timeout=30)
        client.login(account.login, account.password)
        return client

    def smtp(self, address: str) -> smtplib.SMTP_SSL:
        account = self.account(address)
        door = smtplib.SMTP_SSL(*self.lab.address("alpha", "submissions"), context=self.lab.anchors(), timeout=30)
        door.login(account.login, account.password)
        return door


@pytest.fixture
def desk(running_lab: RunningLab) -> Desk:
    return Desk(running_lab)


@pytest.fixture
def members(desk: Desk, tmp_path: Path) -> Iterator[list[str]]:
    """Twelve people, to whom one line opens the box."""
    people = desk.lab.numbered("alpha")[8:20]
    file = tmp_path / "boites.csv"
    line = ";".join((BOX, "ORG", HOLDER, "Urgences", '"' + ";".join([*people[:11], people[11] + ":read@2099-12-31"]) + '"', OTHER))
    file.write_text(f"address;type;holder;service;members;aliases\n{line}\n", encoding="utf-8")
    shown = desk.run("plan", file)
    assert shown["counts"]["create"] == 1 and len([one for one in shown["lines"][0]["changes"] if one.startswith("member: ")]) == 12
    assert desk.run("apply", file, "--plan-hash", shown["plan_hash"])["done"] == {"create": 1, "update": 0, "conflict": 0}
    assert desk.run("apply", file)["counts"]["unchanged"] == 1
    yield people
    desk.run("team", "remove", BOX, *people)
    desk.run("close", BOX)


def test_two_programs_work_in_the_box_of_one_line(desk: Desk, members: list[str], tmp_path: Path) -> None:
    need_programs("mbsync")
    lab, (first, second, third, *_, reader) = desk.lab, members
    for number, address in enumerate((BOX, OTHER, BOX)):
        with lab.session_as("gamma") as wire:
            assert wire.deliver(GAMMA, [address], letter(GAMMA, address, f"csv-{number}")).code == 250
    account = desk.account(first)
    (tmp_path / "mail").mkdir()
    (tmp_path / "rc").write_text(MBSYNCRC.format(port=lab.address("alpha", "imaps")[1], login=account.login, password=account.password,
                                                 anchors=lab.anchors_file, folder=tmp_path, pattern=INSIDE))
    client = desk.imap(second)  # has the box open while the other program works in it
    assert client.select(f'"{INSIDE}"')[1] == [b"3"]
    with (tmp_path / "out").open("wb") as out:
        syncing = subprocess.Popen(["mbsync", "-c", str(tmp_path / "rc"), "box"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C"})
        client.store("1", "+FLAGS", "(\\Flagged)")
        client.fetch("2", "(BODY[])")
        assert syncing.wait(60) == 0, (tmp_path / "out").read_text()
    assert len([path for path in (tmp_path / "mail").rglob("*") if path.parent.name in ("cur", "new")]) == 3
    looking = desk.imap(third)
    looking.select(f'"{INSIDE}"', readonly=True)
    assert b"\\Flagged" in looking.fetch("1", "(FLAGS)")[1][0] and b"\\Seen" in looking.fetch("2", "(FLAGS)")[1][0]

    message = (f"From: {BOX}\r\nTo: {first}\r\nSubject: Reponse\r\nMessage-ID: <csv@equipe>\r\n"
               "Date: Mon, 23 Nov 2026 09:00:00 +0100\r\n\r\nBonjour.\r\n").encode()
    with desk.smtp(second) as door:
        door.sendmail(BOX, [first], message)
    with desk.smtp(reader) as door, pytest.raises(smtplib.SMTPSenderRefused, match="ENVOI-NON-DELEGUE"):
        door.sendmail(BOX, [first], message)

    def told() -> dict[str, int]:
        logins = [one["login"] for one in desk.run("readers", BOX)["readings"]]
        return {login: logins.count(login) for login in sorted(set(logins))}

    assert soon(lambda: told() == {first: 3, second: 1}, 20), told()
    assert [one["login"] for one in desk.run("senders", BOX)["sent"]] == [second]
    report("box-by-csv.txt", f"one line, twelve members; first readings of 3 letters: {told()} (mbsync, imaplib); sent: {second}")


# ------------------------------------------------------------------------------------------ a suspended box


def sieve_login(desk: Desk, address: str) -> bool:
    """Tell if ManageSieve lets in (RFC 5804), by PLAIN over STARTTLS."""
    from base64 import b64encode

    account = desk.account(address)
    with socket.create_connection(desk.lab.address("alpha", "managesieve"), timeout=20) as plain:
        def answered(connection: socket.socket) -> bytes:
            octets = b""
            while not any(line.startswith((b"OK", b"NO", b"BYE")) for line in octets.splitlines(keepends=True) if line.endswith(b"\n")):
                octets += connection.recv(4096)
            return next(line for line in octets.splitlines() if line.startswith((b"OK", b"NO", b"BYE")))

        answered(plain)
        plain.sendall(b"STARTTLS\r\n")
        assert answered(plain).startswith(b"OK")
        with desk.lab.anchors().wrap_socket(plain, server_hostname="localhost") as wire:
            answered(wire)
            word = b64encode(f"\0{account.login}\0{account.password}".encode()).decode()
            wire.sendall(f'AUTHENTICATE "PLAIN" "{word}"\r\n'.encode())
            return answered(wire).startswith(b"OK")


def doors(desk: Desk, address: str) -> dict[str, str]:
    """Try every door of a box; give what each said."""
    found = {}
    with desk.lab.session_as("gamma") as wire:
        wire.ask(f"MAIL FROM:<{GAMMA}>".encode())
        found["received"] = str(wire.ask(f"RCPT TO:<{address}>".encode()).code)
    try:
        client = desk.imap(address)
        found["imap"] = str(client.select("INBOX", readonly=True)[0])
        client.logout()
    except imaplib.IMAP4.error as refusal:
        found["imap"] = "AUTHORIZATIONFAILED" if b"AUTHORIZATIONFAILED" in str(refusal).encode() else str(refusal)
    with desk.smtp(address) as door:  # the login is good: the person is still known
        found["sent"] = str(door.mail(address)[0])
    found["filters"] = "OK" if sieve_login(desk, address) else "NO"
    return found


def test_what_a_suspended_box_does_by_each_door(desk: Desk) -> None:
    box, delegate = desk.lab.numbered("alpha")[20:22]
    with desk.lab.session_as("gamma") as wire:
        assert wire.deliver(GAMMA, [box], letter(GAMMA, box, "avant")).code == 250
    opened = {"received": "250", "imap": "OK", "sent": "250", "filters": "OK"}
    assert doors(desk, box) == opened
    desk.run("team", "add", box, "--member", delegate)
    inside, other = desk.imap(box), desk.imap(delegate)
    before = inside.select("INBOX", readonly=True)[1]
    name = f'"Partages/{box}/INBOX"'
    assert other.select(name, readonly=True)[0] == "OK"
    desk.run("suspend", box, "--reason", "essai")
    try:
        shut = {"received": "450", "imap": "AUTHORIZATIONFAILED", "sent": "450", "filters": "NO"}
        assert soon(lambda: doors(desk, box) == shut, 40), doors(desk, box)

        def out(client: imaplib.IMAP4_SSL) -> bool:
            try:
                return client.fetch("1", "(BODY.PEEK[])")[0] != "OK"
            except (imaplib.IMAP4.abort, OSError):
                return True

        assert soon(lambda: out(inside), 30), "out of the session that was open"
        assert soon(lambda: out(other), 30), "and so is who was delegated"
        again = desk.imap(delegate)
        assert again.select(name, readonly=True)[0] == "NO"
        again.logout()
    finally:
        desk.run("resume", box)
        desk.run("team", "remove", box, delegate)
        for client in (inside, other):
            with contextlib.suppress(Exception):
                client.shutdown()

    def back() -> bool:
        with contextlib.suppress(imaplib.IMAP4.error):
            return bool(desk.imap(box).select("INBOX", readonly=True)[1] == before)
        return False

    assert soon(back, 30), "nothing was lost"
