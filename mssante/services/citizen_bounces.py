"""Messages by which the citizens' service says that a message was not delivered: recognised, and classified into four causes.

- A *return* is a message from the citizens' domain (or with the null sender, through the certificate of its operator) that names
  one of our sent messages: `Original-Message-ID`, returned headers, In-Reply-To or References; or whose subject is one of F9.7.
- The cause comes from a table of expressions over subject, text and SMTP diagnostics, the administrator's first
  (`citizen.bounces`), then ours, then the enhanced status of a DSN (RFC 3463). The texts of the national service are not public
  (spec F9.7): what nothing knows is `other`, and told as such.
- The original stays as it came: this module reads it, `note` makes another message that stands beside it in the same thread.
- Reads at most 1 MiB; never raises. Nothing of the text is logged.
Pure. Called by `citizen_desk`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mssante.lang import say
from mssante.model.address import MailAddress
from mssante.protocol.mime.compose import Letter, letter
from mssante.protocol.mime.headers import Headers, decode_words, message_id, parse_headers, reference_ids
from mssante.protocol.mime.htmltext import html_text
from mssante.protocol.mime.parameters import parameter
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text
from mssante.protocol.reports.dsn import parse_dsn
from mssante.services.citizen import identifiers
from mssante.services.citizen_words import Cause, cause_text

MAX_READ = 1 << 20
MAX_TEXT = 20_000  # characters that expressions see
NOTE_FIELD = "X-MSS-Echange"


@dataclass(frozen=True, slots=True)
class Pattern:
    """An expression and the cause that it tells; it sees text without accents, in lower case, on one line."""

    cause: Cause
    expression: re.Pattern[str]


def pattern(cause: str, text: str) -> Pattern:
    """Make a pattern. Raises re.error, ValueError."""
    return Pattern(Cause(cause), re.compile(folded(text)))


def folded(text: str) -> str:
    """Give a text without accents, in lower case."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return plain.lower().replace("\u2019", "'")


# What is said first wins: a size stands beside "not delivered", a closed box beside "invalid address".
PATTERNS: tuple[Pattern, ...] = tuple(pattern(cause, text) for cause, text in (
    ("too_big", r"undelivered mail returned to sender.{0,4000}(?:size|taille|25 ?m)"),
    ("too_big", r"message (?:file )?(?:size )?(?:exceeds|too (?:big|large))|size limit|5\.3\.4"),
    ("too_big", r"(?:taille|volume).{0,60}(?:depass|superieur|maximal|limite)|trop (?:volumineux|gros)|25 ?mo\b"),
    ("no_exchange",
     r"\b(?:echange|conversation|fil|discussion)\b.{0,40}(?:clos|ferme|termine|n'est pas ouvert|non ouvert|inexistant)"),
    ("no_exchange", r"(?:pas|plus) autorise.{0,40}(?:repondre|ecrire)|conversation (?:is )?(?:closed|not open)"),
    ("closed", r"(?:profil|espace|compte|boite|messagerie|bal).{0,60}(?:clos|ferme|cloture|desactive|n'est pas (?:ouvert|active)|"
               r"non (?:ouvert|active)|jamais (?:ouvert|active)|supprime)"),
    ("closed", r"(?:oppose|opposition).{0,60}(?:espace|creation|messagerie)|5\.2\.1|mailbox (?:is )?(?:closed|disabled)"),
    ("unknown",
     r"(?:patient|usager|destinataire|beneficiaire|assure).{0,60}(?:inconnu|introuvable|non trouve|pas (?:ete )?trouve|"
                r"n'existe pas|not found)"),
    ("unknown", r"adresse.{0,60}(?:invalide|incorrecte|erronee|inconnue|n'existe pas|mal formee)|ins.{0,40}(?:invalide|inconnu)"),
    ("unknown", r"user unknown|no such user|unknown (?:user|recipient)|does not exist|5\.1\.[0-36]"),
))
_SUBJECTS = re.compile(r"message non distribue|undelivered mail returned to sender|undeliverable|echec de (?:la )?remise|"
                       r"non remis|delivery status notification|mail delivery (?:failed|failure)|returned mail")
_STATUS = {"5.3.4": Cause.TOO_BIG, "5.2.3": Cause.TOO_BIG, "5.2.1": Cause.CLOSED, "5.1.1": Cause.UNKNOWN, "5.1.0": Cause.UNKNOWN,
           "5.1.2": Cause.UNKNOWN, "5.1.3": Cause.UNKNOWN, "5.1.6": Cause.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Return:
    """A message that says that another was not delivered. references: Message-IDs that it may be about, surest first."""

    cause: Cause
    references: tuple[str, ...]


def read_return(raw: bytes, patterns: Sequence[Pattern] = PATTERNS) -> Return | None:
    """Give what a message from the citizens' side says came back, None when it is no return."""
    raw = raw[:MAX_READ]
    root = scan(raw)
    report = parse_dsn(raw)
    if report is not None and not any(one.action.strip().lower() == "failed" for one in report.recipients):
        return None  # a delay or a success
    subject = folded(decode_words(root.headers.get(b"subject") or b"", 300))
    if report is None and (not _SUBJECTS.search(subject) or _is_read_receipt(root)):
        return None
    texts = [subject, *_texts(raw, root)]
    if report is not None:
        texts += [f"{one.status} {folded(one.diagnostic)}" for one in report.recipients]
    text = " ".join(" ".join(texts).split())[:MAX_TEXT]
    cause = classify(text, patterns)
    if cause is Cause.OTHER and report is not None:
        cause = next((_STATUS[one.status.strip()] for one in report.recipients if one.status.strip() in _STATUS), Cause.OTHER)
    return Return(cause, tuple(dict.fromkeys(_references(raw, root, report.original_message_id if report else ""))))


def classify(text: str, patterns: Sequence[Pattern] = PATTERNS) -> Cause:
    """Give the cause that the first pattern to match tells. text: as `folded` gives it."""
    return next((one.cause for one in patterns if one.expression.search(text)), Cause.OTHER)


def classify_status(status: str, diagnostic: str, patterns: Sequence[Pattern] = PATTERNS) -> Cause:
    """Give the cause that an enhanced status and the words of an SMTP reply tell."""
    cause = classify(f"{status} {folded(diagnostic)}"[:MAX_TEXT], patterns)
    return _STATUS.get(status.strip(), Cause.OTHER) if cause is Cause.OTHER else cause


def _is_read_receipt(root: Part) -> bool:
    return b"disposition-notification" in (root.headers.get(b"content-type") or b"").lower()


def _leaves(root: Part) -> Iterator[Part]:
    pending = [root]
    while pending:
        part = pending.pop()
        pending.extend(reversed(part.children))
        if not part.children:
            yield part


def _texts(raw: bytes, root: Part) -> Iterator[str]:
    """Give the readable texts of the return itself, not of what it returns."""
    for part in _leaves(root):
        if part.media.type != b"text" or part.media.subtype not in (b"plain", b"html"):
            continue
        data = decode_part(raw[part.body_start:part.body_end], part.headers.get(b"content-transfer-encoding") or b"",
                           limit=64 * 1024) or b""
        text = decode_text(data, parameter(part.media.parameters, b"charset"))
        yield folded(html_text(text) if part.media.subtype == b"html" else text)[:MAX_TEXT]


def _references(raw: bytes, root: Part, of_report: str) -> Iterator[str]:
    """Give the Message-IDs that a return may be about, surest first."""
    yield from identifiers(of_report)
    yield from identifiers(message_id(root.headers.get(b"original-message-id")))
    for part in _leaves(root):
        returned: Headers | None = part.message.headers if part.message is not None else None
        if returned is None and (part.media.type, part.media.subtype) == (b"text", b"rfc822-headers"):
            returned = parse_headers(raw[part.body_start:part.body_end])
        if returned is not None:
            yield from identifiers(message_id(returned.get(b"message-id")))
    ids = reference_ids(root.headers.get(b"references"), root.headers.get(b"in-reply-to"))
    yield from reversed(identifiers(f"{ids} {message_id(root.headers.get(b'in-reply-to'))}"))


@dataclass(frozen=True, slots=True)
class NoteAbout:
    """What a note is about. reference: Message-ID of the sent message; thread: of the first one; sent_at: None unknown."""

    mailbox: MailAddress
    reference: str
    thread: str
    trace_id: str
    cause: Cause
    sent_at: datetime | None


def note(about: NoteAbout, *, now: datetime, trace_id: str, most_bytes: int) -> bytes:
    """Give the note for the person who wrote: what happened and what to do, in the thread of the sent message.

    It holds no address of the citizen, no name, no subject. trace_id: of the note.
    """
    when = f"{about.sent_at.astimezone():%d/%m/%Y %H:%M}" if about.sent_at is not None else ""
    head = say(f"Votre message à un usager{f' du {when}' if when else ''} n'a pas été remis.",
               f"Your message to a citizen{f' of {when}' if when else ''} was not delivered.")
    tail = say(f"Référence de votre message : {about.trace_id}\nLa réponse du service des usagers est dans votre boîte, "
               "telle qu'elle est venue.",
               f"Reference of your message: {about.trace_id}\nThe answer of the citizens' service is in your mailbox as it came.")
    references = " ".join(dict.fromkeys((about.thread, about.reference)))
    return letter(Letter(
        MailAddress("postmaster", about.mailbox.domain), (about.mailbox,),
        say("Votre message à un usager n'a pas été remis", "Your message to a citizen was not delivered"),
        f"{head}\n\n{cause_text(about.cause, most_bytes // 1_000_000)}\n\n{tail}\n", now, f"<{trace_id}@{about.mailbox.domain}>",
        trace_id,
        sender_name=say("Messagerie MSSanté", "MSSanté mail"),
        headers=(("In-Reply-To", about.reference), ("References", references), ("Auto-Submitted", "auto-generated"),
                 (NOTE_FIELD, f"v=1; cause={about.cause.value}"))))
