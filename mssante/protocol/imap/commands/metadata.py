"""GETMETADATA, SETMETADATA (RFC 5464 §4.2, §4.3, §5), and the entries of LIST RETURN METADATA (RFC 9590 §5).

- Names of entries are printable ASCII without `*` and `%`, begin with `/shared/` or `/private/`, hold no empty component; they
  are read in lower case (§3.2: no case). GETMETADATA also takes `/shared` and `/private` alone, to look below them.
- Options of GETMETADATA stand before the folder (§5) or after it (examples of §4.2): both are read.
"""

from __future__ import annotations

import re

from mssante.protocol.imap.metadatavalues import Depth, GetMetadata, SetMetadata
from mssante.protocol.imap.tokens import Tokens

MAX_ENTRIES = 100
MAX_ENTRY = 256  # octets of a name
_ENTRY = re.compile(rb"/(?:shared|private)(?:/[ -)+-.0-~]+)+\Z", re.IGNORECASE)
_TOP = re.compile(rb"/(?:shared|private)\Z", re.IGNORECASE)
_DEPTHS = {b"0": Depth.ENTRY, b"1": Depth.CHILDREN, b"INFINITY": Depth.ALL}


def parse_getmetadata(tokens: Tokens) -> GetMetadata:
    """Read options, folder and entries. Raises ClientFault."""
    tokens.space()
    options: tuple[Depth, int | None] | None = None
    if tokens.peek() == 0x28:
        options = _options(tokens)
        tokens.space()
    folder = tokens.folder_or_server()
    tokens.space()
    if options is None and tokens.peek() == 0x28 and tokens.text[tokens.at + 1:tokens.at + 2].isalpha():
        options = _options(tokens)
        tokens.space()
    entries = read_entries(tokens, above=True) if tokens.peek() == 0x28 else (_entry(tokens, above=True),)
    tokens.end()
    depth, max_size = options or (Depth.ENTRY, None)
    return GetMetadata(folder, entries, depth, max_size)


def _options(tokens: Tokens) -> tuple[Depth, int | None]:
    """Read `(DEPTH 1 MAXSIZE 1024)`, each at most once, in any order."""
    tokens.expect(b"(", "a list of options")
    depth: Depth | None = None
    max_size: int | None = None
    while (depth is None and max_size is None) or not tokens.skip(b")"):
        if depth is not None or max_size is not None:
            tokens.space()
        name = tokens.word()
        tokens.space()
        if name == "DEPTH" and depth is None:
            depth = _DEPTHS.get(tokens.atom().upper())
            if depth is None:
                tokens.fault("expected 0, 1 or infinity")
        elif name == "MAXSIZE" and max_size is None:
            max_size = tokens.number()
        else:
            tokens.fault("unknown GETMETADATA option")
    return depth or Depth.ENTRY, max_size


def parse_setmetadata(tokens: Tokens) -> SetMetadata:
    """Read a folder and `(entry value …)`. Raises ClientFault."""
    tokens.space()
    folder = tokens.folder_or_server()
    tokens.space()
    tokens.expect(b"(", "a list of entries and values")
    changes: dict[str, bytes | None] = {}
    while not changes or not tokens.skip(b")"):
        if changes:
            tokens.space()
        entry = _entry(tokens)
        if entry in changes:
            tokens.fault("the same entry twice")
        tokens.space()
        changes[entry] = tokens.nstring8()
        if len(changes) > MAX_ENTRIES:
            tokens.fault(f"more than {MAX_ENTRIES} entries")
    tokens.end()
    return SetMetadata(folder, tuple(changes.items()))


def read_entries(tokens: Tokens, *, above: bool = False) -> tuple[str, ...]:
    """Read `(entry …)`, at least one, each kept once. above: `/shared` and `/private` may stand there alone. Raises."""
    tokens.expect(b"(", "a list of entries")
    found: list[str] = []
    while not found or not tokens.skip(b")"):
        if found:
            tokens.space()
        found.append(_entry(tokens, above=above))
        if len(found) > MAX_ENTRIES:
            tokens.fault(f"more than {MAX_ENTRIES} entries")
    return tuple(dict.fromkeys(found))


def _entry(tokens: Tokens, *, above: bool = False) -> str:
    """Read the name of an entry."""
    start = tokens.at
    raw = tokens.astring()
    if len(raw) > MAX_ENTRY or not (_ENTRY.match(raw) or (above and _TOP.match(raw))):
        tokens.at = start
        tokens.fault("not the name of an entry")
    return raw.decode("ascii").lower()
