"""Refused logins in the journal: one row each while they are few, one row per network and ten seconds while they pour in.

- Up to `SINGLE_RATE` a second are written one by one; past it they are counted by network and protocol, and each count becomes
  one `login_refused` event with `count`, `logins`, `addresses` (distinct, counted up to `MAX_DISTINCT`), within `GATHER_SECONDS`.
- The count is truthful: the sum over the events (1 where `count` is missing) is the number of refusals. Past `MAX_NETWORKS`
  networks at once the rest is counted under `*`.
Called by `services.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mssante.services.guessing import origin_of
from mssante.services.sasl import Caller
from mssante.services.throttle import Bucket

SINGLE_RATE = 5.0
SINGLE_BURST = 200.0
GATHER_SECONDS = 10.0
MAX_NETWORKS = 500
MAX_DISTINCT = 1_000

Payload = dict[str, str | int | float | bool | None]


@dataclass(slots=True)
class _Count:
    count: int = 0
    logins: set[int] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)


class RefusedLogins:
    """Decides which refusals are told one by one, and counts the others."""

    def __init__(self) -> None:
        self._bucket: Bucket | None = None
        self._counts: dict[tuple[str, str], _Count] = {}

    def single(self, login: str, caller: Caller, now: float) -> bool:
        """Whether this refusal is to be told by itself; if not it was counted. now: monotonic seconds."""
        if self._bucket is None:
            self._bucket = Bucket(SINGLE_RATE, SINGLE_BURST, now)
        if self._bucket.take(0, now) <= 0:
            self._bucket.take(1, now)
            return True
        origin = origin_of(caller)
        key = (origin.network, caller.protocol)
        if key not in self._counts and len(self._counts) >= MAX_NETWORKS:
            key = ("*", caller.protocol)
        counted = self._counts.setdefault(key, _Count())
        counted.count += 1
        if len(counted.logins) < MAX_DISTINCT:
            counted.logins.add(hash(login))
        if len(counted.addresses) < MAX_DISTINCT:
            counted.addresses.add(origin.address)
        return False

    def take(self) -> list[tuple[str, Payload]]:
        """Give what was counted as (network, payload), and begin anew."""
        taken, self._counts = self._counts, {}
        return [(network, {"protocol": protocol, "peer": network, "count": one.count, "logins": len(one.logins),
                           "addresses": len(one.addresses)}) for (network, protocol), one in taken.items()]
