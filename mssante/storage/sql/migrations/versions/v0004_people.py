"""Fourth shape: profiles and life of mailboxes, delegation with dates, identities and credentials, filters, publication.

Frozen: later shapes are later revisions.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add columns and tables (one transaction, opened by the caller)."""
    op.add_column("delegation", Column("rights", Text, nullable=False, server_default="open,send"))
    op.add_column("delegation", Column("since", BigInteger, nullable=False, server_default="0"))
    op.add_column("delegation", Column("until", BigInteger, nullable=False, server_default="0"))
    op.add_column("delegation", Column("granted_by", Text, nullable=False, server_default=""))
    op.create_index("delegation_by_mailbox", "delegation", ["mailbox_id"])
    _mailboxes()
    _accounts()
    _credentials()
    _filters()
    _exchanges()


def _mailboxes() -> None:
    op.create_table(
        "mailbox_profile",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("service", Text, nullable=False),
        Column("description", Text, nullable=False),
        Column("responsible", Text, nullable=False),
        Column("structure_id", Text, nullable=False),
        Column("contact", Text, nullable=False),
        Column("red_list", SmallInteger, nullable=False),
        Column("preferred_rank", Integer, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mailbox_life",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("state_since", BigInteger, nullable=False),
        Column("last_used_at", BigInteger, nullable=False),
        Column("warned_step", Integer, nullable=False),
        Column("warned_at", BigInteger, nullable=False),
        Column("objected_until", BigInteger, nullable=False),
        Column("hold_until", BigInteger, nullable=False),
        Column("reason", Text, nullable=False),
        Column("successor", Text, nullable=False),
        Column("quota_warned", Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alias",
        Column("address", Text, primary_key=True),
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("until", BigInteger, nullable=False),
        Index("alias_by_mailbox", "mailbox_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reading",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("message_id", BigInteger, primary_key=True, autoincrement=False),
        Column("account_id", BigInteger, primary_key=True, autoincrement=False),
        Column("first_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _accounts() -> None:
    op.create_table(
        "account_identity",
        Column("kind", Text, primary_key=True),
        Column("value", Text, primary_key=True),
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Index("account_identity_by_account", "account_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "account_profile",
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
        Column("holder_id", Text, nullable=False),
        Column("given_name", Text, nullable=False),
        Column("family_name", Text, nullable=False),
        Column("contact", Text, nullable=False),
        Column("password_logins", Text, nullable=False),
        Column("last_login_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _credentials() -> None:
    op.create_table(
        "app_password",
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
        Column("handle", Text, nullable=False, unique=True),
        Column("label", Text, nullable=False),
        Column("scopes", Text, nullable=False),
        Column("secret_hash", Text, nullable=False),
        Column("scram", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("last_used_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Index("app_password_by_account", "account_id"),
    )
    op.create_table(
        "second_factor",
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
        Column("kind", Text, nullable=False),
        Column("label", Text, nullable=False),
        Column("secret", LargeBinary, nullable=False),
        Column("counter", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("last_used_at", BigInteger, nullable=False),
        Index("second_factor_by_account", "account_id"),
    )
    op.create_table(
        "web_session",
        Column("token_hash", Text, primary_key=True),
        Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
        Column("method", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("seen_at", BigInteger, nullable=False),
        Column("strong_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Index("web_session_by_account", "account_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "api_token",
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
        Column("token_hash", Text, nullable=False, unique=True),
        Column("label", Text, nullable=False),
        Column("scopes", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("last_used_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
    )


def _filters() -> None:
    op.create_table(
        "sieve_script",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("name", Text, primary_key=True),
        Column("content", LargeBinary, nullable=False),
        Column("active", SmallInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vacation_reply",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("handle", Text, primary_key=True),
        Column("sender", Text, primary_key=True),
        Column("at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _exchanges() -> None:
    op.create_table(
        "publication",
        Column("address", Text, primary_key=True),
        Column("wanted", Text, nullable=False),
        Column("sent", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", BigInteger, nullable=False),
        Column("wanted_at", BigInteger, nullable=False),
        Column("sent_at", BigInteger, nullable=False),
        Column("accepted_at", BigInteger, nullable=False),
        Column("visible_at", BigInteger, nullable=False),
        Column("version", Text, nullable=False),
        Column("last_error", Text, nullable=False),
        Index("publication_by_due", "state", "next_attempt_at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "closed_address",
        Column("address", Text, primary_key=True),
        Column("closed_at", BigInteger, nullable=False),
        Column("source", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("seen_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "correspondent",
        Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
        Column("address", Text, primary_key=True),
        Column("sent", BigInteger, nullable=False),
        Column("received", BigInteger, nullable=False),
        Column("last_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "provision_link",
        Column("source", Text, primary_key=True),
        Column("external_id", Text, primary_key=True),
        Column("account_id", BigInteger, nullable=False),
        Column("mailbox_id", BigInteger, nullable=False),
        Column("digest", Text, nullable=False),
        Column("document", Text, nullable=False),
        Column("active", SmallInteger, nullable=False),
        Column("seen_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Index("provision_link_by_account", "account_id"),
        sqlite_with_rowid=False,
    )
