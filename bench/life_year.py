"""Prints what 540 scripted days do to 1,000 mailboxes, and the time of a daily run over 100,000 (`python bench/life_year.py`)."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.life_year import DOMAIN, Year

from mssante.model.mailbox import MailboxType
from mssante.storage.interfaces import NewMailbox
from mssante.storage.open import open_stores


async def year(folder: Path) -> None:
    """Live the scripted days, print the tables."""
    stores = open_stores(f"sqlite:///{folder}/store.db", folder / "blobs")
    try:
        script = Year(stores)
        began = time.perf_counter()
        await script.live(540)
        print(f"540 days, 1,000 mailboxes: {time.perf_counter() - began:.1f} s; withheld runs: {dict(script.withheld)}")
        for name, counts in (await script.table()).items():
            print(f"{name:10} " + ", ".join(f"{key} {count}" for key, count in sorted(counts.items())))
        for name, counts in script.withdrawals().items():
            print(f"directory, {name:10} " + ", ".join(f"{key} {count}" for key, count in sorted(counts.items())))
        for month, done in sorted(script.monthly.items()):
            print(f"days {month * 30:3}-{month * 30 + 29:3}: " + (", ".join(f"{k} {n}" for k, n in sorted(done.items())) or "-"))
    finally:
        stores.close()


async def daily(folder: Path, count: int) -> None:
    """Time the first run (dates begin), a run with nothing due, one of 5,000 warnings."""
    stores = open_stores(f"sqlite:///{folder}/store.db", folder / "blobs")
    try:
        script = Year(stores)
        news = [NewMailbox(f"b{rank}@{DOMAIN}", MailboxType.PER, script.clock.now()) for rank in range(count)]
        for start in range(0, count, 5_000):
            await stores.database.write(lambda tx, start=start: stores.accounts.create_mailboxes(tx, news[start:start + 5_000]))
        for name, days in (("first run", 0), ("nothing due", 1), ("nothing due", 2)):
            script.clock.at += timedelta(days=days and 1)
            began = time.perf_counter()
            report = await script.keeper.run()
            print(f"{count} mailboxes, {name}: {time.perf_counter() - began:.2f} s, {dict(report.done)}")
        began = time.perf_counter()
        print(f"plan of the day 310: {(await script.keeper.plan(script.clock.at + timedelta(days=310))).counts()}, "
              f"{time.perf_counter() - began:.2f} s")
    finally:
        stores.close()


if __name__ == "__main__":
    for work in (year, lambda folder: daily(folder, 100_000)):
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(work(Path(place)))
