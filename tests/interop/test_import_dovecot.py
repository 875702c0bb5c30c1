"""`mssante mailbox import` from a real Dovecot into a running alpha: 1,000 messages, killed in the middle, gone on, proven.

Both sides are read again by `imaplib` here: the multiset of (folder, flags, keywords, internal date, SHA-256) is the same.
"""

from __future__ import annotations

import hashlib
import imaplib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dovecot import LOGIN, PASSWORD, Dovecot, running_dovecot
from support.lab import ROOT, Reader, RunningLab, letter, need_programs, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

BOX = "user0005@alpha.mssante.test"
OTHER_BOX = "user0006@alpha.mssante.test"
TOTAL = 1000
FOLDERS = {"INBOX": ("INBOX", 700), '"Gesendete Objekte"': ("Sent", 150), "&AMk-t&AOk-/2024": ("&AMk-t&AOk-/2024", 100), "Listes": ("Listes", 50)}
FLAGS = ("", r"\Seen", r"\Seen \Answered", r"\Flagged", r"\Draft", r"\Deleted", r"\Seen $Label1", "urgent $Forwarded")


def need_dovecot() -> None:
    """Skip without Dovecot's IMAP server, or without root."""
    need_programs("dovecot", "doveconf")
    if not Path("/usr/lib/dovecot/imap").exists():
        pytest.skip("not installed on this machine: dovecot-imapd")
    if os.geteuid() != 0:
        pytest.skip("Dovecot starts as root and drops its rights by itself")


@pytest.fixture
def dovecot(running_lab: RunningLab) -> Iterator[Dovecot]:
    """A Dovecot with gamma's certificate."""
    need_dovecot()
    with running_dovecot(*running_lab.peer_files("gamma")) as running:
        yield running


def fill(dovecot: Dovecot, lab: RunningLab) -> None:
    """Append 1,000 messages: small, some of 200 KB, one of 3 MB; several folders, flags, keywords, dates."""
    client = dovecot.client(lab.anchors())
    rank = 0
    for folder, (_, count) in FOLDERS.items():
        client.create(folder)
        for _ in range(count):
            size = 3_000_000 if rank == 350 else 200_000 if rank % 50 == 7 else 500 + 37 * (rank % 100)
            date = f'"{1 + rank % 28:2d}-Nov-2025 {rank % 24:02d}:30:{rank % 60:02d} +0100"'
            done, said = client.append(folder, f"({FLAGS[rank % len(FLAGS)]})", date, letter("a@ancien.test", LOGIN, f"dovecot-{rank}", size))
            assert done == "OK", said
            rank += 1
    assert rank == TOTAL
    client.logout()


def contents(client: imaplib.IMAP4_SSL, folder: str) -> Counter[tuple[str, str, str]]:
    """Give (flags, date, SHA-256) of every message of a folder; moments compared as such."""
    assert client.select(folder, readonly=True)[0] == "OK"
    found: Counter[tuple[str, str, str]] = Counter()
    _, answer = client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
    for one in answer:
        if not isinstance(one, tuple):
            continue
        flags = re.search(rb"FLAGS \(([^)]*)\)", one[0])
        assert flags is not None
        words = sorted(word for word in flags[1].decode().split() if word != r"\Recent")
        moment = imaplib.Internaldate2tuple(one[0])
        found[" ".join(words), str(moment), hashlib.sha256(one[1]).hexdigest()] += 1
    return found




def command(lab: RunningLab, dovecot: Dovecot, box: str, *more: str, scheme: str = "imaps") -> list[str]:
    """Give the command line of an import."""
    port = dovecot.imaps if scheme == "imaps" else dovecot.imap
    config = lab.folder / lab.operator("alpha").config
    return [sys.executable, "-m", "mssante", "--lang", "en", "mailbox", "import", box, "--imap",
            f"{scheme}://{LOGIN}@localhost:{port}", "--anchors", str(lab.anchors_file), "--config", str(config), "--json", *more]


def run(words: list[str], code: int = 0) -> dict[str, object]:
    """Run to the end and give what it printed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, timeout=120, check=False,
                              env={**os.environ, "MSSANTE_IMPORT_PASSWORD": PASSWORD})
        out.seek(0)
        err.seek(0)
        printed, told = out.read().decode(), err.read().decode()
    assert done.returncode == code, told + printed
    assert PASSWORD not in printed + told
    document: dict[str, object] = json.loads(printed)
    return document


def stored(reader: Reader) -> int:
    """Messages of all folders here, by STATUS."""
    total = 0
    for _, (name, _) in FOLDERS.items():
        done, answer = reader.client.status(name, "(MESSAGES)")
        total += int(re.search(rb"MESSAGES (\d+)", answer[0])[1]) if done == "OK" else 0  # type: ignore[index]
    return total


def test_a_thousand_messages_survive_a_kill(dovecot: Dovecot, running_lab: RunningLab) -> None:
    fill(dovecot, running_lab)
    words = command(running_lab, dovecot, BOX)
    plan = run([*words, "--dry-run"])
    assert sum(one["to_import"] for one in plan["folders"]) == TOTAL  # type: ignore[attr-defined]
    with running_lab.reader(BOX) as reader:
        assert stored(reader) == 0, "a dry run changes nothing"
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT,
                                       env={**os.environ, "MSSANTE_IMPORT_PASSWORD": PASSWORD})
            assert soon(lambda: stored(reader) >= 200 or process.poll() is not None)
            process.kill()
            process.wait(10)
        before = stored(reader)
        assert 200 <= before < TOTAL, "killed in the middle"
        assert soon(lambda: reader.count() > 0), "an open session of the running server sees the new mail"

        document = run(words)
        folders = {one["source"]: one for one in document["folders"]}  # type: ignore[attr-defined]
        assert sum(one["already"] for one in folders.values()) == before
        assert sum(one["imported"] for one in folders.values()) == TOTAL - before
        assert all(one["equal"] and one["source_hash"] == one["stored_hash"] for one in folders.values())
        assert document["ok"] and not document["notes"]

        # The folder that the session holds open hears of another process within a second or so.
        assert soon(lambda: reader.count() == FOLDERS["INBOX"][1])
        there = dovecot.client(running_lab.anchors())
        for source, (target, count) in FOLDERS.items():
            original = contents(there, source)
            assert sum(original.values()) == count
            assert contents(reader.client, target) == original, f"{source} is the same on both sides"
        there.logout()
        again = run(words)
        assert sum(one["imported"] for one in again["folders"]) == 0 and stored(reader) == TOTAL  # type: ignore[attr-defined]
    report("import-dovecot.txt", f"{TOTAL} messages from Dovecot, killed at {before}, gone on, "
                                 + ", ".join(f"{name}: {one['stored']} {one['stored_hash'][:12]}" for name, one in folders.items()))


def test_an_idling_client_hears_of_an_import_over_starttls(dovecot: Dovecot, running_lab: RunningLab) -> None:
    client = dovecot.client(running_lab.anchors())
    for rank in range(3):
        client.append("INBOX", "()", None, letter("a@ancien.test", LOGIN, f"idle-{rank}"))  # type: ignore[arg-type]
    client.create("Vide")
    client.logout()
    with running_lab.reader(OTHER_BOX) as reader:
        reader.client.send(b"x1 IDLE\r\n")
        assert reader.client.readline().startswith(b"+")
        document = run(command(running_lab, dovecot, OTHER_BOX, "--folder", "inbox", scheme="imap"))
        assert [one["source"] for one in document["folders"]] == ["INBOX"]  # type: ignore[attr-defined]
        reader.client.sock.settimeout(10)
        assert reader.client.readline() == b"* 3 EXISTS\r\n"
        assert reader.client.readline() == b"* 3 RECENT\r\n"
        reader.client.send(b"DONE\r\n")
        assert reader.client.readline().startswith(b"x1 OK")


def test_what_cannot_be_trusted_or_opened_is_refused(dovecot: Dovecot, running_lab: RunningLab) -> None:
    words = command(running_lab, dovecot, OTHER_BOX)
    anchors = words.index("--anchors")
    assert run(words[:anchors] + words[anchors + 2:], code=1)["rule"] == "IMPORT-TLS"
    starttls = command(running_lab, dovecot, OTHER_BOX, scheme="imap")
    assert run(starttls[:anchors] + starttls[anchors + 2:], code=1)["rule"] == "IMPORT-TLS"
    assert run([word.replace(LOGIN, "x y@z") for word in words], code=1)["rule"] in ("IMPORT-LOGIN", "IMPORT-URL")
    assert run([word.replace(str(dovecot.imaps), "1") for word in words], code=1)["rule"] == "IMPORT-IMAP"


def test_a_server_that_puts_all_below_inbox(running_lab: RunningLab) -> None:
    """Courier's way: prefix `INBOX.`, delimiter `.`, Maildir++ behind it; then the same Maildir is read from disk."""
    need_dovecot()
    with running_dovecot(*running_lab.peer_files("gamma"), separator=".", prefix="INBOX.", location="maildir:~/Maildir") as dovecot:
        client = dovecot.client(running_lab.anchors())
        client.create("INBOX.Projets.2024")
        client.append("INBOX.Projets.2024", r"(\Seen $Label1)", None, letter("a@ancien.test", LOGIN, "below"))  # type: ignore[arg-type]
        client.append('"INBOX.Gesendete Objekte"', "()", None, letter("a@ancien.test", LOGIN, "sent"))  # type: ignore[arg-type]
        client.logout()
        box = "user0007@alpha.mssante.test"
        document = run(command(running_lab, dovecot, box))
        filled = {one["source"]: one["folder"] for one in document["folders"] if one["messages"]}  # type: ignore[attr-defined]
        assert filled == {"Projets/2024": "Projets/2024", "Gesendete Objekte": "Sent"}
        disk = [*command(running_lab, dovecot, "user0008@alpha.mssante.test")]
        place = disk.index("--imap")
        disk[place:place + 4] = ["--maildir", str(dovecot.folder / "home" / "Maildir")]
        document = run(disk)
        filled = {one["source"]: one["folder"] for one in document["folders"] if one["messages"]}  # type: ignore[attr-defined]
        assert filled == {"Projets/2024": "Projets/2024", "Gesendete Objekte": "Gesendete Objekte"}
        with running_lab.reader("user0008@alpha.mssante.test") as reader, running_lab.reader(box) as other:
            assert contents(reader.client, "Projets/2024") == contents(other.client, "Projets/2024")
