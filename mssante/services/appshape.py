"""What an app password looks like, and which login it is for: pure text, used before anything is read.

- 24 characters of `ALPHABET` (no i, l, o, 0, 1), in six groups of four; the first eight are the handle.
- `address/handle` names one of them where the password itself is not sent (SCRAM).
Called by `services.accounts` and `services.apppasswords`.
"""

from __future__ import annotations

import re

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
LENGTH = 24
GROUP = 4
HANDLE = 8
MAX_TYPED = 64  # characters of a password that may still be one with spaces

_NAMED = re.compile(rf"(.+@[^/]+)/([{ALPHABET}]{{{HANDLE}}})\Z")


def split_login(login: str) -> tuple[str, str]:
    """Give (login, handle) of `address/handle`, (login, "") of anything else. A `/` before the `@` belongs to the address."""
    found = _NAMED.match(login)
    return (found[1], found[2]) if found else (login, "")


def canonical(password: str) -> tuple[str, str]:
    """Give (handle, text as it was shown) of a typed app password; ("", "") when it has not the shape of one."""
    if len(password) > MAX_TYPED:
        return "", ""
    text = re.sub(r"[\s-]", "", password).lower()
    if len(text) != LENGTH or not set(text) <= set(ALPHABET):
        return "", ""
    return text[:HANDLE], "-".join(text[at:at + GROUP] for at in range(0, LENGTH, GROUP))
