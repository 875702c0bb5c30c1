"""Failed logins from many addresses while users work: latency of the users before and during, and what became of the failures.

Usage: failed_logins.py LAB [--failures N] [--attackers N] [--users N] [--seconds S]. LAB: folder of a running lab
(`mssante lab up LAB --accounts 50`). Guesses come from distinct 127.x.y.z addresses over IMAPS, three a connection, half of them
on logins that exist. Users come from 127.200.0.0/24, log in anew for each round, then SELECT, NOOP, FETCH.
Guessers are a process of their own. Clients and server share the machine: the figures hold what the clients cost, too.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

NETWORKS = 100


@dataclass
class Tally:
    """What was seen."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    left: int = 0


def context() -> ssl.SSLContext:
    """TLS without judging the lab's certificate."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


async def command(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], line: str) -> str:
    """Send a command and give its tagged line."""
    streams[1].write(f"a {line}\r\n".encode())
    while True:
        got = (await asyncio.wait_for(streams[0].readline(), 60)).decode("utf-8", "replace")
        if not got or got.startswith("a "):
            return got.strip()


async def guesser(number: int, place: tuple[str, int], tls: ssl.SSLContext, *, tally: Tally, logins: list[str]) -> None:
    """Guess until nothing is left."""
    round_ = 0
    while tally.left > 0:
        round_ += 1
        spot = number * 7919 + round_ * 104729
        source = f"127.{1 + spot % 10}.{spot // 10 % (NETWORKS // 10)}.{1 + spot // 1000 % 250}"
        try:
            streams = await asyncio.wait_for(asyncio.open_connection(*place, ssl=tls, local_addr=(source, 0)), 60)
            await streams[0].readline()
            for guess in range(3):
                if tally.left <= 0:
                    break
                tally.left -= 1
                login = logins[spot % len(logins)] if spot % 2 else f"absent{spot}@alpha.mssante.test"
                answer = await command(streams, f'LOGIN "{login}" "guess{spot}{guess}"')
                tally.outcomes["later" if "UNAVAILABLE" in answer else "refused" if " NO " in answer else "closed"] += 1
            streams[1].close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as fault:
            tally.outcomes[type(fault).__name__] += 1


async def user(number: int, place: tuple[str, int], tls: ssl.SSLContext, *, tally: Tally, secret: tuple[str, str]) -> None:
    """Work in rounds until cancelled."""
    while True:
        try:
            start = time.perf_counter()
            streams = await asyncio.open_connection(*place, ssl=tls, local_addr=(f"127.200.0.{1 + number % 250}", 0))
            await streams[0].readline()
            tally.times["connect"].append(time.perf_counter() - start)
            for name, line in (("login", f'LOGIN "{secret[0]}" "{secret[1]}"'), ("select", "SELECT INBOX"), ("noop", "NOOP"),
                               ("fetch", "FETCH 1:* (FLAGS)"), ("logout", "LOGOUT")):
                start = time.perf_counter()
                answer = await command(streams, line)
                tally.times[name].append(time.perf_counter() - start)
                if not answer.startswith("a OK"):
                    tally.outcomes[f"user {name}: {answer[:40]}"] += 1
            streams[1].close()
        except (OSError, TimeoutError) as fault:
            tally.outcomes[f"user {type(fault).__name__}"] += 1
        await asyncio.sleep(1.0)


def show(words: str, tally: Tally) -> None:
    """Print p50, p95, p99 in ms."""
    for name, times in tally.times.items():
        times.sort()
        spots = " ".join(f"p{p} {times[min(len(times) - 1, len(times) * p // 100)] * 1000:8.1f}" for p in (50, 95, 99))
        print(f"{words:8} {name:8} n {len(times):6} {spots} ms")
    tally.times = collections.defaultdict(list)


def cpu(pid: int) -> float:
    """Give the CPU seconds of a process."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


async def run(arguments: argparse.Namespace) -> None:
    """Measure before, then during."""
    operator = json.loads((arguments.lab / "lab.json").read_text())["operators"][0]
    host, _, port = operator["imaps"].rpartition(":")
    place, tls, tally, attack = (host, int(port)), context(), Tally(), Tally()
    people = [(one["login"], one["password"]) for one in operator["accounts"] if one.get("password")]
    users = [asyncio.ensure_future(user(n, place, tls, tally=tally, secret=people[n % len(people)]))
             for n in range(arguments.users)]
    await asyncio.sleep(5)
    tally.times.clear()
    began, before = time.perf_counter(), cpu(operator["pid"])
    await asyncio.sleep(arguments.seconds)
    print(f"before: server CPU {(cpu(operator['pid']) - before) / (time.perf_counter() - began) * 100:.0f} %")
    show("before", tally)
    began, before = time.perf_counter(), cpu(operator["pid"])
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(arguments.lab), "--guess-only", "--failures", str(arguments.failures), "--attackers",
        str(arguments.attackers), "--most-seconds", str(arguments.most_seconds), stdout=asyncio.subprocess.PIPE)
    told, _ = await child.communicate()
    attack.outcomes.update(json.loads(told))
    spent, done = time.perf_counter() - began, attack.outcomes["refused"] + attack.outcomes["later"]
    print(f"during: {done} failed logins in {spent:.0f} s ({done / spent:.0f} a second), server CPU "
          f"{(cpu(operator['pid']) - before) / spent * 100:.0f} %, outcomes {dict(attack.outcomes)}")
    show("during", tally)
    print(f"users' troubles: {dict(tally.outcomes) or 'none'}")
    for one in users:
        one.cancel()


async def guess(arguments: argparse.Namespace) -> None:
    """The guessers alone, in a process of their own: what they cost is not in the users' times."""
    operator = json.loads((arguments.lab / "lab.json").read_text())["operators"][0]
    host, _, port = operator["imaps"].rpartition(":")
    attack = Tally(left=arguments.failures)
    logins = [one["login"] for one in operator["accounts"] if one.get("password")]
    asyncio.get_running_loop().call_later(arguments.most_seconds, lambda: setattr(attack, "left", 0))
    tls = context()
    await asyncio.gather(*(guesser(n, (host, int(port)), tls, tally=attack, logins=logins) for n in range(arguments.attackers)))
    print(json.dumps(attack.outcomes))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lab", type=Path)
    parser.add_argument("--failures", type=int, default=100_000)
    parser.add_argument("--attackers", type=int, default=400)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--most-seconds", type=float, default=3600, help="stop guessing after so long")
    parser.add_argument("--guess-only", action="store_true", help="used by itself: only guess, and print the outcomes as JSON")
    arguments = parser.parse_args()
    asyncio.run(guess(arguments) if arguments.guess_only else run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
