"""Every traceable fact, one kind each. The journal is evidence; log lines are not.

Payload values are envelope facts (addresses, replies, certificate subjects, sizes): never subject or content.
The local part of a citizen address is pseudonymised by the service that writes the event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

PLAIN = "plain"  # a payload has it when nothing that arrived is for a service to look into (model/structure.py)


class JournalKind(StrEnum):
    """The only kinds of event; a test checks that each is written somewhere and documented."""

    SESSION_REFUSED = "session_refused"
    SENDER_REFUSED = "sender_refused"
    RECIPIENT_REFUSED = "recipient_refused"
    DATA_REFUSED = "data_refused"
    RECEIVED = "received"
    SUBMITTED = "submitted"
    RELAYED = "relayed"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    REPORT_SENT = "report_sent"
    LOGIN = "login"
    LOGIN_REFUSED = "login_refused"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 -- the name of an event
    CERTIFICATE_REFUSED = "certificate_refused"
    IDENTITY_CHANGED = "identity_changed"
    WHITELIST_ADOPTED = "whitelist_adopted"
    WHITELIST_REFUSED = "whitelist_refused"
    WHITELIST_ALARM = "whitelist_alarm"
    WHITELIST_PINNED = "whitelist_pinned"
    HOLD_STARTED = "hold_started"
    HOLD_ENDED = "hold_ended"
    PEER_CERTIFICATE = "peer_certificate_changed"
    EXPIRY_NEAR = "expiry_near"
    CRL_ADOPTED = "crl_adopted"
    CRL_REFUSED = "crl_refused"
    OCSP_REFUSED = "ocsp_refused"
    TLS_CHANGED = "tls_changed"
    TLS_REFUSED = "tls_refused"
    SMIME_CHECKED = "smime_checked"
    SMIME_SEALED = "smime_sealed"
    SMIME_CERTIFICATE = "smime_certificate"
    ACCOUNT_CHANGED = "account_changed"
    PUBLICATION = "publication"
    DIRECTORY_ADOPTED = "directory_adopted"
    DIRECTORY_REFUSED = "directory_refused"
    API_TOKEN = "api_token"  # noqa: S105 -- the name of an event
    MAILBOX_CHANGED = "mailbox_changed"
    LIFE_RUN = "life_run"
    LIFE_STOPPED = "life_stopped"
    QUEUE_CHANGED = "queue_changed"
    FOLDER_EXPUNGED = "folder_expunged"
    FOLDER_SHARED = "folder_shared"
    DELEGATION = "delegation_changed"
    FILTER_CHANGED = "filter_changed"
    VACATION_SENT = "vacation_sent"
    CITIZEN_RETURNED = "citizen_returned"
    CITIZEN_CLOSED = "citizen_closed"
    IMPORTED = "imported"
    RECEIPT = "receipt"
    DEPARTURE_OVERRIDE = "departure_override"
    PREFLIGHT = "preflight"
    TWIN_FILED = "twin_filed"
    OPPOSITION = "opposition_changed"
    WEBHOOK = "webhook_changed"
    INTERFACE_TAKEN = "interface_taken"
    INTERFACE_REFUSED = "interface_refused"
    INTERFACE_GIVEN = "interface_given"
    INTERFACE_REPAIR = "interface_repair"
    OPERATOR_STARTED = "operator_started"
    OPERATOR_STOPPED = "operator_stopped"


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One fact. subject: what it is about in one searchable word (an address, a domain, a login)."""

    kind: JournalKind
    at: datetime
    trace_id: str = ""
    subject: str = ""
    payload: dict[str, str | int | float | bool | None] = field(default_factory=dict)
