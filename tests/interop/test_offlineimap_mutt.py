"""OfflineIMAP and mutt (Debian's `offlineimap3` and `mutt`) on a mailbox of a running alpha.

OfflineIMAP keeps a Maildir the same on both sides; mutt, in a terminal of its own (pty), is told its keys: read, flag, move.
Every effect is read on the server by a second connection.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
from pathlib import Path

import pytest
from support.lab import Reader, RunningLab, letter, need_programs, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

GAMMA = "medecin@gamma.mssante.test"
SYNC_BOX = "user0010@alpha.mssante.test"
MUTT_BOX = "user0011@alpha.mssante.test"


def put(reader: Reader, box: str, marks: list[str]) -> dict[str, bytes]:
    """Append letters to INBOX; give them by mark."""
    sent = {mark: letter(GAMMA, box, mark) for mark in marks}
    for raw in sent.values():
        done, said = reader.client.append("INBOX", None, None, raw)  # type: ignore[arg-type]
        assert done == "OK", said
    return sent


def uid_of(reader: Reader, name: str, mark: str) -> str:
    """Give the UID of a message of a folder by X-Id, empty when it is not there."""
    reader.client.select(name)
    _, found = reader.client.uid("SEARCH", "HEADER", "X-Id", mark)
    return (found[0] or b"").decode().partition(" ")[0]


def flags_of(reader: Reader, name: str, mark: str) -> set[str]:
    """Give the flags of a message of a folder."""
    _, answer = reader.client.uid("FETCH", uid_of(reader, name, mark), "(FLAGS)")
    words = re.search(rb"FLAGS \(([^)]*)\)", answer[0])
    assert words is not None
    return set(words[1].decode().split())


# ------------------------------------------------------------ OfflineIMAP

OFFLINEIMAPRC = """\
[general]
accounts = alpha
metadata = {folder}/state
ui = basic
socktimeout = 30

[Account alpha]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {folder}/mail

[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
remoteuser = {login}
remotepass = {password}
ssl = {ssl}
starttls = {starttls}
sslcacertfile = {anchors}
expunge = yes
"""


@pytest.mark.parametrize("door", ["imaps", "imap"])
def test_offlineimap_keeps_a_maildir_the_same(door: str, running_lab: RunningLab, tmp_path: Path) -> None:
    need_programs("offlineimap")
    account = running_lab.operator("alpha").account(SYNC_BOX)
    assert account is not None
    config = tmp_path / "offlineimaprc"
    config.write_text(OFFLINEIMAPRC.format(
        folder=tmp_path, port=running_lab.address("alpha", door)[1], login=account.login, password=account.password.replace("%", "%%"),
        ssl="yes" if door == "imaps" else "no", starttls="no" if door == "imaps" else "yes", anchors=running_lab.anchors_file))
    config.chmod(0o600)

    def sync() -> None:
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(["offlineimap", "-c", config, "-o", "-u", "basic"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  timeout=60, check=False, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        printed = (tmp_path / "out").read_text()
        assert done.returncode == 0 and "ERROR" not in printed, printed

    def near() -> dict[str, Path]:
        found = {}
        for path in (tmp_path / "mail" / "INBOX").glob("[cn][ue][rw]/*"):
            mark = re.search(rb"(?m)^X-Id: (\S+)\r?$", path.read_bytes())
            if mark is not None:
                found[mark[1].decode()] = path
        return found

    marks = [f"offlineimap-{door}-{rank}" for rank in range(4)]
    with running_lab.reader(SYNC_BOX) as reader:
        sent = put(reader, SYNC_BOX, marks)
        sync()
        files = near()
        for mark in marks:
            assert files[mark].read_bytes().replace(b"\r\n", b"\n") == sent[mark].replace(b"\r\n", b"\n")
        assert {"Drafts", "Sent", "Archive"} <= {path.name for path in (tmp_path / "mail").iterdir()}

        files[marks[0]].rename(tmp_path / "mail/INBOX/cur" / (files[marks[0]].name.partition(":2,")[0] + ":2,FS"))
        files[marks[1]].unlink()
        reader.client.select("INBOX")
        reader.client.uid("STORE", uid_of(reader, "INBOX", marks[2]), "+FLAGS", r"(\Answered)")
        written = letter("ecrit@alpha.mssante.test", SYNC_BOX, f"offlineimap-{door}-near")
        (tmp_path / "mail/INBOX/new" / f"1.{door}.host").write_bytes(written.replace(b"\r\n", b"\n"))
        sync()
        assert {r"\Flagged", r"\Seen"} <= flags_of(reader, "INBOX", marks[0])
        assert not uid_of(reader, "INBOX", marks[1]), "deleted there, expunged here"
        assert "R" in near()[marks[2]].name.partition(":2,")[2]
        assert uid_of(reader, "INBOX", f"offlineimap-{door}-near"), "written there, appended here"
        before = {str(path) for path in (tmp_path / "mail").rglob("*")}
        state = reader.client.status("INBOX", "(MESSAGES UIDNEXT HIGHESTMODSEQ)")
        sync()
        assert {str(path) for path in (tmp_path / "mail").rglob("*")} == before
        assert reader.client.status("INBOX", "(MESSAGES UIDNEXT HIGHESTMODSEQ)") == state, "a third run changes nothing"
    report(f"offlineimap-{door}.txt", f"offlineimap {door}: {len(marks)} letters, flags both ways, deletion, append; a third run changes nothing")


# ------------------------------------------------------------ mutt

MUTTRC = """\
set folder = "{scheme}://{host}:{port}/"
set spoolfile = "+INBOX"
set imap_user = "{login}"
set imap_pass = "{password}"
set ssl_force_tls = yes
set ssl_starttls = yes
set ssl_ca_certificates_file = "{anchors}"
set certificate_file = "{folder}/certificates"
set header_cache = ""
set record = ""
set mbox_type = Maildir
set postponed = "+Drafts"
set confirmappend = no
set confirmcreate = no
set delete = yes
set move = no
set quit = yes
set sleep_time = 0
set wait_key = no
set pipe_decode = no
set read_inc = 0
set timeout = 1
set mail_check = 1
"""


def mutt(folder: Path, keys: str, *more: str) -> None:
    """Run mutt in a terminal of its own on keys that end with <quit>."""
    master, slave = pty.openpty()
    process = subprocess.Popen(["mutt", "-n", "-F", str(folder / "muttrc"), *more, "-e", f"push '{keys}'"], stdin=slave, stdout=slave,
                               stderr=slave, cwd=folder, start_new_session=True,
                               env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8",
                                    "LINES": "40", "COLUMNS": "120"})
    os.close(slave)
    screen: list[bytes] = []

    def drain() -> None:
        try:
            while data := os.read(master, 65536):
                screen.append(data)
        except OSError:
            pass  # the terminal's other end is closed

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        assert process.wait(25) == 0, b"".join(screen)[-2000:]
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        raise AssertionError(b"".join(screen)[-2000:]) from None
    finally:
        reader.join(5)
        os.close(master)


@pytest.mark.parametrize("door", ["imaps", "imap"])
def test_mutt_reads_flags_and_moves(door: str, running_lab: RunningLab, tmp_path: Path) -> None:
    need_programs("mutt")
    account = running_lab.operator("alpha").account(MUTT_BOX)
    assert account is not None
    (tmp_path / "muttrc").write_text(MUTTRC.format(scheme=door, host="localhost", port=running_lab.address("alpha", door)[1],
                                                   login=account.login, password=account.password, anchors=running_lab.anchors_file,
                                                   folder=tmp_path))
    marks = [f"mutt-{door}-{what}" for what in ("read", "flag", "move")]
    with running_lab.reader(MUTT_BOX) as reader:
        sent = put(reader, MUTT_BOX, marks)
        keys = (f"<limit>~i {marks[0]}@<enter><display-message><exit><pipe-message>cat > {tmp_path}/read<enter>"
                f"<limit>~i {marks[1]}@<enter><flag-message>"
                f"<limit>~i {marks[2]}@<enter><save-message>=Archive<enter>"
                "<limit>all<enter><sync-mailbox><quit>")
        mutt(tmp_path, keys)
        assert (tmp_path / "read").read_bytes().replace(b"\r\n", b"\n").endswith(sent[marks[0]].replace(b"\r\n", b"\n"))
        assert soon(lambda: r"\Seen" in flags_of(reader, "INBOX", marks[0]))
        assert r"\Flagged" in flags_of(reader, "INBOX", marks[1])
        assert uid_of(reader, "Archive", marks[2]) and not uid_of(reader, "INBOX", marks[2])
        assert reader.fetch(uid_of(reader, "Archive", marks[2])) == sent[marks[2]]
    report(f"mutt-{door}.txt", f"mutt {door}: read octet for octet, flagged, moved")
