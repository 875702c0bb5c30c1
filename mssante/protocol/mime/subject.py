"""Base subject of a message: what is left of a Subject without `Re:`, `Fwd:`, list names and `(fwd)` (RFC 5256 §2.1).

- Text in, text out: RFC 2047 words are decoded before (step 1); white space here is the space and the tab.
- Linear in the length of the subject whatever it holds: each step looks once at what it removes.
- The same subject gives the same base, and a base has itself as base.

Called by `services/imap/headcolumns.py` for SORT and THREAD.
"""

from __future__ import annotations

import re

_WHITE = re.compile(r"[ \t\r\n]+")
_TRAILER = re.compile(r"(?:\(fwd\)|[ ])\Z", re.IGNORECASE)
_BLOB = re.compile(r"\[[^\[\]]*\] *")
_REFWD = re.compile(r"(?:re|fwd?) *(?:\[[^\[\]]*\] *)?:", re.IGNORECASE)
_PLAIN = re.compile(r"(?!re|fw|\[| )[^\t\r\n]*(?<![)\] ])\Z", re.IGNORECASE)  # no step can touch it


def base_subject(subject: str) -> tuple[str, bool]:
    """Give (base subject, the message is a reply or a forward: RFC 5256 §4) of a decoded subject."""
    if "  " not in subject and _PLAIN.match(subject):
        return subject, False
    text = _WHITE.sub(" ", subject)  # step 1
    answers = False
    while True:
        text, trailed = _without_trailers(text)
        text, led = _without_leaders(text)
        answers = answers or trailed or led
        if text[:5].lower() != "[fwd:" or not text.endswith("]"):
            return text, answers  # step 7
        text, answers = text[5:-1], True  # step 6


def _without_trailers(text: str) -> tuple[str, bool]:
    """Step 2: remove spaces and `(fwd)` at the end. Gives also whether a `(fwd)` went."""
    end, answers = len(text), False
    while end:
        if text[end - 1] == " ":
            end -= 1
        elif text[max(end - 5, 0):end].lower() == "(fwd)":
            end, answers = end - 5, True
        else:
            break
    return text[:end], answers


def _without_leaders(text: str) -> tuple[str, bool]:
    """Steps 3 to 5: remove spaces, `Re:` behind any list names, and list names that leave something."""
    at, answers = 0, False
    while True:
        while text.startswith(" ", at):
            at += 1
        blobs = [at]  # where each of the list names here begins, then what follows them
        while (found := _BLOB.match(text, blobs[-1])) is not None:
            blobs.append(found.end())
        refwd = _REFWD.match(text, blobs[-1])
        if refwd is not None:
            at, answers = refwd.end(), True
            continue
        # Step 4: a list name goes when something stays behind it; the last one is the base when nothing does.
        left = blobs[-1] if blobs[-1] < len(text) or len(blobs) == 1 else blobs[-2]
        return text[left:], answers
