"""The text of a PDF, for search: read by pypdf, within limits of octets, pages, characters and time.

- Never raises: a PDF that is broken, encrypted or hostile gives what was read of it, maybe nothing.
- `spent` is asked between pages and every `_LOOK` operators inside a page: when it says so, reading ends.
- What a compressed stream may give is capped (ISO 32000-1 §7.4), so that a page is bounded as well.
- Nothing that pypdf remarks is logged: it may quote the document.
Called by `filetext.py`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

MAX_BYTES = 20 * 1024 * 1024
MAX_PAGES = 300
MAX_STREAM = 4 * 1024 * 1024
_LOOK = 256
_LIMITS: dict[str, Any] = {
    "zlib_maximum_output_length": MAX_STREAM, "lzw_maximum_output_length": MAX_STREAM,
    "run_length_maximum_output_length": MAX_STREAM, "brotli_maximum_output_length": MAX_STREAM,
    "array_based_stream_maximum_output_length": MAX_STREAM, "maximum_declared_stream_length": MAX_BYTES,
    "stream_decoding_work_maximum_length": 4 * MAX_STREAM, "stream_parsing_work_maximum_count": 500_000,
    "xform_maximum_invocations_per_extraction": 500, "page_tree_maximum_entries": 20_000, "jbig2dec_binary": None,
    "disable_legacy_handling": True}


class _Enough(BaseException):
    """Time is spent (not an Exception: pypdf passes over those)."""


def pdf_text(raw: bytes, limit: int, *, spent: Callable[[], bool]) -> str:
    """Give at most `limit` characters of text, page after page."""
    if len(raw) > MAX_BYTES or b"%PDF-" not in raw[:1024]:  # ISO 32000-1 annex H, note 13
        return ""
    pages: list[str] = []
    try:
        _read(raw, limit, spent, pages)
    except (_Enough, Exception):  # noqa: S110  a broken PDF: what was read is what there is
        pass
    return "\n".join(pages)[:limit]


def _read(raw: bytes, limit: int, spent: Callable[[], bool], pages: list[str]) -> None:
    """Add the text of each page. pypdf is imported when the first PDF comes."""
    from pypdf import PdfReader, apply_configuration

    logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)
    with apply_configuration(**_LIMITS):
        reader = PdfReader(io.BytesIO(raw), strict=False)
        if reader.is_encrypted:
            reader.decrypt("")  # an owner password only: readable by everyone (ISO 32000-1 §7.6.3)
        look = _look_at(spent)
        room = limit
        for page in reader.pages[:MAX_PAGES]:
            if room <= 0 or spent():
                return
            text = str(page.extract_text(visitor_operand_before=look))
            pages.append(text)
            room -= len(text)


def _look_at(spent: Callable[[], bool]) -> Callable[..., None]:
    """Give what pypdf calls before each operator."""
    count = 0

    def look(*_: Any) -> None:
        nonlocal count
        count += 1
        if count % _LOOK == 0 and spent():
            raise _Enough

    return look
