"""Tables of documents, programs that hand them in, and exchanges with citizens.

The third part of `tables.py`, whose rules they follow (one metadata, integers for instants and booleans). No table here holds a
patient's name or matricule in clear: hashes and pseudonyms only; what a letter holds stays in its blob.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text

from mssante.storage.sql.tables import Identifier
from mssante.storage.sql.tables_people import metadata

__all__ = ["metadata"]

# How far a consumer has read the journal or a folder; moved in the transaction of what it did.
consumer_cursor = Table(
    "consumer_cursor", metadata,
    Column("consumer", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# A document handed in by a program: once per (source, key). id: what the program is told; reference: its Message-ID.
handed_document = Table(
    "handed_document", metadata,
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

# What became of a handed-in document, for each recipient. state: queued, relayed, delivered, read, failed.
handed_recipient = Table(
    "handed_recipient", metadata,
    Column("handed_id", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Who is told of events. kinds: comma-joined, empty for all; mailbox_id 0: those of every mailbox of its owner.
webhook = Table(
    "webhook", metadata,
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

# An event to tell a webhook, kept after it was told for replay.
webhook_event = Table(
    "webhook_event", metadata,
    Column("sequence", Identifier, primary_key=True),
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

# An HL7 message taken, once per (interface, control id), with the acknowledgement to repeat.
interface_message = Table(
    "interface_message", metadata,
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

# HL7 messages to give to an application, in order. state: waiting, given, refused, parked.
interface_outbox = Table(
    "interface_outbox", metadata,
    Column("sequence", Identifier, primary_key=True),
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

# What came in and could not be filed by the hospital's software. state: open, retried, closed.
repair_item = Table(
    "repair_item", metadata,
    Column("id", Identifier, primary_key=True),
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

# Chain of versions of the documents seen by a mailbox, by hashes of their identifiers. status: current, replaced, deleted.
document_version = Table(
    "document_version", metadata,
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

# The readable twin of a message. state: made, none, failed; twin_id 0: none is filed.
document_twin = Table(
    "document_twin", metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("twin_id", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# A patient's opposition to sending by MSSanté; patient: keyed hash of the INS; scope: all, citizen or professionals.
opposition = Table(
    "opposition", metadata,
    Column("patient", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

# An exchange with a citizen; citizen: pseudonym; thread: Message-ID of its first message; closed_at 0: open.
citizen_exchange = Table(
    "citizen_exchange", metadata,
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

# Messages of an exchange, by Message-ID. cause: why one came back, empty when it did not.
citizen_message = Table(
    "citizen_message", metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reference", Text, primary_key=True),
    Column("citizen", Text, nullable=False),
    Column("thread", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
    sqlite_with_rowid=False,
)

# One-time codes and sessions of the citizens' page, by hash. kind: code or session.
citizen_login = Table(
    "citizen_login", metadata,
    Column("digest", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("mailbox_id", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Index("citizen_login_by_mailbox", "mailbox_id"),
    sqlite_with_rowid=False,
)
