"""Tables and columns: the only place that names them (ARCHITECTURE §9).

- Instants are integers: microseconds since 1970-01-01 UTC. They compare, index and bind quickly on every engine.
- Booleans are small integers 0 and 1, so that driver rows need no conversion.
- Ids of mailboxes, folders, messages, accounts and queue rows come from `store_head.next_id`: rows that point at one
  another are built before the first insert, and an id is never used twice, even after its row is gone.
- `message.body` is the last column: on SQLite the columns before a large value are read without walking its pages.
- Migrations carry their own copy of the shape at their time; a test compares the result with this module.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, Text

metadata = MetaData()

# SQLite makes a rowid alias only of INTEGER; PostgreSQL needs 64 bits.
Identifier = BigInteger().with_variant(Integer(), "sqlite")

schema_version = Table(
    "schema_version", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("compat", Integer, nullable=False),
)

store_head = Table(
    "store_head", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("next_id", BigInteger, nullable=False),
    Column("next_uidvalidity", BigInteger, nullable=False),
    Column("journal_sequence", BigInteger, nullable=False),
    Column("journal_hash", Text, nullable=False),
)

mailbox = Table(
    "mailbox", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("address", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("inbox_id", BigInteger, nullable=False),
    Column("quota_bytes", BigInteger, nullable=False),
    Column("holder_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("quota_messages", BigInteger, nullable=False, server_default="0"),
)

account = Table(
    "account", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("login", Text, nullable=False, unique=True),
    Column("secret_hash", Text, nullable=False),
    Column("enabled", SmallInteger, nullable=False),
    Column("scram", Text, nullable=False, server_default=""),
)

delegation = Table(
    "delegation", metadata,
    Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("rights", Text, nullable=False, server_default="open,send"),
    Column("since", BigInteger, nullable=False, server_default="0"),
    Column("until", BigInteger, nullable=False, server_default="0"),
    Column("granted_by", Text, nullable=False, server_default=""),
    Index("delegation_by_mailbox", "mailbox_id"),
    sqlite_with_rowid=False,
)

folder = Table(
    "folder", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
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
    Column("seen_private", SmallInteger, nullable=False, server_default="0"),
    Column("recent_uid", BigInteger, nullable=False, server_default="1"),
    Index("folder_by_name", "mailbox_id", "name", unique=True),
)

# Who may do what in a folder beside the owner of its mailbox (RFC 4314). identifier: a login, or `anyone`, maybe behind `-`.
folder_right = Table(
    "folder_right", metadata,
    Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
    Column("identifier", Text, primary_key=True),
    Column("rights", Text, nullable=False),
    Index("folder_right_by_identifier", "identifier"),
    sqlite_with_rowid=False,
)

# What a login has read in a folder whose `\\Seen` is private to each reader (folder.seen_private).
private_seen = Table(
    "private_seen", metadata,
    Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# Subscriptions to folders of other mailboxes; those to one's own stand on the folder.
shared_subscription = Table(
    "shared_subscription", metadata,
    Column("account_id", BigInteger, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
    sqlite_with_rowid=False,
)

# Subscriptions to names of one's own mailbox that have no folder (RFC 9051 §6.3.7); the others stand on the folder.
lost_subscription = Table(
    "lost_subscription", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# METADATA (RFC 5464). folder_id 0: of the mailbox itself (server annotations); account_id 0: shared, else private to it.
annotation = Table(
    "annotation", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("folder_id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

message = Table(
    "message", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("trace_id", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("body_size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("blob", Text),
    Column("header_size", BigInteger, nullable=False),
    Column("received_count", Integer, nullable=False),
    Column("header_message_id", Text, nullable=False),
    Column("in_reply_to", Text, nullable=False),  # what it answers: ids of References, else In-Reply-To, oldest first
    Column("from_address", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("header_date", BigInteger),
    Column("prefix", LargeBinary, nullable=False),
    Column("imap_envelope", LargeBinary, nullable=False),
    Column("imap_bodystructure", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Index("message_by_trace", "trace_id"),
)
Index("message_by_blob", message.c.blob, sqlite_where=message.c.blob.is_not(None),
      postgresql_where=message.c.blob.is_not(None))

# No foreign key toward message: one index fewer to walk for each accepted message; `sweep` keeps the two in step.
folder_message = Table(
    "folder_message", metadata,
    Column("folder_id", BigInteger, ForeignKey("folder.id", ondelete="CASCADE"), primary_key=True),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", BigInteger, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("keywords", Text, nullable=False),
    Column("internal_date", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("expunged", SmallInteger, nullable=False),
    Column("saved_at", BigInteger, nullable=False, server_default="0"),
    Index("folder_message_by_modseq", "folder_id", "modseq"),
    Index("folder_message_by_message", "message_id"),
    sqlite_with_rowid=False,
)

message_orphan = Table(
    "message_orphan", metadata,
    Column("message_id", Identifier, primary_key=True, autoincrement=False),
)

queue_message = Table(
    "queue_message", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
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

# delay_notified stands on the recipient: a batch is (message, destination), and each destination is late by itself.
queue_recipient = Table(
    "queue_recipient", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
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

journal_event = Table(
    "journal_event", metadata,
    Column("sequence", Identifier, primary_key=True, autoincrement=False),
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

whitelist_version = Table(
    "whitelist_version", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("sha256", Text, nullable=False),
    Column("generated_at", BigInteger, nullable=False),
    Column("adopted_at", BigInteger, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("domains", Integer, nullable=False),
    Column("file", Text, nullable=False),
    Column("forced", SmallInteger, nullable=False),
    Index("whitelist_version_by_adoption", "adopted_at"),
)

# refused: empty, or the code of the rule by which a certificate is not used.
smime_certificate = Table(
    "smime_certificate", metadata,
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

smime_policy = Table(
    "smime_policy", metadata,
    Column("mailbox_id", BigInteger, ForeignKey("mailbox.id", ondelete="CASCADE"), primary_key=True),
    Column("outgoing", Text, nullable=False),
    Column("incoming", Text, nullable=False),
    Column("key_reference", Text, nullable=False),
    sqlite_with_rowid=False,
)

peer_certificate = Table(
    "peer_certificate", metadata,
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

queue_hold = Table(
    "queue_hold", metadata,
    Column("id", Identifier, primary_key=True, autoincrement=False),
    Column("cause", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("automatic", SmallInteger, nullable=False),
    Column("note", Text, nullable=False),
    Index("queue_hold_by_cause", "cause", "domain", unique=True),
)
