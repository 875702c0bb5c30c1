"""A box of a team, given to twelve people by one command: real programs work in it at once, and who read and sent is told.

`mbsync`, `curl`, `imaplib` read it with the login of three members while a fourth sends in its name (`smtplib`) and stores its copy
as mail programs do; a member who leaves is out within seconds, in the middle of a session.
"""

from __future__ import annotations

import imaplib
import re
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lab import RunningLab, as_json, letter, need_programs, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

GAMMA = "medecin@gamma.mssante.test"
BOX = "secretariat-cardio@alpha.mssante.test"
INSIDE = f"Partages/{BOX}/INBOX"
SENT = f"Partages/{BOX}/Sent"
MBSYNCRC = """\
IMAPAccount alpha
Host localhost
Port {port}
User {login}
Pass {password}
SSLType IMAPS
SystemCertificates no
CertificateFile {anchors}

IMAPStore far
Account alpha

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


class Team:
    """Twelve members of the box."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.config = lab.lab.path(str(lab.operator("alpha").config))
        self.members = lab.numbered("alpha")[8:20]

    def run(self, *words: object) -> Any:
        code, out, error = self.lab.command("mailbox", *words, "--config", self.config, "--json")
        assert code == 0, error
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


@pytest.fixture
def team(running_lab: RunningLab) -> Iterator[Team]:
    made = Team(running_lab)
    members = ";".join([*made.members[:11], made.members[11] + ":read"])
    made.run("add", BOX, "--type", "ORG", "--members", members)  # the one command
    again = made.run("team", "add", BOX, "--member", members)
    assert [one["action"] for one in again["members"]] == ["keep"] * 12
    yield made
    left = [one["login"] for one in made.run("team", "list", BOX)["members"]]
    made.run("team", "remove", BOX, *left)
    made.run("state", BOX, "closed")


def run(folder: Path, *command: object) -> subprocess.Popen[bytes]:
    """Start a program, its output in files."""
    folder.mkdir(exist_ok=True)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen([str(one) for one in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C"})


def ended(process: subprocess.Popen[bytes], folder: Path) -> bytes:
    code = process.wait(60)
    assert code == 0, (folder / "err").read_text() + (folder / "out").read_text()
    return (folder / "out").read_bytes()


def test_twelve_people_work_in_one_box(team: Team, tmp_path: Path) -> None:
    need_programs("mbsync", "curl")
    lab, (first, second, third, fourth, fifth, *_, reader) = team.lab, team.members
    marks = [f"equipe-{number}" for number in range(4)]
    with lab.session_as("gamma") as wire:
        for mark in marks:
            assert wire.deliver(GAMMA, [BOX], letter(GAMMA, BOX, mark)).code == 250

    # Two programs at once, each with the login of its own user.
    account = team.account(first)
    host, port = lab.address("alpha", "imaps")
    sync, curl = tmp_path / "sync", tmp_path / "curl"
    for folder in (sync, curl, sync / "mail"):
        folder.mkdir()
    (sync / "rc").write_text(MBSYNCRC.format(port=port, login=account.login, password=account.password,
                                             anchors=lab.anchors_file, folder=sync, pattern=INSIDE))
    account = team.account(second)
    (curl / "rc").write_text(f'user = "{account.login}:{account.password}"\n')
    syncing = run(sync, "mbsync", "-c", sync / "rc", "box")
    curling = run(curl, "curl", "-sS", "-K", curl / "rc", "--cacert", lab.anchors_file, "--ssl-reqd",
                  f"imaps://{host}:{port}/{INSIDE.replace('@', '%40')};MAILINDEX=1")
    client = team.imap(third)
    client.select(f'"{INSIDE}"')
    client.store("2", "+FLAGS", "(\\Seen)")  # one reads by flagging
    ended(syncing, sync)
    assert marks[0].encode() in ended(curling, curl)
    stored = [path for path in (sync / "mail").rglob("*") if path.parent.name in ("cur", "new")]
    assert len(stored) == 4
    watcher = team.imap(fourth)
    _, found = watcher.select(f'"{INSIDE}"', readonly=True)
    assert found == [b"4"]
    assert b"\\Seen" in watcher.fetch("2", "(FLAGS)")[1][0], "what one did is seen by the others"

    # One sends in the name of the box, and stores its copy as mail programs do.
    account = team.account(third)
    message = (f"From: {BOX}\r\nTo: {GAMMA}\r\nSubject: Reponse\r\nMessage-ID: <reponse@equipe>\r\n"
               f"Date: Mon, 23 Nov 2026 09:00:00 +0100\r\n\r\nBonjour.\r\n").encode()
    with smtplib.SMTP_SSL(*lab.address("alpha", "submissions"), context=lab.anchors(), timeout=30) as door:
        door.login(account.login, account.password)
        door.sendmail(BOX, [fifth], message)
    _, answer = client.append(f'"{SENT}"', "\\Seen", None, message)
    assert b"APPENDUID" in answer[0]
    assert client.select(f'"{SENT}"')[1] == [b"1"], "one copy, though the server and the program filed it"
    _, answer = client.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SENDER)])")
    assert team.account(third).address.encode() in answer[0][1]

    # Who only reads neither sends nor deletes.
    account = team.account(reader)
    with smtplib.SMTP_SSL(*lab.address("alpha", "submissions"), context=lab.anchors(), timeout=30) as door:
        door.login(account.login, account.password)
        with pytest.raises(smtplib.SMTPSenderRefused, match="ENVOI-NON-DELEGUE"):
            door.sendmail(BOX, [fifth], message)
    reading = team.imap(reader)
    with pytest.raises(imaplib.IMAP4.readonly):
        reading.select(f'"{INSIDE}"')
    reading.is_readonly = True  # or imaplib itself would not ask the server
    assert reading.store("1", "+FLAGS", "(\\Deleted)")[0] == "NO"
    assert reading.expunge()[0] == "NO"

    # A member leaves: out of the open session within the bound.
    team.run("team", "remove", BOX, fourth)

    def gone() -> bool:
        try:
            return watcher.fetch("1", "(BODY.PEEK[])")[0] != "OK"
        except (imaplib.IMAP4.abort, OSError):
            return True

    assert soon(gone, 30)

    # Who read and who sent is told.
    expected = {first: 4, second: 1, third: 1}

    def told() -> dict[str, int]:
        logins = [one["login"] for one in team.run("readers", BOX)["readings"]]
        return {login: logins.count(login) for login in logins}

    assert soon(lambda: all(told().get(login) == count for login, count in expected.items()), 20), told()
    key = re.search(rb"(?im)^message-id: *(<[^>]+>)", stored[0].read_bytes())
    assert key is not None
    assert first in [one["login"] for one in team.run("readers", BOX, "--message-id", key.group(1).decode())["readings"]]
    assert [one["login"] for one in team.run("senders", BOX)["sent"]] == [third]
    counts = told()
    lines = [f"{login} ({program}): {counts.get(login, 0)}" for login, program in (
        (first, "mbsync"), (second, "curl"), (third, "imaplib, \\Seen"), (fourth, "imaplib, flags then taken away"))]
    report("shared-box.txt", "first readings of 4 letters, by login:\n" + "\n".join(lines) + f"\nsent in its name: {third}")
