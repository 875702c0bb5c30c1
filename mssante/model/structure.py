"""What the IMAP body structure of a message tells without reading the message: whether services have something to look for in it.

One owner for the marks that storage and services search for, so that what is called plain is passed over by all of them.
"""

from __future__ import annotations

DOCUMENT_MARKS = (b".zip", b'"zip"', b"zip-compressed", b'"xml"', b".xml")  # names and subtypes, in lower case
REPORT_MARK = b'"report"'  # multipart/report
# One of them stands in the structure of whatever holds S/MIME (smime.layer).
SMIME_SIGNS = (b"pkcs7", b'"signed"', b"octet-stream", b'"global"')
_SIGNS = (*DOCUMENT_MARKS, REPORT_MARK, *SMIME_SIGNS)


def may_hold_document(structure: bytes) -> bool:
    """Tell whether a body structure names a file that may be a document."""
    low = structure.lower()
    return any(mark in low for mark in DOCUMENT_MARKS)


def is_plain(structure: bytes) -> bool:
    """Tell whether no service looks into a message with this structure: no document, no report, nothing signed or enciphered."""
    low = structure.lower()
    return not any(sign in low for sign in _SIGNS)
