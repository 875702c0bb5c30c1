"""What the guard of the life cycle holds back: read from the journal, told by metrics and by `mssante check`.

- The journal is what processes share: a run that a human accepted on the command line ends the alarm of the operator that serves
  within a minute, and a restart forgets nothing.
- A first run with nothing grave to do, as on every new operator, is no alarm. A doubt about the clock always is: nothing at all
  is done meanwhile, and no later run ends it by itself.
Called by `services/life_keeper.py` each minute and by `cli/checks/life.py`. Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mssante.model.journal import JournalKind
from mssante.model.mailbox_rules import GRAVE
from mssante.observability.metrics import LIFE_WAITING, LIFE_WITHHELD
from mssante.storage.interfaces import Stores, Tx

CAUSES = ("clock", "first_run", "share")


@dataclass(frozen=True, slots=True)
class Withheld:
    """A run that a human must confirm. at: when it was last told; grave: suspensions, closings, erasings that wait."""

    cause: str
    at: datetime
    grave: int


def withheld_now(tx: Tx, stores: Stores) -> Withheld | None:
    """Give what waits for a human now, None when nothing does: two rows of the journal."""
    stopped = stores.journal.recent(tx, kind=JournalKind.LIFE_STOPPED.value, limit=1)
    if not stopped:
        return None
    last = stopped[0]
    run = stores.journal.recent(tx, kind=JournalKind.LIFE_RUN.value, limit=1)
    if run and run[0].sequence > last.sequence and run[0].payload.get("withheld", "?" if run[0].at == last.at else "") == "":
        return None  # a later run that nothing held back (by the chain: clocks jump); rows of older versions do not say
    grave = sum(int(last.payload.get(f"due_{step.value}") or 0) for step in GRAVE)
    cause = str(last.payload.get("cause") or "")
    return Withheld(cause, last.at, grave) if grave or cause == "clock" else None


def show(found: Withheld | None) -> None:
    """Set the gauges."""
    for cause in CAUSES:
        LIFE_WITHHELD.labels(cause).set(found is not None and found.cause == cause)
    LIFE_WAITING.set(found.grave if found is not None else 0)
