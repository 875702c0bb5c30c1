"""From replies to outcomes: what one attempt means for each recipient (RFC 5321 §4.2.1, RFC 3463).

Guarantees: one outcome for each recipient, whatever was answered; what was not answered is Deferred, never lost and
never bounced; a delivery counts only with a 2xx to our final dot.
Called by `transport/operators.py`.
"""

from __future__ import annotations

from mssante.errors import InputFault, MssFault
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.protocol.smtp.client import Transaction, TransactionReplies
from mssante.protocol.smtp.extensions import Extensions
from mssante.protocol.smtp.replies import Reply, SmtpFault

_STATUS = {  # RFC 3463 for servers that give no enhanced code (RFC 2034)
    501: "5.5.4", 503: "5.5.1", 510: "5.1.1", 511: "5.1.1", 512: "5.1.2", 513: "5.1.3", 521: "5.3.2", 523: "5.3.4",
    530: "5.7.0", 541: "5.7.1", 550: "5.1.1", 551: "5.1.6", 552: "5.2.2", 553: "5.1.3", 555: "5.5.4", 556: "5.1.10",
}


def reply_outcome(reply: Reply, remote: str) -> Deferred | Refused:
    """Give what a negative reply means: 5xx refuses for good, all else waits."""
    if not reply.permanent:
        return Deferred(reply.text, remote=remote)
    return Refused(reply.text, status=reply.enhanced or _STATUS.get(reply.code, "5.0.0"), remote=remote)


def fault_outcome(fault: MssFault, remote: str) -> Deferred | Refused:
    """Give what a fault of the session means for a recipient without answer.

    Content that cannot be sent is refused (it will not change); all else waits: nothing is known to be delivered.
    """
    reply = fault.reply if isinstance(fault, SmtpFault) else None
    text = reply.text if reply else fault.public
    if isinstance(fault, InputFault):
        return Refused(text, status="5.6.0", remote=remote, rule=fault.rule)
    return Deferred(text, remote=remote, rule=fault.rule or "SMTP-SESSION")


def unsendable(transaction: Transaction, extensions: Extensions) -> Refused | None:
    """Give why a transaction must not even be tried on a server that announces `extensions`, or None."""
    if extensions.size_limit and transaction.size > extensions.size_limit:  # RFC 1870 §6.1
        return Refused(f"552 5.3.4 message of {transaction.size} octets, the destination takes {extensions.size_limit}",
                       status="5.3.4", rule="SMTP-SIZE")
    if transaction.smtputf8 and not extensions.smtputf8:  # RFC 6531 §3.5
        return Refused("553 5.6.7 the destination does not accept internationalised mail", status="5.6.7",
                       rule="SMTP-UTF8")
    if transaction.body_8bit and not extensions.eight_bit:  # RFC 6152 §3: signed content is not converted
        return Refused("554 5.6.3 the destination does not accept 8-bit content", status="5.6.3", rule="SMTP-8BIT")
    return None


def _crowded(reply: Reply, count: int) -> bool:
    """RFC 5321 §4.5.3.1.10: a 552 to one RCPT among several may mean "too many recipients": try that one again."""
    return reply.code == 552 and count > 1 and reply.enhanced in ("", "5.5.3")


def recipient_outcomes(replies: TransactionReplies, fault: MssFault | None, *, remote: str, dsn: bool,
                       ) -> tuple[Outcome, ...]:
    """Give one outcome per recipient of the transaction. fault: what interrupted it, or None; dsn: it announced DSN."""
    missing: Deferred | Refused = fault_outcome(
        fault or SmtpFault("no reply for this recipient", rule="SMTP-NO-REPLY"), remote)
    outcomes: list[Outcome] = []
    for reply in replies.recipients:
        if replies.sender is not None and not replies.sender.positive:
            outcomes.append(reply_outcome(replies.sender, remote))
        elif reply is not None and not reply.positive:
            crowded = _crowded(reply, len(replies.recipients))
            outcomes.append(Deferred(reply.text, remote=remote) if crowded else reply_outcome(reply, remote))
        elif reply is None:
            outcomes.append(missing)
        else:
            outcomes.append(_content_outcome(replies, missing, remote, dsn))
    return tuple(outcomes)


def _content_outcome(replies: TransactionReplies, missing: Deferred | Refused, remote: str, dsn: bool) -> Outcome:
    """Give the outcome of a recipient that was accepted at RCPT."""
    if replies.data is not None and replies.data.code >= 400:
        return reply_outcome(replies.data, remote)
    if replies.final is None:
        return missing
    if replies.final.positive and replies.body_ended:
        return Delivered(replies.final.text, remote=remote, dsn_relayed=dsn)
    return reply_outcome(replies.final, remote)
