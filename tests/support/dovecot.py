"""A real Dovecot (Debian's dovecot-imapd) with one account, for imports: its own folder, configuration and ports.

Nothing of the machine's own Dovecot is read or touched. It is started as root (it drops its rights by itself), stopped by the
pid of its own master.
"""

from __future__ import annotations

import imaplib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mssante.lab.processes import accepts, wait_until

LOGIN, PASSWORD = "claire@ancien.test", 'pa"ss\\wort é'
CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
first_valid_uid = 1
ssl = required
ssl_cert = <{folder}/tls/chain.pem
ssl_key = <{folder}/tls/key.pem
disable_plaintext_auth = yes
mail_location = {location}
mail_fsync = never
mail_max_userip_connections = 20
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={folder}/home
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
  mailbox "Gesendete Objekte" {{
    special_use = \\Sent
    auto = create
  }}
}}
"""


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A running one."""

    folder: Path
    imap: int
    imaps: int

    def log(self) -> str:
        """Give its log."""
        path = self.folder / "dovecot.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def client(self, context: ssl.SSLContext) -> imaplib.IMAP4_SSL:
        """Give a session, logged in."""
        client = imaplib.IMAP4_SSL("localhost", self.imaps, ssl_context=context, timeout=60)
        client._encoding = "utf-8"
        client.login(LOGIN, PASSWORD)
        return client


@contextmanager
def running_dovecot(chain: Path, key: Path, *, separator: str = "/", prefix: str = "", location: str = "mdbox:~/mail") -> Iterator[Dovecot]:
    """Start it; its folder is gone afterwards. chain, key: its certificate, PEM."""
    folder = Path(tempfile.mkdtemp(prefix="mssante-dovecot-"))
    running = Dovecot(folder, free_port(), free_port())
    try:
        folder.chmod(0o755)
        for name in ("run", "state", "home", "tls"):
            (folder / name).mkdir(mode=0o755)
        os.chown(folder / "home", 65534, 65534)
        shutil.copyfile(chain, folder / "tls" / "chain.pem")
        shutil.copyfile(key, folder / "tls" / "key.pem")
        config = folder / "dovecot.conf"
        config.write_text(CONFIG.format(folder=folder, imap=running.imap, imaps=running.imaps, separator=separator, prefix=prefix,
                                        location=location), encoding="utf-8")
        (folder / "users").write_text(f"{LOGIN}:{PASSWORD}\n", encoding="utf-8")
        with (folder / "out").open("wb") as out:
            done = subprocess.run(["dovecot", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60,
                                  check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        assert done.returncode == 0, (folder / "out").read_text() + running.log()
        assert wait_until(lambda: accepts(("127.0.0.1", running.imaps)), 20), running.log()
        yield running
    finally:
        subprocess.run(["dovecot", "-c", str(folder / "dovecot.conf"), "stop"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        shutil.rmtree(folder, ignore_errors=True)
