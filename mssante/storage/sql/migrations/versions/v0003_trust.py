"""Third shape: certificates for S/MIME, S/MIME policy of mailboxes, certificates that peers presented, holds of the queue.

Frozen: later shapes are later revisions.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add tables (one transaction, opened by the caller)."""
    op.create_table(
        "smime_certificate",
        Column("address", Text, primary_key=True),
        Column("fingerprint", Text, primary_key=True),
        Column("source", Text, nullable=False),
        Column("der", LargeBinary, nullable=False),
        Column("not_after", BigInteger, nullable=False),
        Column("first_seen", BigInteger, nullable=False),
        Column("last_seen", BigInteger, nullable=False),
        Column("refused", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "smime_policy",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("outgoing", Text, nullable=False),
        Column("incoming", Text, nullable=False),
        Column("key_reference", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "peer_certificate",
        Column("domain", Text, primary_key=True),
        Column("fingerprint", Text, primary_key=True),
        Column("direction", Text, primary_key=True),
        Column("der", LargeBinary, nullable=False),
        Column("not_after", BigInteger, nullable=False),
        Column("first_seen", BigInteger, nullable=False),
        Column("last_seen", BigInteger, nullable=False),
        Column("uses", BigInteger, nullable=False),
        Column("refused", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "queue_hold",
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
        Column("cause", Text, nullable=False),
        Column("domain", Text, nullable=False),
        Column("since", BigInteger, nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("automatic", SmallInteger, nullable=False),
        Column("note", Text, nullable=False),
        Index("queue_hold_by_cause", "cause", "domain", unique=True),
    )
