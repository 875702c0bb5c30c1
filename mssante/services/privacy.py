"""How citizen addresses are written outside sealed storage: their local part is an INS matricule (spec §9, F10.4).

`public_address` replaces it by a keyed hash, the same for the same person within this operator, useless elsewhere;
`public_text` does so in what a remote server answers, which often quotes the address or its local part alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

KEY_OCTETS = 32


class Pseudonyms:
    """Keyed hashing of citizen local parts."""

    def __init__(self, key: bytes, citizen_domain: str) -> None:
        """key: 32 secret octets of this operator; citizen_domain: lower-case."""
        self._key = key
        self._domain = citizen_domain

    def public_address(self, address: str) -> str:
        """Give the address as the journal, the logs and the metrics may hold it."""
        local, _, domain = address.rpartition("@")
        if domain.lower() != self._domain:
            return address
        digest = hmac.new(self._key, local.lower().encode(), hashlib.sha256).hexdigest()
        return f"ins-{digest[:16]}@{domain}"

    def public_text(self, text: str, address: str) -> str:
        """Give a text of someone else, who may quote `address`, as the journal may hold it."""
        public = self.public_address(address)
        if public == address:
            return text
        local, hidden = address.rpartition("@")[0], public.rpartition("@")[0]
        return re.sub(re.escape(local), hidden, text, flags=re.IGNORECASE)


class Veil:
    """Hides citizen addresses in any text that is about to be kept: the last guard of the journal, whoever writes the event.

    The key is read when the first such address comes. What is hidden already stays as it is.
    """

    def __init__(self, key_file: Path, citizen_domain: str) -> None:
        """key_file: of this operator; citizen_domain: lower-case."""
        self._file = key_file
        self._domain = citizen_domain
        self._mark = f"@{citizen_domain}"
        self._address = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{re.escape(citizen_domain)}", re.IGNORECASE)
        self._pseudonyms: Pseudonyms | None = None

    def __call__(self, text: str) -> str:
        """Give a text without citizen addresses. Raises OSError when the key cannot be read."""
        if self._mark not in text and self._mark not in text.lower():
            return text
        if self._pseudonyms is None:
            self._pseudonyms = Pseudonyms(load_key(self._file), self._domain)
        return self._address.sub(self._hidden, text)

    def _hidden(self, found: re.Match[str]) -> str:
        address = found.group()
        if self._pseudonyms is None or re.match(r"ins-[0-9a-f]{16}@", address):
            return address
        return self._pseudonyms.public_address(address)


def load_key(path: Path) -> bytes:
    """Read the secret key, made on first use with mode 0600. Raises OSError."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        secret = secrets.token_bytes(KEY_OCTETS)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secret)
    return path.read_bytes()
