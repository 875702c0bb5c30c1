"""A real Postfix plays gamma, with gamma's key, towards a running alpha: both ways, over verified mutual TLS.

Postfix has its own configuration, queue, log and mailboxes in a temporary folder, listens on gamma's reserved address and on
one free port in clear (where the test drops its mail), and is stopped by its own command. Nothing of the machine's own Postfix
is read or touched. Needs root (Postfix drops its rights by itself) and Debian's `postfix`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.lab import RunningLab, letter, need_programs, report, soon

from mssante.lab.processes import accepts

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

CLAIRE = "claire.martin@alpha.mssante.test"
SOMEONE = "someone@gamma.mssante.test"
RECIPIENT = "user0002@alpha.mssante.test"
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
multi_instance_name =
myhostname = mta.gamma.mssante.test
mydomain = gamma.mssante.test
myorigin = gamma.mssante.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtputf8_enable = yes
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = gamma.mssante.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
default_transport = error:gamma speaks to alpha only
transport_maps = inline:{{ {{ alpha.mssante.test = smtp:[127.0.0.1]:{alpha} }} }}
smtp_tls_policy_maps = inline:{{ {{ [127.0.0.1]:{alpha} = secure match=mta.alpha.mssante.test }} }}
smtp_tls_security_level = secure
smtp_tls_chain_files = {folder}/tls/chain.pem
smtp_tls_CAfile = {folder}/tls/anchors.pem
smtp_tls_loglevel = 1
smtp_tls_mandatory_protocols = >=TLSv1.2
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {folder}/tls/chain.pem
smtpd_tls_CAfile = {folder}/tls/anchors.pem
smtpd_tls_ask_ccert = yes
smtpd_tls_req_ccert = yes
smtpd_tls_fingerprint_digest = sha256
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtpd_tls_mandatory_protocols = >=TLSv1.2
smtpd_relay_restrictions = reject_unauth_destination
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
"""
MASTER_CF = """\
127.0.0.1:{gamma} inet n - n - - smtpd -o mynetworks=
127.0.0.1:{clear} inet n - n - - smtpd
  -o smtpd_tls_security_level=none -o smtpd_tls_req_ccert=no -o smtpd_tls_ask_ccert=no
  -o smtpd_relay_restrictions=permit_mynetworks,reject
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Gamma:
    """A running Postfix. clear: its port for dropping mail."""

    folder: Path
    clear: int

    def log(self) -> str:
        """Give its log."""
        path = self.folder / "log" / "mail.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def drop(self, sender: str, recipient: str, message: bytes) -> None:
        """Give it a message, as a user of gamma does."""
        with smtplib.SMTP("127.0.0.1", self.clear, local_hostname="poste.gamma.test", timeout=20) as client:
            client.sendmail(sender, [recipient], message)

    def received(self) -> list[bytes]:
        """Give the messages of its mailboxes, with CRLF again (a maildir holds LF)."""
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in (self.folder / "mail" / "box" / "new").glob("*")]

    def wait_for(self, mark: str) -> bytes:
        """Give the message of that X-Id once it is there."""
        assert soon(lambda: any(mark.encode() in one for one in self.received())), self.log()
        return next(one for one in self.received() if mark.encode() in one)


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postfix(folder: Path, command: str) -> int:
    """Run `postfix -c … command`, output in a file: the daemon keeps what it was born with."""
    with (folder / "postfix.out").open("ab") as out:
        return subprocess.run(["/usr/sbin/postfix", "-c", str(folder / "conf"), command], stdin=subprocess.DEVNULL,
                              stdout=out, stderr=out, timeout=60, check=False).returncode


def write_folder(folder: Path, lab: RunningLab, clear: int) -> None:
    """Write what Postfix needs; every folder can be crossed by its own user."""
    owner = pwd.getpwnam("postfix")
    folder.chmod(0o755)
    for name in ("conf", "queue", "data", "log", "mail", "tls"):
        (folder / name).mkdir(mode=0o755)
    for name in ("data", "mail"):
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
    certificate, key = lab.peer_files("gamma")
    (folder / "tls" / "chain.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
    (folder / "tls" / "chain.pem").chmod(0o600)
    shutil.copyfile(lab.anchors_file, folder / "tls" / "anchors.pem")
    gamma = int(lab.lab.document["peers"]["gamma"]["smtp"].rpartition(":")[2])
    values = {"folder": folder, "uid": owner.pw_uid, "gid": owner.pw_gid, "alpha": lab.address("alpha", "smtp")[1],
              "gamma": gamma, "clear": clear}
    (folder / "conf" / "main.cf").write_text(MAIN_CF.format(**values), encoding="ascii")
    (folder / "conf" / "master.cf").write_text(MASTER_CF.format(**values), encoding="ascii")


@pytest.fixture(scope="module")
def gamma(running_lab: RunningLab) -> Iterator[Gamma]:
    """Postfix as gamma."""
    need_programs("postfix", "postconf")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root and drops its rights by itself")
    folder = Path(tempfile.mkdtemp(prefix="mssante-gamma-"))
    running = Gamma(folder, free_port())
    write_folder(folder, running_lab, running.clear)
    try:
        assert postfix(folder, "start") == 0, (folder / "postfix.out").read_text() + running.log()
        assert soon(lambda: accepts(("127.0.0.1", running.clear))), running.log()
        yield running
    finally:
        postfix(folder, "stop")
        shutil.rmtree(folder, ignore_errors=True)


def awkward(sender: str, recipient: str, mark: str) -> bytes:
    """A letter with what mail programs stumble over: dots at line starts, empty lines, 8 bits, a line of 998 octets."""
    text = letter(sender, recipient, mark).replace(b"charset=us-ascii", b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit")
    return text + b".\r\n..\r\n\r\n" + "élévation été œdème\r\n".encode() + b"x" * 998 + b"\r\n \t\r\nfin\r\n"


def test_postfix_sends_to_alpha_over_verified_mutual_tls(gamma: Gamma, running_lab: RunningLab) -> None:
    marks = [f"postfix-to-alpha-{number}" for number in range(5)]
    messages = {mark: awkward(SOMEONE, RECIPIENT, mark) for mark in marks}
    for message in messages.values():
        gamma.drop(SOMEONE, RECIPIENT, message)
    with running_lab.reader(RECIPIENT) as reader:
        for mark, message in messages.items():
            assert reader.wait_for(mark).endswith(message), "the octets read end with the octets sent"
    sent = re.findall(r"Verified TLS connection established to \S+:\d+: (TLSv1\.[23])", gamma.log())
    assert sent, gamma.log()
    taken = re.findall(r"status=sent \((250 2\.0\.0 Pris en charge [0-9A-Z]{26})\)", gamma.log())
    assert len(taken) >= len(marks)
    report("postfix-to-alpha.txt", f"{len(marks)} letters, {sent[0]}, {taken[0]}")


def test_the_journal_of_alpha_holds_gammas_certificate(gamma: Gamma, running_lab: RunningLab) -> None:
    mark = "postfix-journal"
    gamma.drop(SOMEONE, RECIPIENT, letter(SOMEONE, RECIPIENT, mark))
    with running_lab.reader(RECIPIENT) as reader:
        read = reader.wait_for(mark)
    trace = re.search(rb"\b[0-9A-HJKMNP-TV-Z]{26}\b", read)
    assert trace is not None
    config = running_lab.folder / running_lab.operator("alpha").config
    code, out, error = running_lab.command("trace", trace.group().decode(), "--config", config, "--json")
    assert code == 0, error
    assert "mta.gamma.mssante.test" in out


def test_alpha_relays_to_postfix_over_verified_mutual_tls(gamma: Gamma, running_lab: RunningLab) -> None:
    account = running_lab.operator("alpha").account(CLAIRE)
    assert account is not None
    marks = [f"alpha-to-postfix-{number}" for number in range(5)]
    with smtplib.SMTP(*running_lab.address("alpha", "submission"), timeout=20) as client:
        client.starttls(context=running_lab.anchors())
        client.login(account.login, account.password)
        for mark in marks:
            client.sendmail(CLAIRE, [SOMEONE], awkward(CLAIRE, SOMEONE, mark), mail_options=["BODY=8BITMIME"])
    for mark in marks:
        assert gamma.wait_for(mark).endswith(awkward(CLAIRE, SOMEONE, mark)), "the octets stored end with the octets sent"
    assert re.search(r"smtpd\[\d+\]: Trusted TLS connection established from .*: TLSv1\.[23]", gamma.log()), gamma.log()
    head = gamma.wait_for(marks[0]).partition(b"\r\n\r\n")[0]
    said = re.search(rb'\(Client CN "([^"]+)",\s+Issuer "([^"]+)" \((.+?)\)\)', head)
    assert said is not None, head
    assert (said.group(1), said.group(3)) == (b"mta.alpha.mssante.test", b"verified OK")
    report("alpha-to-postfix.txt", f"{len(marks)} letters, client CN {said.group(1).decode()}, {said.group(3).decode()}")


def test_what_alpha_refuses_comes_back_with_its_words(gamma: Gamma, running_lab: RunningLab) -> None:
    mark = "postfix-bounce"
    gamma.drop(SOMEONE, "personne@alpha.mssante.test", letter(SOMEONE, "personne@alpha.mssante.test", mark))
    returned = gamma.wait_for(mark)
    assert b"BOITE-INCONNUE" in returned and b"5.1.1" in returned
    assert b"report-type=delivery-status" in returned
