"""Signs and encrypts what our users send, by policy; decided and done before anything of the message is kept (docs/smime.md).

One message becomes as many *copies* as there are forms: each goes to the recipients for whom that form was decided, all are
committed together under one trace id.

- What the user's own program signed is not signed again, and is encrypted as it stands, octet for octet; what it encrypted is
  left as it is.
- A key or a certificate that lacks: with `fallback = "clear"` the copy leaves less protected, the reason stands in its header
  (`X-MSS-SMIME-Sent`) and in the journal; with `refuse` the message is refused at the end of DATA, for all its recipients, with
  the domain, the rule and the remedy. Nothing else ever weakens a copy: any other fault is 451, and nothing leaves.
- Recipients that the header does not name (blind copies) are encrypted for apart: the list of those who can open a message is
  readable in it (RFC 5652 §6.2).
- The sender's own copy is his program's affair. Of a message that leaves encrypted no clear text is left in a file, queue or log
  when the reply is given (a large body passes through its staging file, which `BodySink.hold` removes).
- Cryptography runs in worker threads; two messages of 1 MiB or more at once, the others wait in their staging files.

Called by `submission`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import structlog
from cryptography import x509

from mssante.clock import Clock
from mssante.errors import OperatorFault
from mssante.model import replies
from mssante.model.address import MailAddress
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import NewMessage
from mssante.model.reply import Refuse
from mssante.observability.metrics import SMIME_SEALED
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import read_headers
from mssante.protocol.mime.imapview import facts
from mssante.services.smime_certificates import Candidate, CertificateFinder
from mssante.services.smime_keys import KeyRing, MailKey, encryption_certificate, open_keys, signing_key
from mssante.services.smime_policy import Outgoing, SmimeSettings, Wishes
from mssante.services.smtp_session import LocalTarget, MailTransaction, RemoteTarget
from mssante.services.staging import stage_body
from mssante.smime.encrypt import encrypt_message
from mssante.smime.keys import fingerprint
from mssante.smime.layer import find_layer
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode, SmimeFault
from mssante.storage.interfaces import BlobStore

log = structlog.get_logger("smime")
LARGE = 1024 * 1024
MAX_BLIND = 50  # recipients encrypted for one by one
SENT_FIELD = "X-MSS-SMIME-Sent"
Target = LocalTarget | RemoteTarget


class SealReason(StrEnum):
    """Why a copy is less than what was wanted; other reasons are codes of `SmimeCode`."""

    NO_KEY = "SMIME-SANS-CLE"  # the sender's mailbox has no key that signs
    KEY_FAILED = "SMIME-CLE"  # it has one, which cannot be used
    KEY_EXPIRED = "SMIME-CLE-EXPIREE"  # its certificate is not in its dates
    NO_CERTIFICATE = "SMIME-SANS-CERTIFICAT"  # no certificate is known of the recipient
    REFUSED_CERTIFICATE = "SMIME-CERTIFICAT-REFUSE"  # some are known, none is admitted now


@dataclass(frozen=True, slots=True)
class Copy:
    """One form of a message and who gets it. event: what was done, None when nothing was wanted."""

    message: NewMessage
    local: tuple[LocalTarget, ...]
    remote: tuple[RemoteTarget, ...]
    event: JournalEvent | None = None


@dataclass(frozen=True, slots=True)
class SealPlan:
    """What is wanted: by recipient, in order. Made before the body is kept."""

    wishes: tuple[tuple[Target, Outgoing], ...]
    keys: tuple[str, ...]
    candidates: dict[str, list[Candidate]]


@dataclass(frozen=True, slots=True)
class Form:
    """What one recipient gets. wanted: what the policy says; reason: why it is less."""

    wanted: Outgoing
    signed: bool = False
    certificate: x509.Certificate | None = None
    reason: str = ""

    @property
    def done(self) -> str:
        """What was done, in the words of the policy."""
        if self.certificate is not None:
            return Outgoing.BOTH if self.signed else Outgoing.ENCRYPT
        return Outgoing.SIGN if self.signed else Outgoing.NEVER


@dataclass(slots=True)
class _Group:
    """Recipients of one copy."""

    form: Form
    targets: list[Target]
    certificates: list[x509.Certificate]


@dataclass(slots=True)
class _Text:
    """The message in its clear and its signed form. signed None: no signature could be put, `reason` says why."""

    raw: bytes
    signed: bytes | None
    reason: str
    encrypted: bool  # by the user's program
    own_signature: bool
    key: MailKey | None


@dataclass(slots=True)
class SealingParts:
    """What sealing stands on."""

    settings: SmimeSettings
    wishes: Wishes
    keys: KeyRing
    finder: CertificateFinder
    blobs: BlobStore
    executor: Executor
    clock: Clock
    inline_limit: int


class _Refused(Exception):
    """Ends the work with a refusal; never leaves this module."""

    def __init__(self, refusal: Refuse) -> None:
        super().__init__(refusal.rule)
        self.refusal = refusal


class Sealing:
    """Applies the outgoing policy."""

    def __init__(self, parts: SealingParts) -> None:
        self._parts = parts
        self._large = asyncio.Semaphore(2)

    async def plan(self, transaction: MailTransaction, sender_mailbox: int) -> SealPlan | None:
        """Give what is wanted for a transaction whose recipients are known, or None when nothing is. Raises MssFault."""
        parts = self._parts
        box = (await parts.wishes.of([sender_mailbox]))[sender_mailbox]
        targets: list[Target] = [*transaction.local, *transaction.remote]
        wishes = tuple((one, parts.settings.wish(box, one.recipient.address.domain)) for one in targets)
        if all(wish is Outgoing.NEVER for _, wish in wishes):
            return None
        wanted = [one.recipient.address.key for one, wish in wishes if wish.encrypts]
        candidates = await parts.finder.candidates(wanted) if wanted else {}
        return SealPlan(wishes, box.keys, candidates)

    def room(self, octets: int) -> AbstractAsyncContextManager[None]:
        """Give what to hold while a message of this size is in memory: two large ones at once, however many are sent."""
        return self._large if octets >= LARGE else nullcontext()

    async def apply(self, plan: SealPlan, message: NewMessage, missing: bytes) -> tuple[Copy, ...] | Refuse:
        """Give the copies of a message, or why it is refused.

        message: with the whole body in memory (`BodySink.hold`); missing: the end of its prefix, header lines that the user's
        program left out, which go inside. Raises MssFault; nothing is committed, blobs staged are swept later.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parts.executor, self._seal, plan, message, missing)

    # ------------------------------------------------------------ worker thread

    def _seal(self, plan: SealPlan, message: NewMessage, missing: bytes) -> tuple[Copy, ...] | Refuse:
        now = self._parts.clock.now()
        try:
            text = self._text(plan, missing + (message.body.inline or b""), now)
            groups = self._groups(plan, text, now)
            return tuple([self._copy(group, message, missing, text=text) for group in groups])
        except _Refused as stop:
            return stop.refusal

    def _text(self, plan: SealPlan, raw: bytes, now: datetime) -> _Text:
        """Look at what the user's program did, and sign when somebody is to get a signature."""
        layer = find_layer(raw)
        text = _Text(raw, None, "", layer.is_encrypted, layer.is_signed, None)
        if layer.is_signed:
            text.signed = raw
        elif not layer.is_encrypted and any(wish.signs or wish.encrypts for _, wish in plan.wishes):
            self._sign(text, plan.keys, now)
        return text

    def _sign(self, text: _Text, references: Sequence[str], now: datetime) -> None:
        """Sign; when that cannot be, say why. Not asked for by a wish `encrypt`, but what such a copy falls back to."""
        keys = open_keys(self._parts.keys, references)
        key = signing_key(keys)
        ready = key is not None and key.certificate.not_valid_before_utc <= now <= key.certificate.not_valid_after_utc
        if key is None or not ready:
            failed = len(keys) < len(references)
            text.reason = SealReason.KEY_FAILED if failed else SealReason.NO_KEY if key is None else SealReason.KEY_EXPIRED
            return
        try:
            text.signed = sign_message(text.raw, key, opaque=self._parts.settings.opaque, now=now,
                                       encryption=encryption_certificate(keys))
            text.key = key
        except SmimeFault as fault:
            text.reason = fault.code
        except OperatorFault as fault:
            log.error("smime_key_failed", rule=fault.rule, detail=str(fault)[:300])
            text.reason = SealReason.KEY_FAILED

    def _groups(self, plan: SealPlan, text: _Text, now: datetime) -> list[_Group]:
        """Sort the recipients by form; those that the header does not name get their own copy when it is encrypted."""
        visible = _visible(text.raw)
        groups: dict[object, _Group] = {}
        for rank, (target, wish) in enumerate(plan.wishes):
            address = target.recipient.address
            form = self._form(wish, address, plan, text=text, now=now)
            if form.reason and self._parts.settings.refuses:
                raise _Refused(_refusal(form.reason, address.domain))
            blind = form.certificate is not None and address.key not in visible
            key: object = (form.wanted, form.signed, form.certificate is not None, form.reason, rank if blind else -1)
            group = groups.setdefault(key, _Group(form, [], []))
            group.targets.append(target)
            if form.certificate is not None:
                group.certificates.append(form.certificate)
        if sum(1 for group in groups.values() if group.certificates) > MAX_BLIND + 4:
            raise _Refused(replies.too_many_blind(MAX_BLIND))
        return list(groups.values())

    def _form(self, wish: Outgoing, address: MailAddress, plan: SealPlan, *, text: _Text, now: datetime) -> Form:
        """Decide on one recipient."""
        if wish is Outgoing.NEVER or text.encrypted:
            return Form(wish)
        reason = text.reason if wish.signs and text.signed is None else ""
        if not wish.encrypts:
            return Form(wish, text.signed is not None, None, reason)
        chosen = self._parts.finder.choose(address.key, plan.candidates.get(address.key, ()), now)
        if isinstance(chosen, x509.Certificate):
            return Form(wish, wish.signs and text.signed is not None, chosen, reason)
        why = SealReason.NO_CERTIFICATE if chosen is SmimeCode.NONE else SealReason.REFUSED_CERTIFICATE
        return Form(wish, text.signed is not None, None, why)  # what cannot be encrypted is signed at least

    def _copy(self, group: _Group, message: NewMessage, missing: bytes, *, text: _Text) -> Copy:
        """Make one copy, staged."""
        parts, form = self._parts, group.form
        octets = text.signed if form.signed and text.signed is not None else text.raw
        if form.certificate is not None:
            try:
                octets = encrypt_message(octets, group.certificates, cipher=parts.settings.cipher, oaep=parts.settings.oaep,
                                         limits=parts.settings.limits)
            except SmimeFault as fault:
                if parts.settings.refuses:
                    raise _Refused(_refusal(fault.code, group.targets[0].recipient.address.domain)) from fault
                form = replace(form, signed=text.signed is not None, certificate=None, reason=fault.code)
                octets = text.signed or text.raw
        prefix = message.prefix[:len(message.prefix) - len(missing)] if missing else message.prefix
        if octets is text.raw:  # nothing was done: as the user's program sent it
            octets, prefix = message.body.inline or b"", message.prefix
            found = message.facts
        else:
            found = facts(octets)
        if form.reason:
            prefix = _sent_line(form) + prefix
        SMIME_SEALED.labels(form.done, form.reason or "-").inc()
        sealed = replace(message, body=stage_body(parts.blobs, octets, parts.inline_limit), prefix=prefix, facts=found)
        local = tuple([one for one in group.targets if isinstance(one, LocalTarget)])
        remote = tuple([one for one in group.targets if isinstance(one, RemoteTarget)])
        return Copy(sealed, local, remote, self._event(group, form, sealed, text=text))

    def _event(self, group: _Group, form: Form, sealed: NewMessage, *, text: _Text) -> JournalEvent | None:
        if form.wanted is Outgoing.NEVER:
            return None
        domains = sorted({one.recipient.address.domain for one in group.targets})
        encrypted = form.certificate is not None
        key = text.key if form.signed and not text.own_signature else None
        client = "encrypted" if text.encrypted else "signed" if text.own_signature else ""
        return JournalEvent(JournalKind.SMIME_SEALED, sealed.received_at, sealed.trace_id, " ".join(domains)[:200], {
            "wanted": form.wanted.value, "done": form.done, "reason": form.reason, "client": client,
            "recipients": len(group.targets), "cipher": self._parts.settings.cipher.value if encrypted else "",
            "certificate": fingerprint(key.certificate) if key is not None else "",
            "for": " ".join(fingerprint(one)[:16] for one in group.certificates[:20]) if encrypted else "",
            "size": sealed.body.size, "sha256": sealed.body.sha256})


def _visible(raw: bytes) -> frozenset[str]:
    """Give the addresses that the header shows to all, in lower case."""
    headers = read_headers(raw)
    found = set()
    for name in (b"to", b"cc", b"from"):
        for value in headers.all(name):
            for entry in parse_addresses(value):
                if entry.local is not None and entry.domain is not None:
                    found.add((entry.local + b"@" + entry.domain).decode("utf-8", "replace").lower())
    return frozenset(found)


def _sent_line(form: Form) -> bytes:
    """Give the field that tells a reader why a copy is less protected than was wanted; all its words are ours."""
    return f"{SENT_FIELD}: v=1; wanted={form.wanted}; done={form.done}; reason={form.reason}\r\n".encode("ascii")


def _refusal(reason: str, domain: str) -> Refuse:
    if reason == SealReason.KEY_FAILED:
        return replies.signing_key_failed()
    if reason in (SealReason.NO_KEY, SealReason.KEY_EXPIRED):
        return replies.no_signing_key(reason)
    if reason in (SealReason.NO_CERTIFICATE, SealReason.REFUSED_CERTIFICATE):
        return replies.no_certificate(domain, reason)
    return replies.cannot_seal(domain, reason)
