"""Line ends of files on disk turned into those of mail (CRLF), piece by piece.

- A line feed alone becomes CRLF, CRLF stays, a carriage return alone stays: reading the same file gives the same octets
  whatever the size of the pieces.
- Memory: nothing is kept but one octet between two pieces.
- Called by the file sources of services/importing_files.py and by mime.mbox.
"""

from __future__ import annotations


class LineEnds:
    """One file being read."""

    __slots__ = ("_carriage",)

    def __init__(self) -> None:
        self._carriage = False

    def feed(self, data: bytes) -> bytes:
        """Give the octets of a piece with CRLF line ends (RFC 5322 §2.1)."""
        if self._carriage:
            data = b"\r" + data
        self._carriage = data.endswith(b"\r")
        if self._carriage:
            data = data[:-1]
        if data.count(b"\n") == data.count(b"\r\n"):
            return data
        return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def close(self) -> bytes:
        """Give what is left at the end."""
        left, self._carriage = (b"\r" if self._carriage else b""), False
        return left
