"""IMAP beside Dovecot in one run: every goal of the IMAP server's speed, measured on both in turn.

    python bench/imap_side_by_side.py --shared ../shared [--cases sync,select,...] [-n 3] [--out results.jsonl]

Brings a lab up with the mailboxes that the cases use, starts Debian's dovecot-imapd (sdbox, high-performance login mode with
hibernation; root), fills both with the same messages (10 KB each, 10,000 in the folder `big`), runs each case alternately
(ours, theirs, ours, theirs) with the generators of `shared/bench`, over TLS, and stops everything. Prints for each row the
medians with their spread, the server's CPU for each message or command, the ratio (larger is better for us), the goal and
whether it is reached. A run that something else on the machine disturbed is made again. Loopback only.

`--lab DIR` and `--peers DIR` measure a lab and a Dovecot that already run and are filled (they are left running);
`--populate` fills them first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from side_by_side import DISTURBED, detached, figure, write_accounts

IDLE_CONNECTIONS = 2000
PUSHES = 200
PUSH_SECONDS = 10.0  # Dovecot gathers its news for half a second
SETTLE_SECONDS = 180.0
FILL = [("m{n}", 10, 1000, 10), ("big", 1, 10_000, 4)]  # (mailboxes, how many, messages in each, connections)


@dataclass(frozen=True)
class Row:
    """One figure of a case. goal: the ratio to reach, or the largest value allowed when `absolute`."""

    label: str
    path: str
    goal: float | None
    larger: bool = False
    absolute: bool = False


@dataclass(frozen=True)
class Case:
    """One run of a generator. cpu: where the result tells the server's CPU; unit: for one of what."""

    words: list[str]
    rows: list[Row]
    cpu: str = "server_cpu_ms_per_op"
    unit: str = "ms/command"


@dataclass(frozen=True)
class Side:
    """One of the two servers. user: its login for a mailbox, `{u}` replaced; pid: root of its processes."""

    name: str
    port: int
    anchors: Path
    user: str
    pid: int


def each(command: str, goal: float, times: int) -> Case:
    """One command again and again on one connection with the folder of 10,000 messages selected."""
    words = ["each", "--user", "big", "--users", "1", "--concurrency", "1", "--per-command", str(times), "--mix", command]
    return Case(words, [Row(f"{command}, ms", f"latency.{command}.p50_ms", goal)])


CASES: dict[str, Case] = {
    "sync": Case(["sync", "--user", "big", "--users", "1", "--concurrency", "1"], [
        Row("first full sync of 10,000, ms", "latency.total.p50_ms", 1.5),
        Row("  its envelopes, ms", "latency.envelopes.p50_ms", 1.5),
        Row("  its bodies, ms", "latency.bodies.p50_ms", None),
    ], "server_cpu_us_per_msg", "us/message"),
    "envelopes": each("fetchenvall", 1.5, 8),
    "flags": each("fetchflags", 1.0, 40),
    "select": each("select", 1.0, 1000),
    "subject": each("searchsubject", 1.0, 20),
    "from": each("searchfrom", 1.0, 20),
    "text": each("searchtext", 20.0, 4),
    "body": each("searchbody", 20.0, 4),
    "append": Case(["populate", "--user", "a{n}", "--users", "8", "--concurrency", "8", "--messages", "250"],
                   [Row("APPEND from 8 clients, a second", "ops_per_s", 1.5, larger=True)]),
    "mix": Case(["mix", "--user", "m{n}", "--users", "10", "--concurrency", "10", "--duration", "8"],
                [Row("command mix, a second", "ops_per_s", 1.5, larger=True)]),
    "login": Case(["login", "--user", "m{n}", "--users", "10", "--concurrency", "10", "--duration", "6"],
                  [Row("logins a second (TLS, LOGIN, SELECT)", "sessions_per_s", 1.0, larger=True)],
                  "cpu_ms_per_session", "ms/login"),
    "push": Case(["push"], [
        Row("OK to the sender until EXISTS at an idle client, ms", "after_ok.p50_ms", 1.0, absolute=True),
        Row("  99 in 100", "after_ok.p99_ms", None, absolute=True),
        Row("  APPEND sent until EXISTS, ms", "after_sent.p50_ms", None),
    ]),
    "idle": Case(["idle", "--user", "i{n}", "--users", "100", "--idle", str(IDLE_CONNECTIONS), "--idle-wait", "8"], [
        Row(f"KiB (PSS) for each of {IDLE_CONNECTIONS} idle connections", "pss_kib_per_conn", 40.0, absolute=True),
        Row("  opened a second", "opened_per_s", None, larger=True),
    ], "server_cpu_ms_per_open", "ms/open"),
}


def our_side(lab: Path) -> Side:
    """Alpha's implicit-TLS door."""
    facts = json.loads((lab / "lab.json").read_text())
    alpha = facts["operators"][0]
    return Side("mssante", int(alpha["imaps"].rpartition(":")[2]), lab / facts["trust"]["anchors"],
                "{u}@" + alpha["domain"], alpha["pid"])


def rival_side(scratch: Path) -> Side:
    """Dovecot over sdbox, its faster format."""
    pid = int((scratch / "dovecot-sdbox/run/master.pid").read_text())
    return Side("dovecot", 12693, scratch / "pki/ca-bundle.pem", "{u}", pid)


def load(shared: Path, side: Side, words: list[str]) -> dict[str, Any]:
    """Run the IMAP generator once; give its result."""
    scenario, *options = words
    place = options.index("--user") + 1
    options[place] = side.user.replace("{u}", options[place])
    command = [sys.executable, str(shared / "bench/imap_load.py"), "--scenario", scenario, "--ca", str(side.anchors),
               "--port", str(side.port), "--server-pid", str(side.pid), *options]
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    sessions = result.get("latency", {}).get("session", {}).get("n")
    if sessions:
        result["sessions_per_s"] = round(sessions / result["wall_s"], 1)
        result["cpu_ms_per_session"] = round(1000 * result["server_cpu_s"] / sessions, 3)
    return result


async def watch_pushes(side: Side) -> dict[str, Any]:
    """One client idles on INBOX while another appends to it; when each EXISTS arrives, since the OK and since the sending."""
    import imapclient  # of shared/bench, put on the path by `main`

    context = ssl.create_default_context(cafile=str(side.anchors))
    context.check_hostname = False
    where = Namespace(tls="implicit", server_name="localhost", host="127.0.0.1", port=side.port)
    user = side.user.replace("{u}", "a0")
    idler, sender = [await imapclient.connect(where, context, user, "bench") for _ in range(2)]
    await idler.cmd(b"SELECT INBOX")
    seen: asyncio.Queue[float] = asyncio.Queue()
    await idler.idle_start()
    idler.untagged = lambda line: seen.put_nowait(time.perf_counter()) if line.endswith(b" EXISTS") else None
    body = b"From: <a@x.test>\r\nTo: <b@x.test>\r\nSubject: resultat\r\n\r\n" + b"x" * 78 * 2 + b"\r\n"
    after_ok, after_sent = [], []
    until = time.monotonic() + PUSH_SECONDS
    for number in range(PUSHES + 10):
        if time.monotonic() > until:
            break
        start = time.perf_counter()
        await sender.append(b"INBOX", body)
        end = time.perf_counter()
        arrived = await asyncio.wait_for(seen.get(), 5)
        if number >= 10:  # the first ones warm both up
            after_ok.append(arrived - end)
            after_sent.append(arrived - start)
        await asyncio.sleep(0.01)
    for client in (idler, sender):
        client.transport.close()
    return {"after_ok": spread_ms(after_ok), "after_sent": spread_ms(after_sent)}


def spread_ms(values: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds; an EXISTS seen before the sender's OK counts as zero."""
    ordered = sorted(max(0.0, value) for value in values)
    return {"p50_ms": round(1000 * statistics.median(ordered), 3), "p99_ms": round(1000 * ordered[len(ordered) * 99 // 100], 3)}


def one_run(shared: Path, side: Side, case: Case) -> dict[str, Any]:
    """Run a case once on one side, again while something else disturbs."""
    result: dict[str, Any] = {}
    for _ in range(5):
        time.sleep(1.0)
        if case.words == ["push"]:
            import uvloop
            return uvloop.run(watch_pushes(side))
        result = load(shared, side, case.words)
        if result.get("other_cores", 0) < DISTURBED:
            break
    return result


def verdict(row: Row, ours: float, ratio: float) -> str:
    """Say the goal and whether it is reached."""
    if row.goal is None:
        return ""
    reached = ours <= row.goal if row.absolute else ratio >= row.goal
    return f"{'<= ' if row.absolute else 'x'}{row.goal:g} {'reached' if reached else 'MISSED'}"


def shown(values: list[float]) -> str:
    """Median and spread in one cell."""
    return f"{statistics.median(values):.6g} [{min(values):.6g}-{max(values):.6g}]"


def tell(case: Case, row: Row, runs: dict[str, list[dict[str, Any]]], first: bool) -> None:
    """Print one row of the table."""
    values = {name: [figure(result, row.path) for result in results] for name, results in runs.items()}
    ours, theirs = (statistics.median(v) for v in values.values())
    ratio = ours / max(theirs, 1e-6) if row.larger else theirs / max(ours, 1e-6)
    cpu = [statistics.median(r.get(case.cpu, 0) for r in results) for results in runs.values()]
    costs = f"{cpu[0]:.3g} / {cpu[1]:.3g} {case.unit}" if first and any(cpu) else ""
    mine, rival = (shown(v) for v in values.values())
    print(f"{row.label:52s} {mine:>30s} {rival:>30s} {ratio:8.2f}  {verdict(row, ours, ratio):18s} {costs}", flush=True)


def compare(shared: Path, sides: list[Side], name: str, times: int) -> dict[str, Any]:
    """Run a case alternately on both sides, print its rows, give the raw results."""
    case = CASES[name]
    runs: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for _ in range(times):
        for side in sides:
            runs[side.name].append(one_run(shared, side, case))
    for number, row in enumerate(case.rows):
        tell(case, row, runs, number == 0)
    for side, results in runs.items():
        errors = [result["errors"] for result in results if result.get("errors")]
        if errors:
            print(f"  errors, {side}: {errors[:2]}", flush=True)
    return {"case": name, "runs": runs}


def fill(shared: Path, side: Side) -> None:
    """Append the messages of the cases."""
    for user, users, messages, connections in FILL:
        done = load(shared, side, ["populate", "--user", user, "--users", str(users), "--messages", str(messages),
                                   "--concurrency", str(connections)])
        print(f"{side.name}: {done['ops']} messages into {user}, {done['ops_per_s']}/s {done['errors'] or ''}", flush=True)
    settle(side)


def settle(side: Side) -> None:
    """Wait until the server does nothing any more: the full-text index follows what was appended."""
    import benchlib  # of shared/bench, put on the path by `main`

    tree = benchlib.ProcTree([side.pid])
    before, until = tree.cpu(), time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        time.sleep(3.0)
        now = tree.cpu()
        if now - before < DISTURBED:
            return
        before = now


def measure(arguments: Namespace, sides: list[Side]) -> None:
    """Fill when asked, then every case."""
    if arguments.populate:
        for side in sides:
            fill(arguments.shared, side)
    print(f"{'':52s} {sides[0].name:>30s} {sides[1].name:>30s} {'ratio':>8s}  {'goal':18s} server CPU, ours / theirs", flush=True)
    for name in arguments.cases.split(","):
        result = compare(arguments.shared, sides, name, arguments.n)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(result) + "\n")


def from_nothing(arguments: Namespace) -> None:
    """Bring both servers up in a folder of their own, fill, measure, stop."""
    work = Path(tempfile.mkdtemp(prefix="mssante-imap-bench-"))
    scratch = work / "peers"
    scratch.mkdir()
    for folder in (work, scratch):
        folder.chmod(0o755)
    peers = ["sh", str(arguments.shared / "bench/peers/run.sh")]
    environment = {**os.environ, "BENCH_SCRATCH": str(scratch), "BENCH_TUNED": "1", "PYTHON": sys.executable}
    lab = work / "lab"
    write_accounts(work / "accounts.csv")
    run = [sys.executable, "-m", "mssante", "lab"]
    try:
        detached([*run, "up", str(lab), "--base-port", str(arguments.base_port), "--accounts-file",
                  str(work / "accounts.csv"), "--detach"])
        detached([*peers, "start", "dovecot-sdbox"], env=environment)
        arguments.populate = True
        measure(arguments, [our_side(lab), rival_side(scratch)])
    finally:
        detached([*run, "down", str(lab)])
        detached([*peers, "stop"], env=environment)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("-n", type=int, default=3)
    parser.add_argument("--base-port", type=int, default=19000)
    parser.add_argument("--lab", type=Path, help="a lab that already runs")
    parser.add_argument("--peers", type=Path, help="the BENCH_SCRATCH of a Dovecot that already runs")
    parser.add_argument("--populate", action="store_true")
    parser.add_argument("--out", type=Path, help="append each case's raw results to this file, a JSON line each")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.shared / "bench"))
    if arguments.lab and arguments.peers:
        measure(arguments, [our_side(arguments.lab), rival_side(arguments.peers)])
    else:
        from_nothing(arguments)


if __name__ == "__main__":
    main()
