"""A SCRAM-SHA-256 client of tests, written from RFC 5802 by itself: nothing of the server's code is used."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

RFC_USER, RFC_PASSWORD = "user", "pencil"  # RFC 7677 §3
RFC_CLIENT_NONCE, RFC_SERVER_NONCE = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
RFC_SALT, RFC_ITERATIONS = b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096


class ScramClient:
    """One exchange. gs2: header with its flag, as `n,,`; binding: channel binding data behind it."""

    def __init__(self, user: str, password: str, *, nonce: str = RFC_CLIENT_NONCE, gs2: str = "n,,", binding: bytes = b"") -> None:
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self.gs2 = gs2
        self.password = password
        self.binding = b64encode(gs2.encode() + binding).decode()
        self.signature = b""

    def first(self) -> bytes:
        """Give client-first-message."""
        return (self.gs2 + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        """Give client-final-message."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
        stored = hashlib.sha256(client_key).digest()
        without = f"c={self.binding},r={fields['r']}"
        said = ",".join((self.bare, server_first.decode(), without)).encode()
        proof = bytes(a ^ b for a, b in zip(client_key, hmac.new(stored, said, hashlib.sha256).digest(), strict=True))
        server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
        self.signature = hmac.new(server_key, said, hashlib.sha256).digest()
        return f"{without},p={b64encode(proof).decode()}".encode()

    def trusts(self, server_final: bytes) -> bool:
        """Tell if the server proved that it knows the password too."""
        return server_final == b"v=" + b64encode(self.signature)
