"""How close two addresses are, and how somebody may have mistyped one. Pure, bounded.

- Distance: insertions, deletions, changes and swaps of neighbours (optimal string alignment), given up beyond a limit.
- Called by the mirror's `near`: what a mistyped address was meant to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from heapq import nsmallest

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
_PARTS = re.compile(r"[._-]")
MAX_LOCAL = 40  # beyond, variants are not made


def distance(left: str, right: str, limit: int) -> int:
    """Give the edit distance of two texts, or limit + 1 when it is more than `limit`."""
    if left == right:
        return 0
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, char in enumerate(left, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (char != other))
            if older and j > 1 and char == right[j - 2] and other == left[i - 2]:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def variants(local: str) -> Iterator[str]:
    """Give what is one slip away from a local part (each kind of slip), at most about 3,200 texts; none for a long one."""
    if not 0 < len(local) <= MAX_LOCAL:
        return
    for at in range(len(local) + 1):
        head, tail = local[:at], local[at:]
        for letter in _LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]


def swapped(local: str) -> list[str]:
    """Give `family.given` for `given.family`, with each separator in use."""
    parts = [part for part in _PARTS.split(local) if part]
    if len(parts) < 2:
        return []
    turned = {(*parts[at:], *parts[:at]) for at in range(1, len(parts))}
    return sorted({sign.join(one) for one in turned for sign in ".-_"} | {sign.join(parts) for sign in ".-_"} - {local})


def closest_domains(domain: str, known: Iterable[str], *, most: int = 4) -> list[str]:
    """Give the known domains at most two slips away from one (three when it is long), the closest first."""
    limit = 2 if len(domain) < 24 else 3
    letters = set(domain)
    scored = ((distance(domain, one, limit), one) for one in known
              if abs(len(one) - len(domain)) <= limit and (one[:4] == domain[:4] or one[-12:] == domain[-12:])
              and len(letters ^ set(one)) <= 2 * limit)
    return [one for score, one in nsmallest(most, scored) if score <= limit]
