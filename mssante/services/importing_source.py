"""Where mail is moved in from, as the import sees it: folders, pages of messages, octets.

- A source gives each message an identity that is the same at every run: that is what makes an import go on where it was.
- What cannot be read is an `ItemFault` for one message, never the end of the others; `Note` is what the report says of it.
- A source changes nothing on its side.
Implemented by services/importing_files.py (Maildir, mbox) and transport/imap_source.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

PAGE = 200  # messages listed at once
PIECE = 1024 * 1024  # octets read at once


@dataclass(frozen=True, slots=True)
class SourceFolder:
    """One folder of a source.

    key: names it for good in its source (with `validity`, which changes when its identities start anew); levels: its name as
    text, from the top; special_use: RFC 6154 attribute when the source says so.
    """

    key: str
    levels: tuple[str, ...]
    special_use: str = ""
    validity: str = ""

    @property
    def shown(self) -> str:
        """The name as a reader sees it."""
        return "/".join(self.levels)


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One message of a source, before its octets.

    label: what the report calls it (a UID, a file name, an offset); identity: names it for good in its folder; size: octets
    as the source says; sha256: of its octets when the source read them already; handle: the source's own.
    """

    label: str
    identity: str
    size: int
    flags: int
    keywords: tuple[str, ...]
    internal_date: datetime | None
    sha256: str = ""
    handle: object = None


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the report. lost: the message was not brought in; folder empty: about the whole source."""

    folder: str
    label: str
    rule: str
    text: str
    lost: bool = False


class ItemFault(Exception):
    """One message cannot be brought in; the text is for the report."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule
        self.text = text


class MailSource(Protocol):
    """What an import reads from."""

    @property
    def identity(self) -> str:
        """Name of the source in identities: the same at every run."""
        ...

    def notes(self) -> list[Note]:
        """Give what was found wrong since the last call."""
        ...

    async def folders(self) -> list[SourceFolder]:
        """Give the folders. Raises MssFault."""
        ...

    def pages(self, folder: SourceFolder) -> AsyncIterator[Sequence[SourceItem]]:
        """Give the messages of a folder, at most PAGE at once, in the order that they keep here. Raises MssFault."""
        ...

    def plan(self, items: Sequence[SourceItem]) -> None:
        """Say which items of the last page will be read next, in this order."""
        ...

    def octets(self, item: SourceItem) -> AsyncIterator[bytes]:
        """Give the octets of a message in pieces, CRLF line ends. Raises ItemFault, MssFault."""
        ...

    async def close(self) -> None:
        """Let everything go; safe to call twice."""
        ...
