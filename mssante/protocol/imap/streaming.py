"""Which literals are octets of a message, to be streamed, and which are short arguments, to be held.

- Told from the text before the literal alone, without the grammar: exact for every well-formed command. For one that is
  malformed it does not matter: the grammar refuses it before the literal is accepted.
- APPEND and REPLACE hold two kinds of short literals: the folder, and the URLs of CATENATE (RFC 4469 §5).
Called by `receiver.py` only.
"""

from __future__ import annotations

import re

STREAMED = frozenset({"APPEND", "REPLACE", "UID REPLACE"})

_URL = re.compile(rb"[ (]URL \Z", re.IGNORECASE)
_BEFORE_FOLDER = {"APPEND": re.compile(rb" *\Z"), "REPLACE": re.compile(rb" *[^ ]* *\Z"),
                  "UID REPLACE": re.compile(rb" *[^ ]* *\Z")}
_FOLDER_NAMED_URL = {"APPEND": re.compile(rb" URL \Z", re.IGNORECASE),
                     "REPLACE": re.compile(rb" [^ ]+ URL \Z", re.IGNORECASE),
                     "UID REPLACE": re.compile(rb" [^ ]+ URL \Z", re.IGNORECASE)}


def is_message(name: str, text: bytes, *, first: bool) -> bool:
    """Tell if the literal behind `text` is message data of the command `name`.

    text: what stands between the name, or the message literal before, and this literal; first: it is the first of them.
    """
    if name not in STREAMED:
        return False
    if not first:
        return _URL.search(text) is None
    if _BEFORE_FOLDER[name].match(text):
        return False
    return _URL.search(text) is None or _FOLDER_NAMED_URL[name].match(text) is not None
