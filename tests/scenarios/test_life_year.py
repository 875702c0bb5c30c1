"""500 scripted days over 1,000 mailboxes: warnings, suspensions, closings and purges are those of the rules, and the journal
accounts for each."""

from __future__ import annotations

from pathlib import Path

from support.life_year import COHORTS, Year

from mssante.storage.open import open_stores


async def test_a_life_of_500_days_over_1000_mailboxes(tmp_path: Path) -> None:
    stores = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs")
    try:
        year = Year(stores)
        await year.live(540)
        table = await year.table()
        homes = {box.id: box for boxes in year.boxes.values() for box in boxes}
        idle = year.boxes["returns"][0]
        folders = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, idle.id))
        purged = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, year.boxes["idle"][0].id))
    finally:
        stores.close()
    assert len(homes) == sum(COHORTS.values()) == 1000 and year.withheld == {"first_run": 1}
    assert table["used"] == {"active": 400}
    assert table["idle"] == {"purged": 250, "journal warned": 750, "journal suspended": 250, "journal closed": 250,
                             "journal purging": 250, "journal purged": 250}
    # two warnings, then a login: the year begins again
    assert table["returns"] == {"active": 100, "journal warned": 200}
    assert sum(folder.message_count for folder in folders) == 2
    # one warning, then an objection of a year
    assert table["objects"] == {"active": 50, "journal warned": 50, "journal objection": 50}
    # a hold keeps the content of what is closed
    assert table["held"] == {"closed": 50, "journal hold": 50, "journal warned": 150, "journal suspended": 50, "journal closed": 50}
    # suspended by time, opened again by a login
    assert table["resumes"] == {"active": 50, "journal warned": 150, "journal suspended": 50, "journal active": 50}
    # a human's suspension is ended by a human
    assert table["suspended"] == {"suspended": 50, "journal suspended": 50}
    assert table["closed"] == {"purged": 50, "journal closed": 50, "journal purging": 50, "journal purged": 50}
    assert purged == []
    # every mailbox was in the directory; it left when it closed, once, and those that live are there (spec §5)
    names = {name: {box.address for box in boxes} for name, boxes in year.boxes.items()}
    assert set(year.directory.withdrawn) == names["idle"] | names["held"] | names["closed"] and set(year.directory.withdrawn.values()) == {1}
    assert year.directory.published == names["used"] | names["returns"] | names["objects"] | names["resumes"] | names["suspended"]
    left = {name: {"closed": COHORTS[name], "withdrawn": COHORTS[name], "withdrawn 0 days after": COHORTS[name]} for name in ("idle", "held", "closed")}
    there = {name: {"published": COHORTS[name]} for name in ("used", "returns", "objects", "resumes", "suspended")}
    assert year.withdrawals() == left | there
