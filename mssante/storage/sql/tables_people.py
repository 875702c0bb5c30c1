"""Tables of the people and the directory: profiles and life of mailboxes, sharing, credentials, filters, publication.

The other half of `tables.py`, whose rules they follow (one metadata, integers for instants and booleans).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Table, Text

from mssante.storage.sql.tables import Identifier, metadata

__all__ = ["metadata"]

# What the directory and the people who run a mailbox need to know about it, beside what every delivery reads.
mailbox_profile = Table(
    "mailbox_profile", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("service", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("responsible", Text, nullable=False),
    Column("structure_id", Text, nullable=False),
    Column("contact", Text, nullable=False),  # where its holder is warned besides the mailbox itself
    Column("red_list", SmallInteger, nullable=False),
    Column("preferred_rank", Integer, nullable=False),  # 1 is best, 0 none
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Life cycle (spec §5). hold_until: nothing is purged before; objected_until: its holder asked that it stays.
mailbox_life = Table(
    "mailbox_life", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("state_since", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Column("warned_step", Integer, nullable=False),
    Column("warned_at", BigInteger, nullable=False),
    Column("objected_until", BigInteger, nullable=False),
    Column("hold_until", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("successor", Text, nullable=False),  # address told to those who write to a closed mailbox
    Column("quota_warned", Integer, nullable=False),  # per cent
    sqlite_with_rowid=False,
)

# Another address of a mailbox. until 0: no end.
alias = Table(
    "alias", metadata,
    Column("address", Text, primary_key=True),
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("alias_by_mailbox", "mailbox_id"),
    sqlite_with_rowid=False,
)

# Who read a message of a shared mailbox first, and when.
reading = Table(
    "reading", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who an account is elsewhere. kind: `psc` (SubjectNameID), `dn` (certificate subject, normalised), `scim`, `ldap`.
account_identity = Table(
    "account_identity", metadata,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("account_identity_by_account", "account_id"),
    sqlite_with_rowid=False,
)

account_profile = Table(
    "account_profile", metadata,
    Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("holder_id", Text, nullable=False),
    Column("given_name", Text, nullable=False),
    Column("family_name", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("password_logins", Text, nullable=False),  # protocols that the main password opens; empty: as configured
    Column("last_login_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Passwords of one program each. handle: its public part, found without trying every hash; 0 in a time: never.
app_password = Table(
    "app_password", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
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

# kind: `totp`, `passkey`, `recovery`. secret: sealed by the operator's key; counter: last step or signature count seen.
second_factor = Table(
    "second_factor", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Index("second_factor_by_account", "account_id"),
)

web_session = Table(
    "web_session", metadata,
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

api_token = Table(
    "api_token", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

sieve_script = Table(
    "sieve_script", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("active", SmallInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# To whom a vacation was told, so that nobody is told twice within its days (RFC 5230 §4.2).
vacation_reply = Table(
    "vacation_reply", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("handle", Text, primary_key=True),
    Column("sender", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What the national directory was told of each mailbox of ours; it outlives the mailbox until its withdrawal is accepted.
publication = Table(
    "publication", metadata,
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

# Addresses elsewhere that were told to be closed. source: `bounce` or `directory`.
closed_address = Table(
    "closed_address", metadata,
    Column("address", Text, primary_key=True),
    Column("closed_at", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# With whom a mailbox exchanges, for the order of suggestions.
correspondent = Table(
    "correspondent", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True),
    Column("sent", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# A person of another system (SCIM, LDAP) and what it is here.
provision_link = Table(
    "provision_link", metadata,
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
