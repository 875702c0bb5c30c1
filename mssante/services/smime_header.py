"""The field `X-MSS-SMIME`: what this operator found in a message, in one line that programs read and nobody else can write.

    X-MSS-SMIME: v=1; signature=SMIME-VALIDE; encryption=SMIME-ABSENT; signer=nom@domaine; h=<sha256>; t=<instant>;
     id=<trace>; k=<key id>; s=<seal>

- It stands last of what we put before a message: what follows it, to the end, is the body that it speaks of; `h` is its SHA-256.
  A program takes the first field of that name; one written by somebody else stands further down, in the body.
- `s` is HMAC-SHA-256 over all that stands before it, under a key that only this operator has; `k` names the key. Carried over to
  another message it no longer agrees with `h`. `mssante smime check FILE` verifies both and the message anew.
- Values are percent-encoded but for letters, digits and `-._@+:/`, so that nothing read in a certificate can end a parameter or a
  line. `-` means that it was not looked at. `signer` stands only beside a signature that is valid.
- A view of an encrypted message says where its original is: `original` (SHA-256), `folder`.
Pure. Called by `opening` (writing) and `cli/smime` (reading).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from mssante.protocol.mime.headers import find_header_end

NAME = "X-MSS-SMIME"
VERSION = "1"
MAX_FIELD = 4096
MAX_FIELDS = 50  # of that name, in one message
_SAFE = "-._@+:/"
_FIELD = re.compile(rb"^x-mss-smime[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)\r?\n", re.IGNORECASE | re.MULTILINE)
_WIDTH = 76
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def derive_key(secret: bytes) -> bytes:
    """Give the key of the field from the operator's own secret, of which it tells nothing."""
    return hmac.digest(secret, b"mssante X-MSS-SMIME v1", "sha256")


def key_id(key: bytes) -> str:
    """Give the public name of a key."""
    return hashlib.sha256(b"mssante X-MSS-SMIME key id" + key).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class SmimeResult:
    """What the field says. signature, encryption: codes, or `-` when the mailbox does not want them looked at."""

    signature: str
    encryption: str
    body_sha256: str
    at: datetime
    trace_id: str
    signer: str = ""
    original: str = ""
    folder: str = ""


def result_line(result: SmimeResult, key: bytes) -> bytes:
    """Give the whole field, folded, CRLF-ended, ASCII."""
    pairs = [("v", VERSION), ("signature", result.signature), ("encryption", result.encryption), ("signer", result.signer),
             ("h", result.body_sha256), ("t", result.at.astimezone(UTC).strftime(_INSTANT)), ("id", result.trace_id),
             ("original", result.original), ("folder", result.folder), ("k", key_id(key))]
    words = [f"{name}={quote(value, safe=_SAFE)}" for name, value in pairs if value]
    words.append("s=" + _seal(words, key))
    lines, line = [], f"{NAME}:"
    for word in (f"{one};" if one is not words[-1] else one for one in words):
        if len(line) + 1 + len(word) > _WIDTH and line.strip():
            lines.append(line)
            line = ""
        line += " " + word
    return "\r\n".join([*lines, line, ""]).encode("ascii")


def _seal(words: list[str], key: bytes) -> str:
    return base64.b64encode(hmac.digest(key, "; ".join(words).encode("utf-8", "replace"), "sha256")).decode("ascii")


@dataclass(frozen=True, slots=True)
class FoundResult:
    """A field found in a message. result: None when it is not of our form; sealed: our key made it; intact: the body that follows
    it is the one that it speaks of; body: where that body begins in the message."""

    result: SmimeResult | None
    key_id: str
    sealed: bool
    intact: bool
    body: int

    @property
    def genuine(self) -> bool:
        """True when we wrote it, about this very message."""
        return self.result is not None and self.sealed and self.intact


def has_field(head: bytes) -> bool:
    """Tell whether a header block holds a field of this name, ours or not; head: octets of the header."""
    return b"x-mss-smime" in head.lower()


def find_results(raw: bytes, key: bytes) -> Iterator[FoundResult]:
    """Give the fields of this name in the header of a message, first one first, at most MAX_FIELDS. raw: CRLF line ends."""
    head = raw[:find_header_end(raw)]
    for rank, found in enumerate(_FIELD.finditer(head)):
        if rank >= MAX_FIELDS:
            return
        text = re.sub(r"\r?\n[ \t]+", " ", found.group(1).decode("ascii", "replace")).strip()
        yield _read(text, raw, found.end(), key)


def _read(text: str, raw: bytes, body: int, key: bytes) -> FoundResult:
    words = [word.strip() for word in text.split(";")] if len(text) <= MAX_FIELD else []
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    values = {name: unquote(value) for name, value in pairs.items()}
    try:
        given = base64.b64decode(pairs.get("s", ""), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    expected = base64.b64decode(_seal(words[:-1], key)) if words and words[-1].startswith("s=") else b"-"
    sealed = hmac.compare_digest(given, expected)
    intact = hashlib.sha256(memoryview(raw)[body:]).hexdigest() == values.get("h", "")
    return FoundResult(_result(values, len(pairs) == len(words)), values.get("k", "")[:16], sealed, intact, body)


def _result(values: dict[str, str], clean: bool) -> SmimeResult | None:
    if not clean or values.get("v") != VERSION:
        return None
    try:
        at = datetime.strptime(values["t"], _INSTANT).replace(tzinfo=UTC)
        return SmimeResult(values["signature"], values["encryption"], values["h"], at, values.get("id", ""),
                           values.get("signer", ""), values.get("original", ""), values.get("folder", ""))
    except (KeyError, ValueError):
        return None
