"""LOGIN (draft-murchison-sasl-login): name then password, each asked by a challenge. For old clients, inside TLS."""

from __future__ import annotations

from mssante.protocol.sasl.base import MAX_NAME, MAX_PASSWORD, Answer, Challenge, Credentials, Failure, read_text


class LoginExchange:
    """Server side of LOGIN."""

    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name: str | None = None

    def start(self, initial: bytes | None) -> Answer:
        """Ask for the name; an initial response is taken as the name (clients of SMTP do that)."""
        return Challenge(b"Username:") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Answer:
        """Take the name, then the password."""
        if self._name is None:
            self._name = read_text(data, MAX_NAME)
            return Challenge(b"Password:") if self._name else Failure("LOGIN: name empty, too long or not UTF-8")
        password = read_text(data, MAX_PASSWORD)
        if not password:
            return Failure("LOGIN: password empty, too long or not UTF-8")
        return Credentials("", self._name, password)
