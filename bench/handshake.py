"""Mutual TLS handshakes a second over STARTTLS, full and resumed: us and Postfix in turn, in one run, with one client.

    python bench/handshake.py --lab DIR [-n 3] [--seconds 5] [--clients 48]

DIR is a running lab; gamma's certificate is shown to alpha's operators' port. A Postfix of our own (Debian's `postfix`, root)
serves alpha's very certificate and key beside it, asks for the client's certificate, checks its chain, keeps a session cache.
A session is: greeting, EHLO, STARTTLS, handshake, EHLO, QUIT. Ours is checked beyond the handshake (list, revocation); Postfix
stops at the chain. Runs alternate. `server_ms` is the server's own CPU for one session: the client shares the machine, so
that is the figure that does not depend on it. Postfix writes its part of a full handshake in pieces and waits for the client's
delayed acknowledgements (40 ms each): with few clients its rate tells of TCP and not of TLS, so there are many at a time.
Everything stops by itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pwd
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

POSTFIX = "/usr/sbin/postfix"
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
myhostname = mta.bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {folder}/tls/chain.pem
smtpd_tls_CAfile = {folder}/tls/anchors.pem
smtpd_tls_ask_ccert = yes
smtpd_tls_req_ccert = yes
smtpd_tls_mandatory_protocols = >=TLSv1.2
smtpd_tls_session_cache_database = btree:{folder}/data/smtpd_scache
smtpd_relay_restrictions = reject_unauth_destination
"""
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
tlsmgr unix - - n 1000? 1 tlsmgr
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Side:
    """One server. pid: the process whose CPU counts, with its children."""

    name: str
    port: int
    pid: int


def line_of(wire: socket.socket, buffer: bytearray) -> bytes:
    """Give the last line of a reply."""
    while True:
        end = buffer.find(b"\r\n")
        if end < 0:
            data = wire.recv(4096)
            if not data:
                raise ConnectionError("closed")
            buffer += data
            continue
        line = bytes(buffer[:end])
        del buffer[:end + 2]
        if line[3:4] != b"-":
            return line


def session(port: int, context: ssl.SSLContext, former: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
    """Run one session; give what can be resumed next, and whether this one was."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        line_of(plain, buffer)
        for command in (b"EHLO mta.gamma.mssante.test\r\n", b"STARTTLS\r\n"):
            plain.sendall(command)
            line_of(plain, buffer)
        with context.wrap_socket(plain, session=former, suppress_ragged_eofs=True) as wire:
            wire.sendall(b"EHLO mta.gamma.mssante.test\r\n")
            said = line_of(wire, buffer)
            if not said.startswith(b"250"):
                raise ConnectionError(said.decode("ascii", "replace"))
            kept, again = wire.session, bool(wire.session_reused)
            wire.sendall(b"QUIT\r\n")
            return kept, again


def client(port: int, pair: tuple[str, str], resume: bool, seconds: float,
           results: multiprocessing.Queue[tuple[int, int]]) -> None:
    """Run sessions one after the other for that long; count them and the resumed ones."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(*pair)
    count = resumed = 0
    kept, _ = session(port, context, None)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fresh, again = session(port, context, kept if resume else None)
        kept = fresh or kept
        count += 1
        resumed += again
    results.put((count, resumed))


def cpu_seconds(pid: int) -> float:
    """CPU of a process, of its children that ended and of those that live."""
    ticks, total = os.sysconf("SC_CLK_TCK"), 0.0
    parents: dict[int, list[int]] = {}
    stats: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            stats[int(entry.name)] = fields
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        if one in stats:
            total += sum(int(stats[one][rank]) for rank in (11, 12, 13, 14)) / ticks
            waiting += parents.get(one, [])
    return total


def run(side: Side, pair: tuple[str, str], resume: bool, options: argparse.Namespace) -> dict[str, float]:
    """One run; give sessions a second, share resumed, server CPU a session."""
    results: multiprocessing.Queue[tuple[int, int]] = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=client, args=(side.port, pair, resume, options.seconds, results))
               for _ in range(options.clients)]
    before, began = cpu_seconds(side.pid), time.monotonic()
    for worker in workers:
        worker.start()
    found = [results.get(timeout=options.seconds + 30) for _ in workers]
    for worker in workers:
        worker.join()
    took, used = time.monotonic() - began, cpu_seconds(side.pid) - before
    count, resumed = (sum(column) for column in zip(*found, strict=True))
    return {"per_s": count / took, "resumed": resumed / count, "server_ms": 1000 * used / count}


def postfix(folder: Path, command: str) -> None:
    """Run `postfix -c … command`."""
    with (folder / "postfix.out").open("ab") as out:
        subprocess.run([POSTFIX, "-c", str(folder / "conf"), command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                       timeout=60, check=True)


def start_postfix(folder: Path, chain: bytes, anchors: bytes) -> Side:
    """Write its folder, start it, wait for its door."""
    owner = pwd.getpwnam("postfix")
    folder.chmod(0o755)
    for name in ("conf", "queue", "data", "log", "tls"):
        (folder / name).mkdir(mode=0o755)
    os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
    (folder / "tls" / "chain.pem").write_bytes(chain)
    (folder / "tls" / "anchors.pem").write_bytes(anchors)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "conf" / "main.cf").write_text(MAIN_CF.format(folder=folder), encoding="ascii")
    (folder / "conf" / "master.cf").write_text(MASTER_CF.format(port=port), encoding="ascii")
    postfix(folder, "start")
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    return Side("postfix", port, int((folder / "queue" / "pid" / "master.pid").read_text()))


def main() -> None:
    """Measure both sides and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("-n", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=48)
    options = parser.parse_args()
    facts = json.loads((options.lab / "lab.json").read_text())
    alpha, gamma = facts["operators"][0], facts["peers"]["gamma"]
    pair = (str(options.lab / gamma["certificate"]), str(options.lab / gamma["key"]))
    folder = Path(tempfile.mkdtemp(prefix="mssante-handshake-"))
    chain = (options.lab / alpha["key"]).read_bytes() + (options.lab / alpha["certificate"]).read_bytes()
    sides = [Side("mssante", int(alpha["smtp"].rpartition(":")[2]), alpha["pid"])]
    try:
        sides.append(start_postfix(folder, chain, (options.lab / facts["trust"]["anchors"]).read_bytes()))
        for resume in (False, True):
            found: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
            for _ in range(options.n):
                for side in sides:
                    found[side.name].append(run(side, pair, resume, options))
            medians = {name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
                       for name, runs in found.items()}
            ratio = medians["mssante"]["per_s"] / medians["postfix"]["per_s"]
            told = {name: {key: round(value, 3) for key, value in one.items()}
                    | {"runs": [round(each["per_s"]) for each in found[name]]} for name, one in medians.items()}
            print(json.dumps({"handshakes": "resumed" if resume else "full", "ratio": round(ratio, 2), **told}))
    finally:
        postfix(folder, "stop")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
