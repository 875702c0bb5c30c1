"""First shape: accounts, folders, messages, queue, journal, white lists.

Frozen: later shapes are later revisions. `store_head` gets its only row here.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Text, column, insert, table

revision = "0001"
down_revision = None

_IDENTIFIER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create all tables (one transaction, opened by the caller)."""
    _create_versions()
    _create_mailboxes()
    _create_messages()
    _create_queue()
    _create_traces()


def _create_versions() -> None:
    op.create_table(
        "schema_version",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("version", Integer, nullable=False),
        Column("compat", Integer, nullable=False),
    )
    op.create_table(
        "store_head",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("next_id", BigInteger, nullable=False),
        Column("next_uidvalidity", BigInteger, nullable=False),
        Column("journal_sequence", BigInteger, nullable=False),
        Column("journal_hash", Text, nullable=False),
    )
    head = table("store_head", column("id"), column("next_id"), column("next_uidvalidity"), column("journal_sequence"),
                 column("journal_hash"))
    op.execute(insert(head).values(id=1, next_id=1, next_uidvalidity=1, journal_sequence=0, journal_hash="0" * 64))


def _create_mailboxes() -> None:
    op.create_table(
        "mailbox",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("address", Text, nullable=False, unique=True),
        Column("type", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("inbox_id", BigInteger, nullable=False),
        Column("quota_bytes", BigInteger, nullable=False),
        Column("holder_id", Text, nullable=False),
        Column("display_name", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )
    op.create_table(
        "account",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("login", Text, nullable=False, unique=True),
        Column("secret_hash", Text, nullable=False),
        Column("enabled", SmallInteger, nullable=False),
    )
    op.create_table(
        "delegation",
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("position", Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "folder",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
        Column("name", Text, nullable=False),
        Column("special_use", Text, nullable=False),
        Column("uidvalidity", BigInteger, nullable=False),
        Column("uidnext", BigInteger, nullable=False),
        Column("highest_modseq", BigInteger, nullable=False),
        Column("purged_modseq", BigInteger, nullable=False),
        Column("message_count", BigInteger, nullable=False),
        Column("unseen_count", BigInteger, nullable=False),
        Column("deleted_count", BigInteger, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("subscribed", SmallInteger, nullable=False),
        Index("folder_by_name", "mailbox_id", "name", unique=True),
    )


def _create_messages() -> None:
    op.create_table(
        "message",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("trace_id", Text, nullable=False),
        Column("received_at", BigInteger, nullable=False),
        Column("body_size", BigInteger, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("blob", Text),
        Column("header_size", BigInteger, nullable=False),
        Column("received_count", Integer, nullable=False),
        Column("header_message_id", Text, nullable=False),
        Column("in_reply_to", Text, nullable=False),
        Column("from_address", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("header_date", BigInteger),
        Column("prefix", LargeBinary, nullable=False),
        Column("imap_envelope", LargeBinary, nullable=False),
        Column("imap_bodystructure", LargeBinary, nullable=False),
        Column("body", LargeBinary),
        Index("message_by_trace", "trace_id"),
    )
    op.create_table(
        "folder_message",
        Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
        Column("uid", BigInteger, primary_key=True, autoincrement=False),
        Column("message_id", BigInteger, nullable=False),
        Column("modseq", BigInteger, nullable=False),
        Column("flags", Integer, nullable=False),
        Column("keywords", Text, nullable=False),
        Column("internal_date", BigInteger, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("expunged", SmallInteger, nullable=False),
        Index("folder_message_by_modseq", "folder_id", "modseq"),
        Index("folder_message_by_message", "message_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "message_orphan",
        Column("message_id", _IDENTIFIER, primary_key=True, autoincrement=False),
    )
    named = column("blob").is_not(None)
    op.create_index("message_by_blob", "message", ["blob"], sqlite_where=named, postgresql_where=named)


def _create_queue() -> None:
    op.create_table(
        "queue_message",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("message_id", BigInteger, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("sender", Text, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Column("ret", Text, nullable=False),
        Column("envid", Text, nullable=False),
        Column("smtputf8", SmallInteger, nullable=False),
        Index("queue_message_by_message", "message_id"),
    )
    op.create_table(
        "queue_recipient",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("queue_id", BigInteger, ForeignKey("queue_message.id"), nullable=False),
        Column("address", Text, nullable=False),
        Column("destination", Text, nullable=False),
        Column("notify", Text, nullable=False),
        Column("orcpt", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", BigInteger, nullable=False),
        Column("lease_owner", Text, nullable=False),
        Column("lease_until", BigInteger),
        Column("last_reply", Text, nullable=False),
        Column("delay_notified", SmallInteger, nullable=False),
        Index("queue_recipient_by_due", "state", "next_attempt_at", "queue_id", "destination"),
        Index("queue_recipient_by_queue", "queue_id", "destination"),
    )


def _create_traces() -> None:
    op.create_table(
        "journal_event",
        Column("sequence", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("at", BigInteger, nullable=False),
        Column("kind", Text, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("payload", Text, nullable=False),
        Column("hash", Text, nullable=False),
        Index("journal_event_by_trace", "trace_id"),
        Index("journal_event_by_subject", "subject"),
        Index("journal_event_by_kind", "kind"),
    )
    op.create_table(
        "whitelist_version",
        Column("id", _IDENTIFIER, primary_key=True, autoincrement=False),
        Column("sha256", Text, nullable=False),
        Column("generated_at", BigInteger, nullable=False),
        Column("adopted_at", BigInteger, nullable=False),
        Column("entries", Integer, nullable=False),
        Column("domains", Integer, nullable=False),
        Column("file", Text, nullable=False),
        Column("forced", SmallInteger, nullable=False),
        Index("whitelist_version_by_adoption", "adopted_at"),
    )
