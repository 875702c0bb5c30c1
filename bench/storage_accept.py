"""How fast storage accepts messages: `write_many` at several concurrencies, durable, one folder and one event a message.

    python bench/storage_accept.py [--seconds 3] [--octets 10240]

Prints messages a second and CPU microseconds a message (whole process). No network: this is the ceiling of reception.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import MailboxType
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.imapview import facts
from mssante.storage.interfaces import Acceptance, Filing, NewMailbox
from mssante.storage.open import open_stores


def message(octets: int, number: int) -> NewMessage:
    """Give one message of about `octets`."""
    head = f"From: a@b.test\r\nSubject: essai {number}\r\nMessage-ID: <{number}@b.test>\r\n\r\n".encode()
    body = head + b"ligne de texte sans interet particulier\r\n" * ((octets - len(head)) // 41)
    staged = StagedBody(len(body), hashlib.sha256(body).hexdigest(), inline=body)
    return NewMessage(staged, b"Return-Path: <a@b.test>\r\n", facts(body), f"{number:026d}", datetime.now(UTC))


async def run(seconds: float, octets: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        stores = open_stores(f"sqlite:///{folder}/m.db", Path(folder) / "blobs")
        boxes = await stores.database.write(lambda tx: stores.accounts.create_mailboxes(
            tx, [NewMailbox(f"u{n}@b.test", MailboxType.PER, datetime.now(UTC)) for n in range(20)]))
        samples = [message(octets, number) for number in range(200)]
        for concurrency in (1, 20, 100):
            end = time.perf_counter() + seconds
            counts = [0] * concurrency

            async def worker(index: int, end: float = end, counts: list[int] = counts) -> None:
                while time.perf_counter() < end:
                    new = samples[counts[index] % len(samples)]
                    event = JournalEvent(JournalKind.RECEIVED, new.received_at, new.trace_id, "a@b.test", {"size": octets})
                    item = Acceptance(new, (Filing(boxes[index % 20].inbox_id),), None, (event,))
                    await stores.database.write_many(stores.messages.accept, item)
                    counts[index] += 1

            cpu, start = sum(os.times()[:2]), time.perf_counter()
            await asyncio.gather(*(worker(index) for index in range(concurrency)))
            done, wall = sum(counts), time.perf_counter() - start
            spent = (sum(os.times()[:2]) - cpu) / done * 1e6
            print(f"concurrency {concurrency:4d}: {done / wall:8.0f} messages/s  {spent:6.0f} us CPU a message")
        stores.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--octets", type=int, default=10240)
    chosen = parser.parse_args()
    asyncio.run(run(chosen.seconds, chosen.octets))
