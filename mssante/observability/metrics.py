"""Prometheus metrics. Labels come from closed sets only (stage, rule, protocol, result): no address, no identity.

`mssante_<area>_<thing>_<unit>`; one registry per process, read at `/metrics` of the admin listener.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

REGISTRY = CollectorRegistry()

RECEIVED = Counter("mssante_messages_received", "Messages taken in charge", ["route"], registry=REGISTRY)
RELAYED = Counter("mssante_recipients_relayed", "Recipients settled by the relay", ["result"], registry=REGISTRY)
REFUSALS = Counter("mssante_smtp_refusals", "SMTP refusals by stage and rule", ["stage", "rule"], registry=REGISTRY)
HANDSHAKE_FAILURES = Counter("mssante_tls_handshake_failures", "TLS handshakes that failed", registry=REGISTRY)
TLS_SESSIONS = Counter("mssante_tls_sessions", "TLS handshakes done, by side and kind", ["side", "kind"], registry=REGISTRY)
LOGINS = Counter("mssante_logins", "Logins by protocol and result", ["protocol", "result"], registry=REGISTRY)
LIMITS = Counter("mssante_limits_reached", "Times a limit of logins or IMAP was reached", ["limit"], registry=REGISTRY)
QUEUE_DEPTH = Gauge("mssante_queue_recipients", "Recipients in the queue by state", ["state"], registry=REGISTRY)
SESSIONS = Gauge("mssante_sessions_open", "Open sessions by door", ["door"], registry=REGISTRY)
WHITELIST_AGE = Gauge("mssante_whitelist_age_seconds", "Age of the white list in force", registry=REGISTRY)
WHITELIST_DOMAINS = Gauge("mssante_whitelist_domains", "Domains of the list in force", registry=REGISTRY)
TRUST_ALARM = Gauge("mssante_trust_alarm", "1 while a trust source is refused or stale", ["source"], registry=REGISTRY)
QUEUE_HELD = Gauge("mssante_queue_held_recipients", "Queued recipients kept back by cause of hold", ["cause"], registry=REGISTRY)
OCSP_QUESTIONS = Counter("mssante_ocsp_questions", "OCSP questions by what came of them", ["result"], registry=REGISTRY)
SMIME_CHECKED = Counter("mssante_smime_checked", "Messages looked at for S/MIME, by code", ["signature", "encryption"],
                        registry=REGISTRY)
SMIME_SEALED = Counter("mssante_smime_sealed", "Copies that left, by what was done and why not more", ["form", "reason"],
                       registry=REGISTRY)
INDEX_LAG = Gauge("mssante_search_index_lag_messages", "Messages that the full-text index has not reached yet", registry=REGISTRY)
DIRECTORY_ENTRIES = Gauge("mssante_directory_entries", "Entries of the mirror of the national directory", registry=REGISTRY)
DIRECTORY_AGE = Gauge("mssante_directory_age_seconds", "Age of the extraction in force, -1 without one", registry=REGISTRY)
DIRECTORY_ALARM = Gauge("mssante_directory_alarm", "1 when the extraction is refused, too old or missing", registry=REGISTRY)
DIRECTORY_ADOPTIONS = Counter("mssante_directory_adoptions", "Looks at the extraction that were no rest, by result", ["result"],
                              registry=REGISTRY)
PUBLICATION_ROWS = Gauge("mssante_publication_entries", "Our directory entries by state", ["state"], registry=REGISTRY)
DIRECTORY_ADVICE = Counter("mssante_directory_advice", "Addresses looked up while mail passes, by what the directory says",
                           ["side", "state"], registry=REGISTRY)
PUBLICATION_ANSWERS = Counter("mssante_publication_answers", "Answers of the directory to changes", ["result"], registry=REGISTRY)
FILTERED = Counter("mssante_sieve_runs", "Runs of filters by result", ["result"], registry=REGISTRY)
VACATIONS = Counter("mssante_vacation_replies", "Out-of-office answers by result", ["result"], registry=REGISTRY)
CITIZEN_MESSAGES = Counter("mssante_citizen_messages", "Messages to and from citizens by what became of them", ["result"],
                           registry=REGISTRY)
PREFLIGHT = Counter("mssante_preflight", "Structured messages checked before departure, by verdict", ["result"],
                    registry=REGISTRY)
PREFLIGHT_NIL = Counter("mssante_preflight_nil", "Structured messages by presence of X-MSS-NIL", ["state"], registry=REGISTRY)
HOSPITAL_IN = Counter("mssante_hospital_messages_in", "HL7 messages of applications (their name in the configuration), by answer",
                      ["application", "result", "code"], registry=REGISTRY)
HOSPITAL_OUT = Counter("mssante_hospital_messages_out", "HL7 messages given to applications, by kind and answer",
                       ["application", "kind", "result", "code"], registry=REGISTRY)
HOSPITAL_REPAIRS = Counter("mssante_hospital_repairs", "Entries put on the repair list", ["application"], registry=REGISTRY)
HOSPITAL_REPAIRS_OPEN = Gauge("mssante_hospital_repairs_open", "Entries of the repair list that wait", ["application"],
                              registry=REGISTRY)
HOSPITAL_WAITING = Gauge("mssante_hospital_outbox_messages", "HL7 messages that wait for an application", ["application"],
                         registry=REGISTRY)
HOSPITAL_OLDEST = Gauge("mssante_hospital_outbox_oldest_seconds", "Age of the oldest one, 0 without any", ["application"],
                        registry=REGISTRY)
HANDED = Counter("mssante_handover_requests", "Documents that programs handed in, by way in and result", ["source", "result"],
                 registry=REGISTRY)
FOLDER_PAIRS = Counter("mssante_folder_pairs", "Pairs of files of watched folders, by what became of them", ["result"],
                       registry=REGISTRY)
WEBHOOK_POSTS = Counter("mssante_webhook_posts", "Events told to webhooks, by result", ["result"], registry=REGISTRY)
WEBHOOK_WAITING = Gauge("mssante_webhook_events_waiting", "Events that webhooks did not hear yet", registry=REGISTRY)
WEBHOOK_OLDEST = Gauge("mssante_webhook_oldest_seconds", "Age of the oldest one, 0 without any", registry=REGISTRY)
TWINS = Counter("mssante_twins", "Readable twins of messages by result", ["result"], registry=REGISTRY)
LIFE_STEPS = Counter("mssante_life_steps", "Steps of the life of mailboxes that were done", ["kind"], registry=REGISTRY)
LIFE_WITHHELD = Gauge("mssante_life_withheld", "1 while delays of mailboxes wait for a human", ["cause"], registry=REGISTRY)
LIFE_WAITING = Gauge("mssante_life_waiting_mailboxes", "Mailboxes whose suspension, closing or erasing waits for a human",
                     registry=REGISTRY)
EXPIRY = Gauge("mssante_expiry_seconds", "Seconds before the next end of its kind", ["what"], registry=REGISTRY)
CERTIFICATE_DAYS = Gauge("mssante_certificate_days_left", "Days before our certificate expires", registry=REGISTRY)


def exposition() -> bytes:
    """Give the metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY)
