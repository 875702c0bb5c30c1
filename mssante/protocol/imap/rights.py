"""Letters of rights (RFC 4314 §2.1) and the arithmetic on them: what a client writes, what it is told, what somebody may do.

- Rights are kept as a text of distinct letters in the order of `ALL`; the virtual rights `c` and `d` of RFC 2086 are never
  kept: they are expanded when read (`c` is `kx`, `d` is `te`) and added when told (RFC 4314 §2.1.1).
- `effective` adds what the identifiers of a login grant and takes away what its negative identifiers (`-id`) name.
- Pure: no IO, no storage. Called by `commands/acl.py`, `aclencode.py`, `services/imap/rights.py`, `services/sharing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mssante.model.message import Flags

ALL = "lrswipkxtea"
DELEGATED = "lrswipkxte"  # all but the administration of rights
READING = "lr"  # of who reads a mailbox and changes nothing in it
ANYONE = "anyone"
MAX_IDENTIFIER = 256
_VIRTUAL = {"c": "kx", "d": "te"}  # RFC 4314 §2.1.1
_KNOWN = frozenset(ALL) | _VIRTUAL.keys()
_EVERY_FLAG = 0x7FFFFFFF


def ordered(letters: Iterable[str]) -> str:
    """Give distinct letters in the order they are kept; virtual rights are expanded. Letters must be known."""
    held = {member for letter in letters for member in _VIRTUAL.get(letter, letter)}
    return "".join(letter for letter in ALL if letter in held)


def unknown(letters: Iterable[str]) -> str:
    """Give the letters that are no rights of ours, empty when all are known (RFC 4314 §3.1: they make a BAD)."""
    return "".join(letter for letter in letters if letter not in _KNOWN)


def told(rights: str) -> str:
    """Give rights as ACL and MYRIGHTS tell them: `c` and `d` beside any of their members (RFC 4314 §2.1.1)."""
    held = frozenset(rights)
    return rights + "".join(letter for letter, members in _VIRTUAL.items() if held & frozenset(members))


def changed(held: str, mode: str, given: str) -> str:
    """Give rights after SETACL. mode: `+`, `-` or empty to replace (RFC 4314 §3.1)."""
    if mode == "+":
        return ordered(held + given)
    if mode == "-":
        return ordered(frozenset(held) - frozenset(given))
    return given


def identifiers(login: str) -> tuple[str, ...]:
    """Give the identifiers that speak of a login: itself, `anyone`, and both behind `-` (RFC 4314 §2)."""
    return login, ANYONE, "-" + login, "-" + ANYONE


def effective(granted: Iterable[tuple[str, str]], lasting: str = "") -> str:
    """Give what a login may do. granted: (identifier, rights) rows that speak of it; lasting: rights that no row takes away."""
    given: set[str] = set()
    taken: set[str] = set()
    for identifier, rights in granted:
        (taken if identifier.startswith("-") else given).update(rights)
    return ordered((given - taken) | set(lasting))


def flag_mask(rights: Iterable[str]) -> int:
    """Give the bits of flags that these rights let change (RFC 4314 §4, STORE): `s` \\Seen, `t` \\Deleted, `w` all others."""
    held = frozenset(rights)
    mask = _EVERY_FLAG & ~(Flags.SEEN | Flags.DELETED) if "w" in held else 0
    mask |= Flags.SEEN if "s" in held else 0
    return int(mask | (Flags.DELETED if "t" in held else 0))
