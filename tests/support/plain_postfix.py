"""A real Postfix as its manual sets it up for TLS, which knows nothing of the trust space: what `mssante attack` and `mssante check peer` must find.

It takes mail for one domain into one maildir, offers STARTTLS, asks for a client certificate and does nothing with it: no list, no
revocation, no binding of sender and certificate. Its own folder, queue and log; stopped by its own command. Needs root and Debian's
`postfix`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.lab import need_programs, soon

from mssante.lab.processes import accepts

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
myhostname = mta.{domain}
mydomain = {domain}
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
default_transport = error:nothing leaves this test
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/tls/chain.pem
smtpd_tls_CAfile = {folder}/tls/anchors.pem
smtpd_tls_ask_ccert = yes
smtpd_relay_restrictions = reject_unauth_destination
"""
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def plain_postfix(port: int, domain: str, pair: tuple[Path, Path], anchors: Path, more: str = "") -> Iterator[Path]:
    """Run it on 127.0.0.1:port with that (certificate, key); gives its folder (log/mail.log, mail/box/new).

    more: lines for main.cf, which win over those above.
    """
    need_programs("postfix", "postconf")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root and drops its rights by itself")
    folder = Path(tempfile.mkdtemp(prefix="mssante-postfix-"))
    owner = pwd.getpwnam("postfix")
    folder.chmod(0o755)
    for name in ("conf", "queue", "data", "log", "mail", "tls"):
        (folder / name).mkdir(mode=0o755)
    for name in ("data", "mail"):
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
    certificate, key = pair
    (folder / "tls" / "chain.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
    (folder / "tls" / "chain.pem").chmod(0o600)
    shutil.copyfile(anchors, folder / "tls" / "anchors.pem")
    values = {"folder": folder, "uid": owner.pw_uid, "gid": owner.pw_gid, "port": port, "domain": domain}
    (folder / "conf" / "main.cf").write_text(MAIN_CF.format(**values) + more, encoding="ascii")
    (folder / "conf" / "master.cf").write_text(MASTER_CF.format(**values), encoding="ascii")

    def run(command: str) -> int:
        with (folder / "postfix.out").open("ab") as out:
            return subprocess.run(["/usr/sbin/postfix", "-c", str(folder / "conf"), command], stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=out, timeout=60, check=False).returncode

    try:
        assert run("start") == 0, (folder / "postfix.out").read_text()
        assert soon(lambda: accepts(("127.0.0.1", port)))
        yield folder
    finally:
        run("stop")
        shutil.rmtree(folder, ignore_errors=True)
