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
    message_limit: most messages that one command treats, announced (RFC 9738), 0 for none; progress_seconds: how often a command
    that takes its time says so (RFC 9585).
    commands_*: a second and at once, on one connection (`before` login; `account`: on all of one account); beyond, commands wait,
    and after commands_patience_seconds of waiting without a pause the connection ends.
    append_messages: most messages of one APPEND; refuse_raw_headers: of clients that did not enable UTF-8 (RFC 9755 §3);
    literal_minus: LITERAL- is announced and not LITERAL+ (RFC 7888 §5); notify_folders: most folders that NOTIFY watches for
    one session; notify_gather_seconds: events of folders that are not open wait so long for others.
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
    append_messages: int = 1000
    refuse_raw_headers: bool = True
    literal_minus: bool = False
    notify_folders: int = 1000
    notify_gather_seconds: float = 0.05
    message_limit: int = 100_000
    progress_seconds: float = 5.0
    folders_per_mailbox: int = 1000
    connections: int = 2000
    connections_per_address: int = 200
    connections_per_account: int = 100
    commands_rate: float = 2_000.0
    commands_burst: float = 20_000.0
    commands_before_rate: float = 10.0
    commands_before_burst: float = 100.0
    account_commands_rate: float = 5_000.0
    account_commands_burst: float = 50_000.0
    commands_patience_seconds: float = 30.0
    login_seconds: float = 60.0
    idle_seconds: float = 1800.0
    login_failures: int = 3
    login_delay_seconds: float = 0.0
    stall_seconds: float = 120.0
    handshake_seconds: float = 10.0
    drain_seconds: float = 10.0
    metadata_value_bytes: int = 16_384  # of one annotation (RFC 5464 §4.1: at least 1024)
    metadata_entries: int = 1_000  # annotations of a mailbox and its folders that one account sees
    other_users_prefix: str = "Partages"  # first level of the names of folders of others (RFC 2342)

    @property
    def figures(self) -> tuple[tuple[str, int], ...]:
        """Give what capabilities announce with a figure (RFC 9738 §3, RFC 7889 §2)."""
        return (("MESSAGELIMIT", self.message_limit), ("APPENDLIMIT", self.message_bytes))
