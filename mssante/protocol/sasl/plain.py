"""PLAIN (RFC 4616): one message, `[authzid] NUL authcid NUL passwd`, in UTF-8. Only ever offered inside TLS."""

from __future__ import annotations

from mssante.protocol.sasl.base import MAX_NAME, MAX_PASSWORD, Answer, Challenge, Credentials, Failure, read_text


class PlainExchange:
    """Server side of PLAIN."""

    __slots__ = ()

    def start(self, initial: bytes | None) -> Answer:
        """Take the message when the client sent it at once, else ask for it with an empty challenge."""
        return Challenge() if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Answer:
        """Read the message (RFC 4616 §2). An authzid equal to the authcid counts as none."""
        parts = data.split(b"\x00")
        if len(parts) != 3:
            return Failure("PLAIN: the message has three parts with NUL between them")
        authzid, authcid, password = (
            read_text(part, limit) for part, limit in zip(parts, (MAX_NAME, MAX_NAME, MAX_PASSWORD), strict=True))
        if not authcid or not password or authzid is None:
            return Failure("PLAIN: name or password empty, too long or not UTF-8")
        return Credentials("" if authzid == authcid else authzid, authcid, password)
