"""CardDAV of a running lab with ordinary clients: vdirsyncer keeps a copy of the book, Thunderbird adds it as a person would and
completes an address from it in the To field of a compose window.

Both check the door's certificate. curl shows what an administrator can try by hand: the discovery of RFC 6764, and a write refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import RunningLab, need_programs, report
from support.thunderbird import MailAccount, running_thunderbird

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
CLAIRE = "claire.martin@alpha.mssante.test"
SECRETARY = "secretariat.cardio@alpha.mssante.test"
CONFIG = """
[general]
status_path = "{folder}/status"
[pair book]
a = "here"
b = "mssante"
collections = ["from b"]
conflict_resolution = "b wins"
[storage here]
type = "filesystem"
path = "{folder}/cards"
fileext = ".vcf"
[storage mssante]
type = "carddav"
url = "https://127.0.0.1:{port}/"
username = "{login}"
password = "{password}"
verify = "{anchors}"
read_only = true
"""


class Sync:
    """vdirsyncer with a folder of its own."""

    def __init__(self, lab: RunningLab, folder: Path) -> None:
        need_programs("vdirsyncer")
        account = lab.operator("alpha").account(CLAIRE)
        assert account is not None
        self.folder = folder
        (folder / "config").write_text(CONFIG.format(folder=folder, port=lab.address("alpha", "web")[1], login=account.login,
                                                     password=account.password, anchors=lab.anchors_file))

    def run(self, *words: str, answer: str = "") -> tuple[int, str]:
        done = subprocess.run(["vdirsyncer", "-c", str(self.folder / "config"), *words], input=answer.encode(), timeout=60, check=False,
                              env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode()

    def cards(self) -> dict[str, Path]:
        found = {}
        for path in (self.folder / "cards").rglob("*.vcf"):
            address = next(line.partition(":")[2] for line in path.read_text().splitlines() if line.startswith("EMAIL"))
            found[address] = path
        return found


def test_vdirsyncer_keeps_a_copy(running_lab: RunningLab, tmp_path: Path) -> None:
    """From the bare host: it finds the book by RFC 6764, copies it, finds nothing to do the second time, and cannot write."""
    sync = Sync(running_lab, tmp_path)
    code, text = sync.run("discover", answer="y\ny\n")
    assert code == 0 and "colleagues" in text, text
    code, text = sync.run("sync")
    assert code == 0, text
    cards = sync.cards()
    assert {CLAIRE, SECRETARY} <= set(cards), "her domain; those elsewhere to whom other tests had her write may be there too"
    assert not any(one.endswith("@patient.mssante.test") for one in cards), "never a citizen"
    held = cards[CLAIRE].read_text()
    assert "VERSION:3.0" in held and "\nN:MARTIN;CLAIRE;;" in held
    before = {path: path.stat().st_mtime_ns for path in cards.values()}
    code, text = sync.run("sync")
    assert code == 0 and {path: path.stat().st_mtime_ns for path in sync.cards().values()} == before, text
    cards[SECRETARY].unlink()  # taken away in the copy: nothing is taken away here, and it comes back there
    for _ in range(2):
        code, text = sync.run("sync")
        assert code == 0, text
    assert set(sync.cards()) == set(cards)
    version = sync.run("--version")[1].strip()
    report("carddav-vdirsyncer.txt", f"{version}: discovery from the host, {len(cards)} cards copied, second run changes nothing")


def test_discovery_and_a_refused_write(running_lab: RunningLab, tmp_path: Path) -> None:
    need_programs("curl")
    account = running_lab.operator("alpha").account(CLAIRE)
    assert account is not None
    base = f"https://127.0.0.1:{running_lab.address('alpha', 'web')[1]}"
    secret = tmp_path / "curl"
    secret.write_text(f'user = "{account.login}:{account.password}"\n')

    def curl(path: str, *words: str, known: bool = True) -> str:
        login = ["--config", str(secret)] if known else []
        done = subprocess.run(["curl", "--silent", "--include", "--cacert", str(running_lab.anchors_file), *login, *words, base + path],
                              stdout=subprocess.PIPE, timeout=20, check=True)
        return done.stdout.decode()

    told = curl(f"/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress={CLAIRE}", known=False)
    assert 'type="carddav"' in told and "/carddav/</serverURL>" in told
    assert "location: /carddav/" in curl("/.well-known/carddav", "-X", "PROPFIND", known=False).lower()
    assert " 401 " in curl("/carddav/", "-X", "PROPFIND", known=False)
    refused = curl("/carddav/books/colleagues/x.vcf", "-T", str(secret))
    assert " 403 " in refused and "CARDDAV-LECTURE" in refused
    asked = ('<C:addressbook-query xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns="DAV:"><prop><getetag/><C:address-data/></prop>'
             '<C:filter><C:prop-filter name="FN"><C:text-match>{}</C:text-match></C:prop-filter></C:filter></C:addressbook-query>')
    found = curl("/carddav/directory/", "-X", "REPORT", "-d", asked.format("mart"))
    assert " 207 " in found and f"EMAIL;TYPE=INTERNET:{CLAIRE}" in found
    assert "supported-filter" in curl("/carddav/directory/", "-X", "REPORT", "-d", asked.format("@"))


ADD = """
    const {CardDAVUtils} = ChromeUtils.importESModule("resource:///modules/CardDAVUtils.sys.mjs");
    const found = await CardDAVUtils.detectAddressBooks(args[1], args[2], `https://localhost:${args[0]}${args[3]}`, false);
    if (found.length != 1) throw new Error("books: " + found.length);
    const ready = new Promise(done => Services.obs.addObserver(function synced(book) {
      Services.obs.removeObserver(synced, "addrbook-directory-synced");
      done(book);
    }, "addrbook-directory-synced"));
    const book = await found[0].create();
    await ready;
    await until(() => book._syncToken, "token");
    Services.prefs.setBoolPref("mail.enable_autocomplete", true);
    return [found[0].name, found[0].url.pathname, book.readOnly, book.childCards.map(one => [one.primaryEmail, one.displayName, one.lastName]), book.UID];"""
SYNC = """
    const book = MailServices.ab.getDirectoryFromUID(args[0]);
    const dav = ChromeUtils.importESModule("resource:///modules/CardDAVDirectory.sys.mjs").CardDAVDirectory.forFile(book.fileName);
    if (args[1]) dav._syncToken = args[1];
    await dav.syncWithServer();
    return [dav._syncToken, dav.childCards.map(one => one.primaryEmail)];"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short-named folder: the sockets of the virtual screen stand in it."""
    path = Path(tempfile.mkdtemp(prefix="mssante-tb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_thunderbird_completes_an_address(running_lab: RunningLab, folder: Path) -> None:
    """It finds the book from the address that autoconfig tells, copies it, takes it for read-only, completes an address in the To field, and comes through a
    token that the server does not know any more (as after a restart): the book is read anew."""
    need_programs("thunderbird", "xvfb-run", "certutil")
    from support.compose import TYPE  # keys pressed in a compose window

    account = running_lab.operator("alpha").account(CLAIRE)
    assert account is not None
    began = time.monotonic()
    mail = MailAccount(CLAIRE, account.login, account.password, "localhost", running_lab.address("alpha", "imaps")[1])
    with running_thunderbird(folder, mail, running_lab.anchors_file) as thunderbird:
        port = running_lab.address("alpha", "web")[1]
        name, path, read_only, cards, uid = thunderbird.run(ADD, port, account.login, account.password, "/carddav/")
        assert name == "Collègues MSSanté" and path == "/carddav/books/colleagues/" and read_only is True
        known = {one[0]: one for one in cards}
        assert {CLAIRE, SECRETARY} <= set(known) and known[CLAIRE][2] == "MARTIN"
        shown, recipients = thunderbird.run(TYPE, "claire mar", CLAIRE)
        assert any(CLAIRE in one for one in shown) and recipients == [CLAIRE]
        token, addresses = thunderbird.run(SYNC, uid, "")
        assert token.startswith("urn:mssante:carddav:") and {CLAIRE, SECRETARY} <= set(addresses)
        again, addresses = thunderbird.run(SYNC, uid, "urn:mssante:carddav:of-another-life")
        assert again == token and {CLAIRE, SECRETARY} <= set(addresses)
        version = thunderbird.run("return Services.appinfo.version;")
    report("carddav-thunderbird.txt", f"Thunderbird {version} CardDAV: book found and copied, typed recipient completed, lost token in "
                                      f"{time.monotonic() - began:.1f} s")
