"""Two mail programs that we did not write read a mailbox of a running alpha: `mbsync` (isync) and `curl`.

What they store or print is, after the lines that the operators put before it, octet for octet what was sent (SHA-256); flags
set on one side appear on the other; a second synchronisation moves nothing.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from support.lab import Reader, RunningLab, letter, need_programs, report

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

GAMMA = "medecin@gamma.mssante.test"
CURL_BOX = "user0003@alpha.mssante.test"
SYNC_BOX = "user0004@alpha.mssante.test"


def run(folder: Path, *command: object, code: int = 0) -> bytes:
    """Run a program, output in files; give what it printed."""
    with (folder / "out").open("w+b") as out, (folder / "err").open("w+b") as err:
        done = subprocess.run([str(one) for one in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60,
                              check=False, env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    assert done.returncode == code, (folder / "err").read_text() + (folder / "out").read_text()
    return (folder / "out").read_bytes()


def fill(lab: RunningLab, box: str, marks: list[str], size: int = 1000) -> dict[str, bytes]:
    """Deliver letters as gamma; give what was sent, by mark."""
    sent = {mark: letter(GAMMA, box, mark, size) for mark in marks}
    with lab.session_as("gamma") as wire:
        for message in sent.values():
            assert wire.deliver(GAMMA, [box], message).code == 250
    return sent


def same(read: bytes, sent: bytes) -> bool:
    """Whether `read` is header lines, then exactly `sent`, by SHA-256."""
    tail = read[len(read) - len(sent):]
    return hashlib.sha256(tail).digest() == hashlib.sha256(sent).digest() and read[:len(read) - len(sent)].endswith(b"\r\n")


@pytest.mark.parametrize(("door", "scheme", "size"), [
    ("imaps", "imaps", 1000), ("imap", "imap", 1000), ("imaps", "imaps", 3_000_000), ("imap", "imap", 3_000_000)])
def test_curl_reads_a_message(door: str, scheme: str, size: int, running_lab: RunningLab, tmp_path: Path) -> None:
    need_programs("curl")
    mark = f"curl-{door}-{size}"
    sent = fill(running_lab, CURL_BOX, [mark], size)[mark]
    account = running_lab.operator("alpha").account(CURL_BOX)
    assert account is not None
    (tmp_path / "config").write_text(f'user = "{account.login}:{account.password}"\n')
    host, port = running_lab.address("alpha", door)
    base = ["curl", "--silent", "--show-error", "-K", tmp_path / "config", "--cacert", running_lab.anchors_file, "--ssl-reqd"]
    found = run(tmp_path, *base, f"{scheme}://{host}:{port}/INBOX?HEADER%20X-Id%20{mark}")
    number = re.search(rb"\* SEARCH (\d+)", found)
    assert number is not None, found
    read = run(tmp_path, *base, f"{scheme}://{host}:{port}/INBOX;MAILINDEX={number.group(1).decode()}")
    assert same(read, sent)
    report(f"{mark}.txt", f"curl {scheme} {size} octets: sha256 {hashlib.sha256(sent).hexdigest()} sent and read")


def test_curl_trusts_nobody_else(running_lab: RunningLab, tmp_path: Path) -> None:
    """Without the lab's authorities curl refuses our certificate: the reading above did check it."""
    need_programs("curl")
    host, port = running_lab.address("alpha", "imaps")
    run(tmp_path, "curl", "--silent", "--show-error", f"imaps://{host}:{port}/", code=60)


MBSYNCRC = """\
IMAPAccount alpha
Host localhost
Port {port}
User {login}
Pass {password}
SSLType {ssl}
SSLVersions TLSv1.2 TLSv1.3
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
Patterns *
Create Both
Expunge Both
SyncState *
"""


def state_of(folder: Path) -> dict[str, int]:
    """Give every file of the local mailboxes with its time of change."""
    return {str(path): path.stat().st_mtime_ns for path in (folder / "mail").rglob("*")
            if path.parent.name in ("cur", "new")}


def near_files(folder: Path) -> dict[str, Path]:
    """Give the files of the local INBOX by X-Id."""
    found: dict[str, Path] = {}
    for path in [*(folder / "mail" / "INBOX" / "cur").iterdir(), *(folder / "mail" / "INBOX" / "new").iterdir()]:
        match = re.search(rb"(?m)^X-Id: (\S+)\r?$", path.read_bytes())
        if match is not None:
            found[match.group(1).decode()] = path
    return found


def without_its_own_line(stored: bytes) -> bytes:
    """Give a file of the maildir with CRLF again, and without the one line that mbsync adds to find it back."""
    text, added = re.subn(rb"(?m)^X-TUID: \S{12}\n", b"", stored.replace(b"\r\n", b"\n"), count=1)
    assert added <= 1
    return text.replace(b"\n", b"\r\n")


def highest(reader: Reader) -> bytes:
    """Give what any change of INBOX moves (RFC 7162 §3.1.2.1)."""
    _, answer = reader.client.status("INBOX", "(MESSAGES UIDNEXT HIGHESTMODSEQ)")
    return bytes(answer[0])


def flags_of(path: Path) -> set[str]:
    """Give the maildir flags of a file."""
    return set(path.name.partition(":2,")[2])


@pytest.mark.parametrize(("door", "ssl"), [("imaps", "IMAPS"), ("imap", "STARTTLS")])
def test_mbsync_keeps_a_mailbox_the_same_on_both_sides(door: str, ssl: str, running_lab: RunningLab, tmp_path: Path) -> None:
    need_programs("mbsync")
    account = running_lab.operator("alpha").account(SYNC_BOX)
    assert account is not None
    (tmp_path / "mail").mkdir()
    config = tmp_path / "mbsyncrc"
    config.write_text(MBSYNCRC.format(port=running_lab.address("alpha", door)[1], login=account.login, ssl=ssl,
                                      password=account.password, anchors=running_lab.anchors_file, folder=tmp_path))
    config.chmod(0o600)
    marks = [f"mbsync-{door}-{number}" for number in range(6)]
    sent = fill(running_lab, SYNC_BOX, marks)

    def sync() -> bytes:
        return run(tmp_path, "mbsync", "-c", config, "-V", "box")

    sync()
    near = near_files(tmp_path)
    assert set(marks) <= set(near)
    for mark in marks:
        assert same(without_its_own_line(near[mark].read_bytes()), sent[mark])

    with running_lab.reader(SYNC_BOX) as reader:
        uids = dict(zip(reader.marks(), reader.uids(), strict=True))
        near[marks[0]].rename(tmp_path / "mail" / "INBOX" / "cur" / (near[marks[0]].name.partition(":")[0] + ":2,S"))
        reader.client.uid("STORE", uids[marks[1]], "+FLAGS", r"(\Flagged)")
        reader.client.uid("STORE", uids[marks[2]], "+FLAGS", r"(\Deleted)")
        sync()
        _, seen = reader.client.uid("FETCH", uids[marks[0]], "(FLAGS)")
        assert rb"\Seen" in b"".join(one for one in seen if isinstance(one, bytes))
        near = near_files(tmp_path)
        assert "F" in flags_of(near[marks[1]])
        assert marks[2] not in near and uids[marks[2]] not in reader.uids(), "expunged on both sides"

        local = letter("ecrit@alpha.mssante.test", SYNC_BOX, f"written-{door}-near")
        (tmp_path / "mail" / "INBOX" / "new" / f"1.{door}.host").write_bytes(local.replace(b"\r\n", b"\n"))
        sync()
        assert without_its_own_line(reader.wait_for(f"written-{door}-near")) == local
        sync()
        far, local_files = highest(reader), state_of(tmp_path)
        sync()
        assert (highest(reader), state_of(tmp_path)) == (far, local_files), "a second run changes neither side"
    report(f"mbsync-{door}.txt", f"mbsync {ssl}: {len(marks)} letters, flags both ways, expunge, append; "
                                 f"a second run changes nothing (far: {far.decode()}, near: {len(local_files)} files)")
