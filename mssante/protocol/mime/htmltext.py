"""The text of an HTML page as its reader sees it: no markup, no style, no script, nothing fetched.

- A tag that breaks a line (a cell, a paragraph) is a blank; one inside a word (`<b>`, `<span>`) is nothing.
- Linear in the size of the page whatever it holds: each expression ends at the end of the page at the latest.
- Pure, never raises. Called by `documents/messagetext.py` and `documents/filetext.py`.
"""

from __future__ import annotations

import html
import re

_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|title|template)\b.*?(?:</\1\b[^>]*(?:>|\Z)|\Z)", re.IGNORECASE | re.DOTALL)
_INLINE = re.compile(
    r"</?(?:a|abbr|b|big|cite|code|em|font|i|ins|mark|o:p|q|s|small|span|strong|sub|sup|tt|u|wbr)\b[^>]*(?:>|\Z)", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?][^>]*(?:>|\Z)")


def html_text(page: str) -> str:
    """Give the text of a page; blanks as they come."""
    return html.unescape(_TAG.sub(" ", _INLINE.sub("", _UNSEEN.sub(" ", page)))).replace("\u00ad", "")
