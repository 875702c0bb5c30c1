"""What the pure parts of the accept path cost, in microseconds: scan, framing, headers, identity.

    python bench/wire_costs.py

Run before and after a change to one of them (STYLE rule 15).
"""

from __future__ import annotations

import base64
import hashlib
import os
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from mssante.endpoints.smtp_parse import parse_mail, parse_rcpt
from mssante.ids import new_trace_id
from mssante.protocol.mime.compose import ReceivedFrom, received_line
from mssante.protocol.mime.imapview import facts
from mssante.protocol.smtp.dots import DotReader


def sample(octets: int, number: int) -> bytes:
    """Give a message with a text part and a base64 attachment."""
    head = (f"From: Expediteur <a@gamma.test>\r\nTo: <b@alpha.test>\r\nSubject: Compte rendu {number}\r\n"
            f"Date: Mon, 02 Mar 2026 10:00:00 +0100\r\nMessage-ID: <{number}@gamma.test>\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/mixed; boundary="=_x"\r\n\r\n--=_x\r\nContent-Type: text/plain\r\n\r\n')
    text = "consultation traitement examen biologie courrier suivi\r\n" * 20
    middle = "\r\n--=_x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    data = base64.encodebytes(os.urandom(max(0, octets - 2000) * 3 // 4)).replace(b"\n", b"\r\n")
    return (head + text + middle).encode() + data + b"\r\n--=_x--\r\n"


def cost(name: str, action: Callable[[], object], count: int = 2000) -> None:
    """Print the mean of `count` runs."""
    print(f"{name:32s}{timeit.timeit(action, number=count) / count * 1e6:10.1f} us")


def main() -> None:
    """Measure."""
    small = [sample(10240, number) for number in range(300)]
    large = sample(1_000_000, 0)
    turn = iter(small * 1000)

    def read(content: bytes) -> DotReader:
        reader = DotReader(max_size=0)
        reader.feed(content + b".\r\n")
        return reader

    now = datetime.now(UTC)
    cost("facts, 10 KB", lambda: facts(next(turn)))
    cost("facts, 1 MB", lambda: facts(large), 50)
    cost("DATA framing, 10 KB", lambda: read(next(turn)))
    cost("DATA framing, 1 MB", lambda: read(large), 50)
    cost("SHA-256, 10 KB", lambda: hashlib.sha256(small[0]).hexdigest())
    cost("Received line", lambda: received_line(ReceivedFrom("a.test", "127.0.0.1", "b.test", "ESMTPS", "0" * 26, now, "TLS")))
    cost("MAIL and RCPT", lambda: (parse_mail("FROM:<a@gamma.test>"), parse_rcpt("TO:<b@alpha.test>", False)))
    cost("trace id", new_trace_id)


if __name__ == "__main__":
    main()
