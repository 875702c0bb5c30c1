"""EXTERNAL (RFC 4422 appendix A): the identity is the one of the TLS client certificate, known before the exchange begins."""

from __future__ import annotations

from mssante.protocol.sasl.base import MAX_NAME, Answer, Challenge, Failure, Proved, read_text


class ExternalExchange:
    """Server side of EXTERNAL."""

    __slots__ = ("_login",)

    def __init__(self, login: str) -> None:
        """login: to whom the configuration maps the certificate of this connection."""
        self._login = login

    def start(self, initial: bytes | None) -> Answer:
        """Take the authorisation identity when it came at once (often empty), else ask for it."""
        return Challenge() if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Answer:
        """An empty identity is the certificate's own; the caller refuses any other."""
        authzid = read_text(data, MAX_NAME)
        if authzid is None:
            return Failure("EXTERNAL: name too long, not UTF-8 or with a control character")
        return Proved("" if authzid.lower() == self._login.lower() else authzid, self._login)
