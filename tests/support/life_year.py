"""A scripted time of 500 days over 1,000 mailboxes on a fake clock: who logs in, objects, is held, is closed. Used by
tests/scenarios/test_life_year.py and bench/life_year.py."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mssante.directory.publication import PublicationPolicy
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.mailbox_rules import LifePolicy
from mssante.services.life import LifeDesk, LifeSettings, UseBook
from mssante.services.life_keeper import KeeperSettings, LifeKeeper
from mssante.services.publication import PublicationSettings, Publisher
from mssante.services.publication_port import Answer, Change, Receipt, SendResult
from mssante.services.sasl import Caller
from mssante.storage.interfaces import Account, NewMailbox, Stores
from mssante.storage.life import Profile

START = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)
DOMAIN = "alpha.mssante.test"
SPREAD = 50  # days over which mailboxes are made
CALLER = Caller("192.0.2.1:1", "imap")
# cohort: how many of 1,000
COHORTS = {"used": 400, "idle": 250, "returns": 100, "objects": 50, "held": 50, "resumes": 50, "suspended": 50, "closed": 50}


class StepClock:
    """A clock that a script moves."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        """Give the scripted instant."""
        return self.at

    def monotonic(self) -> float:
        """Give its seconds."""
        return (self.at - START).total_seconds()


class Listing:
    """The national directory, in memory, behind the publisher's port. By wire: tests/scenarios/test_publication.py."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock
        self.published: set[str] = set()
        self.withdrawn: Counter[str] = Counter()
        self.withdrawn_at: dict[str, datetime] = {}

    async def send(self, change: Change) -> Answer:
        """Take what a change leaves."""
        left = {box.address for box in change.boxes}
        for address in change.addresses:
            if address not in left and address in self.published:
                self.withdrawn[address] += 1
                self.withdrawn_at[address] = self._clock.now()
        self.published = (self.published - set(change.addresses)) | left
        return Answer(SendResult.ACCEPTED)

    async def receipts(self) -> list[Receipt]:
        """Nothing comes later."""
        return []

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Year:
    """A script under way."""

    stores: Stores
    clock: StepClock = field(default_factory=StepClock)
    boxes: dict[str, list[Mailbox]] = field(default_factory=lambda: {name: [] for name in COHORTS})
    born: dict[int, int] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    withheld: Counter[str] = field(default_factory=Counter)
    monthly: dict[int, Counter[str]] = field(default_factory=dict)
    holders: int = 0
    closed_at: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desk = LifeDesk(self.stores, self.clock, LifeSettings(LifePolicy(), frozenset((DOMAIN,))))
        self.uses = UseBook(self.desk)
        self.keeper = LifeKeeper(self.desk, KeeperSettings(), self.uses)
        self.directory = Listing(self.clock)
        self.publisher = Publisher(self.stores, self.clock, PublicationSettings(PublicationPolicy(), frozenset((DOMAIN,)), per_second=0),
                                   facts=lambda tx, boxes: {}, driver=self.directory)
        self.desk.listeners.append(lambda address, before, after: self.publisher.note(address))
        self.desk.listeners.append(self._closed)

    def _closed(self, address: str, before: MailboxState | None, after: MailboxState | None) -> None:
        if after is MailboxState.CLOSED:
            self.closed_at[address] = self.clock.now()

    async def make(self, day: int) -> None:
        """Make the mailboxes of a day, with their logins."""
        wanted = [(name, rank) for name, count in COHORTS.items() for rank in range(count) if rank % SPREAD == day]
        news = [NewMailbox(f"{name}{rank}@{DOMAIN}", MailboxType.PER, self.clock.now(), holder_id=f"8{self.holders + number:011d}")
                for number, (name, rank) in enumerate(wanted)]
        self.holders += len(news)
        made = await self.stores.database.write(lambda tx: self.stores.accounts.create_mailboxes(tx, news))
        logins = [(box.address, "x", (box.id,)) for box in made]
        accounts = await self.stores.database.write(lambda tx: self.stores.accounts.create_accounts(tx, logins))
        for (name, _), box, account in zip(wanted, made, accounts, strict=True):
            self.boxes[name].append(box)
            self.born[box.id], self.accounts[box.id] = day, account
        # half of them have a contact in our domain
        profiles = [Profile(box.id, contact=f"used0@{DOMAIN}") for box in made[::2] if not box.address.startswith("used0@")]
        await self.stores.database.write(lambda tx: self.stores.life.put_profiles(tx, profiles, self.clock.now()))

    async def people(self, day: int) -> None:
        """What people do on a day, counted from the making of each mailbox."""
        for name, boxes in self.boxes.items():
            for box in boxes:
                age = day - self.born[box.id]
                if (name == "used" and age % 30 == 7) or (name, age) in (("returns", 340), ("resumes", 400)):
                    self.uses.note(self.accounts[box.id], CALLER)
                elif (name, age) == ("objects", 310):
                    await self.desk.object(box.address, actor="admin")
                elif (name, age) == ("held", 20):
                    await self.desk.hold(box.address, START + timedelta(days=900), actor="admin")
                elif (name, age) == ("suspended", 100):
                    await self.desk.move(box.address, MailboxState.SUSPENDED, reason="leave", actor="admin")
                elif (name, age) == ("closed", 50):
                    await self.desk.move(box.address, MailboxState.CLOSED, reason="left", actor="admin", successor=f"used0@{DOMAIN}")

    async def live(self, days: int) -> None:
        """Live day after day: people, then the keeper."""
        for day in range(days):
            self.clock.at = START + timedelta(days=day)
            if day < SPREAD:
                await self.make(day)
            await self.people(day)
            report = await self.keeper.tick()
            await self.publish(first=day < SPREAD)
            if report is not None:
                self.monthly.setdefault(day // 30, Counter()).update(report.done)
                if report.withheld:
                    self.withheld[report.withheld] += 1

    async def publish(self, *, first: bool) -> None:
        """What the publisher does in a day: new mailboxes by its sweep, the others as they are noted."""
        await (self.publisher.sweep() if first else self.publisher.catch_up())
        while await self.publisher.send_due():
            pass

    def withdrawals(self) -> dict[str, Counter[str]]:
        """Count by cohort what the directory shows at the end, what left it, and how many days after closing it did."""
        found: dict[str, Counter[str]] = {name: Counter() for name in COHORTS}
        for name, boxes in self.boxes.items():
            for address in (box.address for box in boxes):
                found[name]["published"] += address in self.directory.published
                found[name]["closed"] += address in self.closed_at
                found[name]["withdrawn"] += self.directory.withdrawn[address]
                if address in self.directory.withdrawn_at and address in self.closed_at:
                    days = (self.directory.withdrawn_at[address] - self.closed_at[address]).days
                    found[name][f"withdrawn {days} days after"] += 1
        return {name: +counts for name, counts in found.items()}

    async def table(self) -> dict[str, Counter[str]]:
        """Count by cohort the final states, and the events of the journal."""
        rows = await self.stores.database.read(lambda tx: self.stores.journal.recent(tx, kind="mailbox_changed", limit=1_000_000))
        found: dict[str, Counter[str]] = {name: Counter() for name in COHORTS}
        for row in rows:
            found[row.subject.partition("@")[0].rstrip("0123456789")][f"journal {row.payload['action']}"] += 1
        for name, boxes in self.boxes.items():
            now = await self.stores.database.read(
                lambda tx, boxes=boxes: self.stores.accounts.mailboxes_by_id(tx, [box.id for box in boxes]))
            found[name].update(box.state.value for box in now)
        return found
