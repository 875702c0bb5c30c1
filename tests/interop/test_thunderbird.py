"""Thunderbird (Debian's `thunderbird`, on a virtual screen) reads, flags, moves, drafts and is pushed new mail.

Every effect is read on the server by a second, independent connection (`imaplib`).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import Reader, RunningLab, letter, need_programs, report, soon
from support.marionette import MarionetteError
from support.thunderbird import MailAccount, Thunderbird, running_thunderbird

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

BOX = "user0009@alpha.mssante.test"
SENDER = "medecin@gamma.mssante.test"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short-named folder: the sockets of the virtual screen stand in it."""
    path = Path(tempfile.mkdtemp(prefix="mssante-tb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def account(lab: RunningLab, door: str) -> MailAccount:
    """Give the account as Thunderbird needs it."""
    found = lab.operator("alpha").account(BOX)
    assert found is not None
    return MailAccount(BOX, found.login, found.password, "localhost", lab.address("alpha", door)[1], 3 if door == "imaps" else 2)


def flags(reader: Reader, name: str) -> dict[str, set[str]]:
    """Give the flags of the messages of a folder by X-Id."""
    reader.client.select(name)
    _, answer = reader.client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (X-Id)])")
    found: dict[str, set[str]] = {}
    for one in answer:
        mark = re.search(rb"(?i)x-id: *(\S+)", one[1]) if isinstance(one, tuple) else None
        words = re.search(rb"FLAGS \(([^)]*)\)", one[0]) if isinstance(one, tuple) else None
        if mark is not None and words is not None:
            found[mark[1].decode()] = set(words[1].decode().split())
    return found


def read(thunderbird: Thunderbird, mark: str) -> str:
    """Open a message in the window; give the text that it shows."""
    text: str = thunderbird.run("""
        await until(() => message("INBOX", args[0]), "message");
        await select(message("INBOX", args[0]));
        return await until(() => {
          const shown = tabs.currentAboutMessage?.getMessagePaneBrowser?.()?.contentDocument?.body?.textContent;
          return shown?.includes(args[1]) ? shown : null;
        }, "text of the message");""", mark, hashlib.sha256(mark.encode()).hexdigest())
    return text


@pytest.mark.parametrize("door", ["imaps", "imap"])
def test_a_day_of_thunderbird(door: str, running_lab: RunningLab, folder: Path) -> None:
    need_programs("thunderbird", "xvfb-run", "certutil")
    began = time.monotonic()
    marks = [f"thunderbird-{door}-{what}" for what in ("read", "flag", "move", "pushed")]
    with running_lab.reader(BOX) as reader:
        for mark in marks[:3]:
            reader.client.append("INBOX", None, None, letter(SENDER, BOX, mark))  # type: ignore[arg-type]
        with running_thunderbird(folder, account(running_lab, door), running_lab.anchors_file) as thunderbird:
            wanted = ("Drafts", "Sent", "Trash", "Junk", "Archive")
            assert set(thunderbird.discover(*wanted)) == {"INBOX", *wanted}

            assert read(thunderbird, marks[0])
            assert soon(lambda: flags(reader, "INBOX")[marks[0]] == {r"\Seen"}), "read there, seen here"

            thunderbird.run("""await until(() => message("INBOX", args[0]), "message"); await select(message("INBOX", args[0]));
                               pane().commandController.doCommand("cmd_markAsFlagged");""", marks[1])
            assert soon(lambda: r"\Flagged" in flags(reader, "INBOX")[marks[1]])

            thunderbird.run("""await until(() => message("INBOX", args[0]), "message"); await select(message("INBOX", args[0]));
                               pane().commandController.doCommand("cmd_moveMessage", folder("Archive"));
                               await until(() => !message("INBOX", args[0]), "move");""", marks[2])
            assert soon(lambda: marks[2] in flags(reader, "Archive") and marks[2] not in flags(reader, "INBOX"))

            reader.client.append("INBOX", None, None, letter(SENDER, BOX, marks[3]))  # type: ignore[arg-type]
            thunderbird.run("""await until(() => message("INBOX", args[0]), "new mail, pushed");""", marks[3])

            draft(thunderbird, f"essai {door}")
            reader.client.select("Drafts")
            assert soon(lambda: reader.client.uid("SEARCH", "SUBJECT", f'"essai {door}"', "DRAFT")[1] != [b""] or not reader.client.noop())
            _, uids = reader.client.uid("SEARCH", "SUBJECT", f'"essai {door}"')
            assert b"le texte" in reader.fetch(uids[0].decode())
            version = thunderbird.run("return Services.appinfo.version;")
    report(f"thunderbird-{door}.txt", f"Thunderbird {version} {door}: folders, read, flag, move, pushed mail, draft in "
                                      f"{time.monotonic() - began:.1f} s")


def draft(thunderbird: Thunderbird, subject: str) -> None:
    """Write a letter in a compose window and save it as a draft."""
    thunderbird.run("""
        const make = (id, kind) => Cc["@mozilla.org/messengercompose/" + id + ";1"].createInstance(kind);
        const params = make("composeparams", Ci.nsIMsgComposeParams);
        params.composeFields = make("composefields", Ci.nsIMsgCompFields);
        params.composeFields.to = "quelquun@beta.mssante.test";
        params.composeFields.subject = args[0];
        params.composeFields.body = "le texte";
        params.identity = MailServices.accounts.allIdentities[0];
        params.format = Ci.nsIMsgCompFormat.PlainText;
        params.type = Ci.nsIMsgCompType.New;
        const ready = new Promise(done => Services.obs.addObserver(function opened(window) {
          Services.obs.removeObserver(opened, "domwindowopened");
          window.addEventListener("compose-editor-ready", () => done(window), {once: true});
        }, "domwindowopened"));
        MailServices.compose.OpenComposeWindowWithParams(null, params);
        (await ready).goDoCommand("cmd_saveAsDraft");""", subject)


def test_thunderbird_trusts_nobody_else(running_lab: RunningLab, folder: Path) -> None:
    """Without the lab's authorities it does not log in: the reading above did check our certificate."""
    need_programs("thunderbird", "xvfb-run", "certutil")
    nobody = folder / "nobody.pem"
    nobody.write_text("")
    with running_thunderbird(folder, account(running_lab, "imaps"), nobody) as thunderbird, \
            pytest.raises(MarionetteError, match="status 805a1f"):
        thunderbird.run("""
            await new Promise((done, fail) => folder("INBOX").QueryInterface(Ci.nsIMsgImapMailFolder).updateFolderWithListener(
              win.msgWindow, {OnStartRunningUrl() {}, QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
              OnStopRunningUrl(url, status) { status ? fail(new Error("status " + status.toString(16))) : done(); }}));""")
