"""Fifth shape: documents handed in and their fate, interfaces, versions and twins, oppositions, exchanges with citizens.

Frozen: later shapes are later revisions.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, Text

revision = "0005"
down_revision = "0004"
_IDENTIFIER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Add tables (one transaction, opened by the caller)."""
    _handed()
    _webhooks()
    _interfaces()
    _repairs()
    _documents()
    _citizens()


def _handed() -> None:
    op.create_table(
        "consumer_cursor",
        Column("consumer", Text, primary_key=True),
        Column("scope", Text, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "handed_document",
        Column("source", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("id", Text, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("mailbox_id", BigInteger, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("reference", Text, nullable=False),
        Column("facts", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Index("handed_document_by_id", "id"),
        Index("handed_document_by_trace", "trace_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "handed_recipient",
        Column("handed_id", Text, primary_key=True),
        Column("address", Text, primary_key=True),
        Column("state", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("detail", Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _webhooks() -> None:
    op.create_table(
        "webhook",
        Column("id", Text, primary_key=True),
        Column("owner", Text, nullable=False),
        Column("mailbox_id", BigInteger, nullable=False),
        Column("url", Text, nullable=False),
        Column("secret", Text, nullable=False),
        Column("kinds", Text, nullable=False),
        Column("active", SmallInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_event",
        Column("sequence", _IDENTIFIER, primary_key=True),
        Column("webhook_id", Text, nullable=False),
        Column("event_id", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("payload", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("next_attempt_at", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("done_at", BigInteger, nullable=False),
        Column("detail", Text, nullable=False),
        Index("webhook_event_due", "done_at", "next_attempt_at"),
        Index("webhook_event_of", "webhook_id", "sequence"),
    )


def _interfaces() -> None:
    op.create_table(
        "interface_message",
        Column("interface", Text, primary_key=True),
        Column("control_id", Text, primary_key=True),
        Column("fingerprint", Text, nullable=False),
        Column("handed_id", Text, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("answer", LargeBinary, nullable=False),
        Column("received_at", BigInteger, nullable=False),
        Index("interface_message_by_handed", "handed_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "interface_outbox",
        Column("sequence", _IDENTIFIER, primary_key=True),
        Column("interface", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("control_id", Text, nullable=False),
        Column("reference", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("mailbox_id", BigInteger, nullable=False),
        Column("message_id", BigInteger, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("next_attempt_at", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Index("interface_outbox_due", "interface", "state", "sequence"),
        Index("interface_outbox_by_reference", "interface", "reference"),
    )


def _repairs() -> None:
    op.create_table(
        "repair_item",
        Column("id", _IDENTIFIER, primary_key=True),
        Column("interface", Text, nullable=False),
        Column("mailbox_id", BigInteger, nullable=False),
        Column("message_id", BigInteger, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("code", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("by", Text, nullable=False),
        Column("note", Text, nullable=False),
        Index("repair_item_by_state", "state", "id"),
    )


def _documents() -> None:
    op.create_table(
        "document_version",
        Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
        Column("document", Text, primary_key=True),
        Column("set_id", Text, nullable=False),
        Column("version", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("replaced_by", Text, nullable=False),
        Column("outgoing", SmallInteger, nullable=False),
        Column("message_id", BigInteger, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Index("document_version_by_set", "mailbox_id", "set_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "document_twin",
        Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
        Column("message_id", BigInteger, primary_key=True, autoincrement=False),
        Column("twin_id", BigInteger, nullable=False),
        Column("state", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "opposition",
        Column("patient", Text, primary_key=True),
        Column("scope", Text, primary_key=True),
        Column("since", BigInteger, nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("by", Text, nullable=False),
        Column("reason", Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _citizens() -> None:
    op.create_table(
        "citizen_exchange",
        Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
        Column("citizen", Text, primary_key=True),
        Column("thread", Text, primary_key=True),
        Column("contact", Text, nullable=False),
        Column("opened_at", BigInteger, nullable=False),
        Column("last_at", BigInteger, nullable=False),
        Column("closed_at", BigInteger, nullable=False),
        Column("closed_by", Text, nullable=False),
        Column("sent", Integer, nullable=False),
        Column("received", Integer, nullable=False),
        Index("citizen_exchange_by_thread", "thread"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "citizen_message",
        Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
        Column("reference", Text, primary_key=True),
        Column("citizen", Text, nullable=False),
        Column("thread", Text, nullable=False),
        Column("trace_id", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("cause", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "citizen_login",
        Column("digest", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("mailbox_id", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("used_at", BigInteger, nullable=False),
        Index("citizen_login_by_mailbox", "mailbox_id"),
        sqlite_with_rowid=False,
    )
