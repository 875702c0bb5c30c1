"""Settings of the IMAP service and of its endpoint, as one value built by `app.py` from the configuration.

Units stand in the names. Defaults are for one process on a small machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImapSettings:
    """What one IMAP server allows.

    cache_bytes: encoded answers kept for open folders, all together; grace_seconds: life of a view after its last session;
    message_bytes: largest APPEND; inline_bytes: bodies above go to the blob store; chunk_*: content read at once by FETCH
    and SEARCH; login_delay_seconds: before each refusal of a password, beside what the authenticator waits; stall_seconds: how
    long a client may leave our answers unread; drain_seconds: time given to commands at stop.
    """

    hostname: str = "localhost"
    cache_bytes: int = 64 * 1024 * 1024
    grace_seconds: float = 30.0
    message_bytes: int = 30 * 1024 * 1024
    inline_bytes: int = 128 * 1024
    chunk_messages: int = 500
    chunk_bytes: int = 2 * 1024 * 1024
    blob_read_bytes: int = 256 * 1024
    keywords_per_message: int = 64
    folders_per_mailbox: int = 1000
    connections: int = 2000
    connections_per_address: int = 200
    login_seconds: float = 60.0
    idle_seconds: float = 1800.0
    login_failures: int = 3
    login_delay_seconds: float = 0.0
    stall_seconds: float = 120.0
    handshake_seconds: float = 10.0
    drain_seconds: float = 10.0
