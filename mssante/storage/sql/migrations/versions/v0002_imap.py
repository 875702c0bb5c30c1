"""Second shape: rights and annotations of folders, private `\\Seen`, `\\Recent`, subscriptions by name, dates of saving, SCRAM
verifiers, message quotas.

Frozen: later shapes are later revisions.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, SmallInteger, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns and tables (one transaction, opened by the caller)."""
    op.add_column("mailbox", Column("quota_messages", BigInteger, nullable=False, server_default="0"))
    op.add_column("account", Column("scram", Text, nullable=False, server_default=""))
    op.add_column("folder", Column("seen_private", SmallInteger, nullable=False, server_default="0"))
    op.add_column("folder", Column("recent_uid", BigInteger, nullable=False, server_default="1"))
    op.execute("UPDATE folder SET recent_uid = uidnext")  # what was there before is old
    op.add_column("folder_message", Column("saved_at", BigInteger, nullable=False, server_default="0"))
    # Rows from before have no date of saving of their own: the date of arrival is the nearest that is known.
    op.execute("UPDATE folder_message SET saved_at = internal_date")
    _create_sharing()
    _create_annotations()


def _create_sharing() -> None:
    op.create_table(
        "folder_right",
        Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
        Column("identifier", Text, primary_key=True),
        Column("rights", Text, nullable=False),
        Index("folder_right_by_identifier", "identifier"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "private_seen",
        Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
        Column("uid", BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shared_subscription",
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
        Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lost_subscription",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("name", Text, primary_key=True),
        sqlite_with_rowid=False,
    )


def _create_annotations() -> None:
    op.create_table(
        "annotation",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("folder_id", BigInteger, primary_key=True, autoincrement=False),
        Column("account_id", BigInteger, primary_key=True, autoincrement=False),
        Column("entry", Text, primary_key=True),
        Column("value", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
