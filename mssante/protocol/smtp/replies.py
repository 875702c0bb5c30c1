"""Replies of a remote SMTP server, read from octets (RFC 5321 §4.2, RFC 3463, RFC 2034).

Guarantees: bounded memory (2,048 octets a line, 100 lines and 64 KiB a reply), one code per reply, lines ended by CRLF
only; texts come out as printable characters, fit for a journal.
Never: reads a socket, decides what a reply means for a message.
Called by `protocol/smtp/client.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mssante.errors import PeerFault

MAX_LINE = 2_048  # RFC 5321 §4.5.3.1.5 says 512; more is tolerated, not without end
MAX_LINES = 100
MAX_TOTAL = 65_536

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ \-])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?: |\Z)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u200d\u2010-\u2027\u2030-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")


class SmtpFault(PeerFault):
    """The SMTP session cannot go on. Temporary: the message is tried again later, on another session.

    reply: what the remote server said, when that is the cause.
    """

    kind = "smtp_session"
    temporary = True

    def __init__(
        self, public: str, *, rule: str, detail: str = "", remedy: str = "", reply: Reply | None = None,
    ) -> None:
        super().__init__(public, detail=detail, rule=rule, remedy=remedy)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Reply:
    """code: 200 to 599; enhanced: `5.1.1` or empty; lines: texts without code nor enhanced code, printable."""

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """True for 2xx."""
        return self.code < 300

    @property
    def transient(self) -> bool:
        """True for 4xx."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """True for 5xx."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """The whole reply in one line: code, enhanced code, texts; the form kept as evidence (RFC 3464 §2.3.6)."""
        head = f"{self.code} {self.enhanced} " if self.enhanced else f"{self.code} "
        return (head + " / ".join(line for line in self.lines if line)).strip()


def _printable(raw: bytes) -> str:
    return _UNPRINTABLE.sub("?", raw.decode("utf-8", "replace"))


def build_reply(code: int, texts: list[bytes]) -> Reply:
    """Give the reply made of `texts` (after code and separator); the enhanced code is taken off each line it leads."""
    lines = [_printable(text) for text in texts]
    enhanced = ""
    found = _ENHANCED.match(lines[0])
    if found and int(found.group(1)) == code // 100:  # RFC 2034 §4: the classes must agree
        enhanced = ".".join(found.groups())
        lines = [line[len(enhanced):].lstrip(" ") if line.startswith(enhanced) else line for line in lines]
    return Reply(code, enhanced, tuple(lines))


class ReplyParser:
    """Cuts octets into replies. `feed` octets of any length, `next_reply` until None; `pending`: octets are left."""

    __slots__ = ("_buffer", "_code", "_texts", "_total")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        self._texts: list[bytes] = []
        self._total = 0

    @property
    def pending(self) -> bool:
        """True when octets, or lines of an unfinished reply, wait."""
        return bool(self._buffer or self._texts)

    def feed(self, data: bytes) -> None:
        """Keep octets as they came. Raises SmtpFault (`SMTP-REPLY-LINE`) when more waits than replies could hold."""
        self._buffer += data
        if len(self._buffer) > 4 * MAX_TOTAL:
            raise SmtpFault("reply data without end", rule="SMTP-REPLY-LINE")

    def next_reply(self) -> Reply | None:
        """Give the next whole reply, or None when octets lack.

        Raises SmtpFault: `SMTP-REPLY-LINE` (line, number of lines or total too long), `SMTP-REPLY-SYNTAX` (no code,
        codes that differ, bare CR or LF, NUL).
        """
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > MAX_LINE:
                    raise SmtpFault("reply line too long", rule="SMTP-REPLY-LINE")
                return None
            line = bytes(self._buffer[:end + 1])
            del self._buffer[:end + 1]
            reply = self._take_line(line)
            if reply:
                return reply

    def _take_line(self, line: bytes) -> Reply | None:
        """Add one line; give the reply when it was its last."""
        if len(line) > MAX_LINE:
            raise SmtpFault("reply line too long", rule="SMTP-REPLY-LINE")
        text = line[:-2]
        match = _LINE.match(text)
        if not line.endswith(b"\r\n") or b"\r" in text or b"\x00" in text or not match:
            raise SmtpFault("reply is not an SMTP reply", rule="SMTP-REPLY-SYNTAX", detail=_printable(line[:80]))
        code = int(match.group(1))
        if self._texts and code != self._code:
            raise SmtpFault("reply changes its code", rule="SMTP-REPLY-SYNTAX", detail=f"{self._code} then {code}")
        self._code = code
        self._texts.append(match.group(3) or b"")
        self._total += len(line)
        if len(self._texts) > MAX_LINES or self._total > MAX_TOTAL:
            raise SmtpFault("reply has too many lines", rule="SMTP-REPLY-LINE")
        if match.group(2) == b"-":
            return None
        reply = build_reply(code, self._texts)
        self._texts, self._total = [], 0
        return reply
