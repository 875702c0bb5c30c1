"""Ids of folders and messages that stay the same whatever their names and places (RFC 8474 §5).

`F` and the row id of a folder, `M` and that of a message: ids of the store are never used twice. The content of a message never
changes, and a copy names the same content: same EMAILID. There is no THREADID here (§5.3: then it is NIL).
"""

from __future__ import annotations

from collections.abc import Iterable


def mailbox_id(folder_id: int) -> bytes:
    """Give the MAILBOXID of a folder, in parentheses as everywhere (§4, §5.1)."""
    return b"(F%d)" % folder_id


def code_mailbox_id(folder_id: int) -> bytes:
    """Give the response code of SELECT and CREATE (§4.1, §4.2)."""
    return b"MAILBOXID " + mailbox_id(folder_id)


def email_ids(message_ids: Iterable[int]) -> list[bytes]:
    """Give `M` and the number of each message (§5.2)."""
    return [b"M%d" % message_id for message_id in message_ids]
