"""The same load on us and on Postfix + Dovecot in turn, in one run; prints medians, spread and the ratio.

    python bench/side_by_side.py --shared ../shared [--cases intake20,intake1,...] [-n 3]

Brings a lab up with the mailboxes that the cases use, starts the rivals of `shared/bench/peers` (Debian's postfix,
dovecot-imapd, dovecot-lmtpd; root), drives both with the generators of `shared/bench`, stops everything. Runs alternate
(ours, theirs, ours, theirs); a run that something else on the machine disturbed is made again. Loopback only. Quote the
ratios: absolute figures belong to one machine and one hour.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMTP = ["smtp_load.py", "--tls", "starttls", "--duration", "6"]
E2E = ["e2e_load.py", "--users", "10"]
CASES: dict[str, tuple[str, list[str], str, bool]] = {  # name: (part, command, figure, larger is better)
    "intake20": ("smtp", [*SMTP, "--per-conn", "20", "--concurrency", "20", "--size", "10240"], "msgs_per_s", True),
    "intake1": ("smtp", [*SMTP, "--per-conn", "1", "--concurrency", "60", "--size", "10240"], "msgs_per_s", True),
    "intake1m": ("smtp", [*SMTP, "--per-conn", "20", "--concurrency", "10", "--size", "1000000"], "mb_per_s", True),
    "delivery": ("local", [*E2E, "--total", "2000", "--concurrency", "10"], "delivered_per_s", True),
    "relay": ("relay", [*E2E, "--total", "2000", "--concurrency", "10"], "delivered_per_s", True),
    "relay200": ("relay", [*E2E, "--rate", "200", "--duration", "8"], "delivery_latency.p99_ms", False),
}
DISTURBED = 0.3  # cores used by neither the server nor the generator
USERS = [f"u{n}" for n in range(20)] + [f"m{n}" for n in range(10)] + ["big"] + [f"a{n}" for n in range(8)] + [
    f"i{n}" for n in range(100)]


@dataclass(frozen=True)
class Side:
    """One of the two. parts: arguments of each part of the cases; pids: roots of its processes."""

    name: str
    parts: dict[str, list[str]]
    pids: list[int]


def write_accounts(path: Path) -> None:
    """Write the mailboxes that the shared cases expect, on alpha and on beta (the relay is watched there)."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["operator", "local_part", "type", "password"])
        for operator in ("alpha", "beta"):
            rows.writerows([operator, user, "PER", "bench"] for user in USERS)


def our_side(lab: Path) -> Side:
    """Gamma's certificate sends to alpha; u0 of alpha submits toward beta, whose mailboxes are watched."""
    facts = json.loads((lab / "lab.json").read_text())
    alpha, beta = facts["operators"][0], facts["operators"][1]
    gamma = facts["peers"]["gamma"]

    def port(operator: dict[str, Any], door: str) -> str:
        return str(operator[door].rpartition(":")[2])

    anchors = ["--ca", str(lab / facts["trust"]["anchors"])]
    peer = ["--cert", str(lab / gamma["certificate"]), "--key", str(lab / gamma["key"]), "--port", port(alpha, "smtp"),
            "--sender", f"sender@{gamma['domain']}", "--rcpt", "u{n}@" + alpha["domain"], *anchors]
    watch = ["--imap-tls", "implicit", "--imap-password", "bench"]
    return Side("mssante", {
        "smtp": peer,
        "local": [*peer, *watch, "--imap-port", port(alpha, "imaps"), "--imap-user", "u{n}@" + alpha["domain"]],
        "relay": [*anchors, *watch, "--port", port(alpha, "submission"), "--auth", f"u0@{alpha['domain']}:bench",
                  "--sender", f"u0@{alpha['domain']}", "--rcpt", "u{n}@" + beta["domain"],
                  "--imap-port", port(beta, "imaps"), "--imap-user", "u{n}@" + beta["domain"]],
    }, [alpha["pid"]])


def rival_side(scratch: Path) -> Side:
    """Postfix's durable queue for intake; Dovecot (sdbox) behind it; a second Postfix before Dovecot for the relay."""
    pki = scratch / "pki"
    common = ["--ca", str(pki / "ca-bundle.pem"), "--cert", str(pki / "client.test.chain.pem"),
              "--key", str(pki / "client.test.key"), "--port", "12525", "--sender", "sender@op-b.test"]
    watch = ["--imap-tls", "implicit", "--imap-password", "bench", "--imap-port", "12693", "--imap-user", "u{n}"]
    pids = [int(p.read_text()) for p in (scratch / "postfix/queue/pid/master.pid", scratch / "dovecot-sdbox/run/master.pid")]
    return Side("postfix+dovecot", {
        "smtp": [*common, "--rcpt", "u{n}@discard.test"],
        "local": [*common, *watch, "--rcpt", "u{n}@sdbox.test"],
        "relay": [*common, *watch, "--rcpt", "u{n}@relay2.test"],
    }, pids)


def detached(command: list[str], **options: Any) -> None:
    """Run a command that leaves daemons behind: its output goes to a file, never to a pipe that they would hold open."""
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        done = subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False, **options)
        if done.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)}\n{log.read()}")


def start_rivals(peers: Path, environment: dict[str, str]) -> None:
    """Start Dovecot and two Postfix; the second one delivers relay2.test to Dovecot instead of discarding it."""
    start = ["sh", str(peers / "run.sh"), "start"]
    first = "relay_domains = sdbox.test, discard.test, relay2.test\ntransport_maps = " \
            "inline:{{relay2.test=smtp:[127.0.0.1]:12526},{sdbox.test=lmtp:inet:127.0.0.1:12624},{discard.test=discard:}}"
    second = "relay_domains = relay2.test\ntransport_maps = inline:{{relay2.test=lmtp:inet:127.0.0.1:12624}}\n" \
             "lmtp_tls_security_level = none"
    detached([*start, "dovecot-sdbox"], env=environment)
    detached([*start, "postfix"], env=environment | {"BENCH_POSTFIX_EXTRA": first})
    detached([*start, "postfix-next"], env=environment | {"BENCH_POSTFIX_EXTRA": second})


def one_run(shared: Path, side: Side, case: str) -> dict[str, Any]:
    """Run a case once on one side, again while something else disturbs; give the generator's result."""
    part, command, _, _ = CASES[case]
    pids = [word for pid in side.pids for word in ("--server-pid", str(pid))]
    result: dict[str, Any] = {}
    for _ in range(5):
        time.sleep(1.5)
        done = subprocess.run([sys.executable, str(shared / "bench" / command[0]), *command[1:], *side.parts[part], *pids],
                              stdout=subprocess.PIPE, check=True)
        result = json.loads(done.stdout)
        if part == "relay" or result.get("other_cores", 0) < DISTURBED:  # beta and the second Postfix are "other" there
            break
    return result


def figure(result: dict[str, Any], path: str) -> float:
    """Give the number at `a.b` of a result."""
    value: Any = result
    for word in path.split("."):
        value = value[word]
    return float(value)


def compare(shared: Path, sides: list[Side], case: str, times: int) -> dict[str, Any]:
    """Run a case alternately on both sides; print and give medians and ratio."""
    _, _, path, larger = CASES[case]
    values: dict[str, list[float]] = {side.name: [] for side in sides}
    raws: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for _ in range(times):
        for side in sides:
            result = one_run(shared, side, case)
            raws[side.name].append(result)
            values[side.name].append(figure(result, path))
    medians = [statistics.median(values[side.name]) for side in sides]
    ratio = medians[0] / medians[1] if larger else medians[1] / medians[0]
    cells = "  ".join(f"{s.name} {m:.1f} [{min(values[s.name]):.1f}-{max(values[s.name]):.1f}]"
                      for s, m in zip(sides, medians, strict=True))
    errors = [r["errors"] for s in sides for r in raws[s.name] if r.get("errors")]
    print(f"{case:10s} {path:24s} {cells}  ratio {ratio:.2f}{'  errors ' + str(errors[:2]) if errors else ''}", flush=True)
    return {"case": case, "figure": path, "values": values, "ratio": ratio, "runs": raws}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("-n", type=int, default=3)
    parser.add_argument("--base-port", type=int, default=28000)
    parser.add_argument("--out", type=Path, help="append each case's raw results to this file, a JSON line each")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mssante-bench-"))
    scratch = work / "peers"
    scratch.mkdir()
    for folder in (work, scratch):
        folder.chmod(0o755)
    peers = arguments.shared / "bench" / "peers"
    environment = {**os.environ, "BENCH_SCRATCH": str(scratch), "PYTHON": sys.executable}
    lab = work / "lab"
    write_accounts(work / "accounts.csv")
    run = [sys.executable, "-m", "mssante", "lab"]
    try:
        detached([*run, "up", str(lab), "--base-port", str(arguments.base_port), "--accounts-file",
                  str(work / "accounts.csv"), "--detach"])
        start_rivals(peers, environment)
        sides = [our_side(lab), rival_side(scratch)]
        for case in arguments.cases.split(","):
            result = compare(arguments.shared, sides, case, arguments.n)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(result) + "\n")
    finally:
        detached([*run, "down", str(lab)])
        detached(["sh", str(peers / "run.sh"), "stop"], env=environment)


if __name__ == "__main__":
    main()
