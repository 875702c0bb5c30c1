"""Cost of filters for one delivered message: none, and 30 rules (`python bench/sieve_bench.py`); microseconds, best of five."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from mssante.protocol.sieve.compile import compile_script
from mssante.protocol.sieve.interpreter import Surroundings
from mssante.protocol.sieve.message import MessageView

ROUNDS = 2_000
HEAD = (b"Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0100\r\nFrom: Dr A <a@x.fr>\r\nTo: b@y.fr\r\n"
        b"Subject: Compte rendu [bio]\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@x.fr>\r\n\r\n")
RULES = b'require ["fileinto","imap4flags"];\n' + b"".join(
    b'if allof(header :contains "subject" "mot%d", address :is "from" "x%d@x.fr") { fileinto "D%d"; stop; }\n' % (n, n, n)
    for n in range(30))


def best(work: Callable[[], object]) -> float:
    """Give the microseconds of one call."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(ROUNDS):
            work()
        times.append((time.perf_counter() - began) / ROUNDS * 1e6)
    return min(times)


def main() -> None:
    """Measure and print."""
    running: dict[int, int] = dict.fromkeys(range(10_000), 1)
    script, around = compile_script(RULES), Surroundings(datetime.now(UTC), lambda name: True)

    def view() -> MessageView:
        return MessageView.of(HEAD, sender="a@x.fr", recipient="b@y.fr", size=1000)

    print(f"no script: {best(lambda: 10_001 in running):.2f} us")
    print(f"header alone: {best(view):.1f} us")
    print(f"30 rules, header included: {best(lambda: script.run(view(), around)):.1f} us")
    began = time.perf_counter()
    compile_script(RULES)
    print(f"compilation, once a change: {(time.perf_counter() - began) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
