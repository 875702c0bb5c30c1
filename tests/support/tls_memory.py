"""Two ends of one TLS session in memory: nothing listens, nothing waits, every flight is moved by hand."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


def client(*, version: ssl.TLSVersion | None = None, ciphers: str = "") -> ssl.SSLContext:
    """Give a client that believes everybody. version: that one only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context


@dataclass(slots=True)
class Ends:
    """Both ends after their handshake. `to_client`, `to_server`: what was written and not read yet."""

    server: ssl.SSLObject
    client: ssl.SSLObject
    to_client: ssl.MemoryBIO
    to_server: ssl.MemoryBIO

    def say(self, text: bytes) -> bytes:
        """Let the server say something; give what the client reads."""
        self.server.write(text)
        return self.client.read(65536)

    @property
    def shown(self) -> bytes:
        """The certificate (DER) that the client was shown."""
        return self.client.getpeercert(True) or b""


def shake(server: ssl.SSLContext, mine: ssl.SSLContext, *, name: str | None = None, session: ssl.SSLSession | None = None) -> Ends:
    """Shake hands. Raises what either end raises."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = mine.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    done = [False, False]
    while not all(done):
        for rank, end in enumerate((theirs, ours)):
            try:
                end.do_handshake()
                done[rank] = True
            except ssl.SSLWantReadError:
                pass
    return Ends(ours, theirs, to_client, to_server)
